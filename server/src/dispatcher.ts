/**
 * One call from either road to its handler: envelope, method, signature or session, params, handler, and the one place
 * where an error becomes what the client sees. Internal errors keep their text to themselves.
 */
import { ALWAYS_SIGNED, type RpcMethod } from 'rondevu-elements/protocol';
import type { Authenticator, Caller } from './auth.js';
import type { Handlers } from './handlers.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { RpcError } from './rpc-error.js';
import { checkEnvelope, checkParams, type Schemas } from './schemas.js';

/** Asked for by a call that waits: aborted when the client goes. */
export type Gone = () => AbortSignal;

export class Dispatcher {
  readonly #schemas: Schemas;
  readonly #handlers: Handlers;
  readonly #auth: Authenticator;
  readonly #metrics: Metrics;
  readonly #log: Logger;

  constructor(schemas: Schemas, handlers: Handlers, auth: Authenticator, metrics: Metrics, log: Logger) {
    this.#schemas = schemas;
    this.#handlers = handlers;
    this.#auth = auth;
    this.#metrics = metrics;
    this.#log = log;
  }

  /** A signed call. @throws RpcError */
  async signed(request: unknown, from: { address: string; host: string }, maxWait: number, gone: Gone): Promise<unknown> {
    const call = checkEnvelope(request);
    const method = this.#method(call.method);
    return this.#counted(method, async () => {
      const caller = await this.#auth.authenticate(call, from.address, from.host, Date.now());
      return this.#run(method, call.params, caller, maxWait, gone);
    });
  }

  /** A call of an open session. @throws RpcError */
  async ofSession(method: string, params: unknown, caller: Caller, maxWait: number, gone: Gone): Promise<unknown> {
    const known = this.#method(method);
    return this.#counted(known, async () => {
      if (ALWAYS_SIGNED.has(known))
        throw new RpcError('unauthorized', `${known} needs a signature of its own: send it over HTTP`);
      await this.#auth.reassert(caller, known, params, Date.now());
      return this.#run(known, params, caller, maxWait, gone);
    });
  }

  /** What a client is told of an error: an RpcError as it is, anything else as "Internal server error", with the whole of it in the log. */
  publicError(error: unknown, method?: string): RpcError {
    if (error instanceof RpcError) return error;
    this.#log.error({ err: error, method }, 'a call failed');
    return new RpcError('unavailable', 'Internal server error');
  }

  async #counted(method: RpcMethod, run: () => Promise<unknown>): Promise<unknown> {
    const done = this.#metrics.request(method);
    try {
      const result = await run();
      done('ok');
      return result;
    } catch (error) {
      const told = this.publicError(error, method);
      done(told.code);
      throw told;
    }
  }

  #method(name: string): RpcMethod {
    if (Object.hasOwn(this.#handlers, name)) return name as RpcMethod;
    throw new RpcError('bad-request', `Unknown method: ${name.slice(0, 64)}`);
  }

  async #run<M extends RpcMethod>(method: M, params: unknown, caller: Caller, maxWait: number, gone: Gone): Promise<unknown> {
    const checked = checkParams(this.#schemas, method, params, maxWait);
    return this.#handlers[method](checked as never, caller, gone);
  }
}
