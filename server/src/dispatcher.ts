/**
 * One call from either road to its handler: envelope, method, signature or session, params, handler, and the one place
 * where an error becomes what the client sees. Internal errors keep their text to themselves.
 */
import type { RpcMethod } from 'rondevu-elements/protocol';
import type { Authenticator, Caller } from './auth.js';
import type { Handlers } from './handlers.js';
import { RpcError } from './rpc-error.js';
import { checkEnvelope, checkParams, type Schemas } from './schemas.js';

export class Dispatcher {
  readonly #schemas: Schemas;
  readonly #handlers: Handlers;
  readonly #auth: Authenticator;

  constructor(schemas: Schemas, handlers: Handlers, auth: Authenticator) {
    this.#schemas = schemas;
    this.#handlers = handlers;
    this.#auth = auth;
  }

  /** A signed call. @throws RpcError */
  async signed(
    request: unknown,
    from: { address: string; host: string },
    maxWait: number,
    signal: AbortSignal,
  ): Promise<unknown> {
    const call = checkEnvelope(request);
    const method = this.#method(call.method);
    const caller = await this.#auth.authenticate(call, from.address, from.host, Date.now());
    return this.#run(method, call.params, caller, maxWait, signal);
  }

  /** A call of an open session. @throws RpcError */
  async ofSession(method: string, params: unknown, caller: Caller, maxWait: number, signal: AbortSignal): Promise<unknown> {
    return this.#run(this.#method(method), params, caller, maxWait, signal);
  }

  #method(name: string): RpcMethod {
    if (Object.hasOwn(this.#handlers, name)) return name as RpcMethod;
    throw new RpcError('bad-request', `Unknown method: ${name.slice(0, 64)}`);
  }

  async #run<M extends RpcMethod>(
    method: M,
    params: unknown,
    caller: Caller,
    maxWait: number,
    signal: AbortSignal,
  ): Promise<unknown> {
    const checked = checkParams(this.#schemas, method, params, maxWait);
    return this.#handlers[method](checked as never, caller, signal);
  }
}

/** What a client is told of an error: an RpcError as it is, anything else as "Internal server error", with the whole of it in the log. */
export function publicError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  console.error('rondevu-server: a call failed', error);
  return new RpcError('unavailable', 'Internal server error');
}
