/**
 * Runs one call received over HTTP or in a push session: checks the envelope, the method, the signature or session, and the
 * params, then runs the handler. Only this module limits the size of replies and converts errors for clients; the text of an
 * internal error appears only in the log.
 */
import { ALWAYS_SIGNED, type RpcMethod } from 'rondevu-elements/protocol';
import type { Authenticator, SignedCall } from './auth.js';
import type { Caller, DisconnectSignal } from './caller.js';
import type { Limits } from './limits.js';
import type { Handlers } from './handlers.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { RpcError } from './rpc-error.js';
import { checkEnvelope, checkParams, checkSize, type Schemas } from './schemas.js';

/**
 * Maximum size of a reply, in bytes. Pages of services and results of polls end below this size; echoed data, such as published
 * descriptions, is limited by the size of the request.
 */
export const maxReply = ({ maxReplyBytes, maxBodyBytes }: Limits): number => 2 * Math.max(maxReplyBytes, maxBodyBytes);

export class Dispatcher {
  readonly #schemas: Schemas;
  readonly #handlers: Handlers;
  readonly #auth: Authenticator;
  readonly #limits: Limits;
  readonly #metrics: Metrics;
  readonly #log: Logger;

  constructor(schemas: Schemas, handlers: Handlers, auth: Authenticator, limits: Limits, metrics: Metrics, log: Logger) {
    this.#schemas = schemas;
    this.#handlers = handlers;
    this.#auth = auth;
    this.#limits = limits;
    this.#metrics = metrics;
    this.#log = log;
  }

  /**
   * Runs a signed call, whose bytes have already been charged.
   * @returns the result as JSON
   * @throws RpcError
   */
  async dispatchSigned(
    request: unknown,
    from: { address: string; host: string },
    maxWait: number,
    disconnectSignal: DisconnectSignal,
  ): Promise<string> {
    const { call, method } = await this.#parse(request, from.address);
    return this.#measured(method, async () => {
      checkSize(call.params, this.#limits);
      const caller = await this.#auth.authenticate(call, from.address, from.host, Date.now());
      return this.#run(method, call.params, caller, maxWait, disconnectSignal);
    });
  }

  /**
   * Runs a call in an open session.
   * @param bytes size of the frame, in bytes
   * @returns the result as JSON
   * @throws RpcError
   */
  async dispatchInSession(
    method: string,
    params: unknown,
    bytes: number,
    caller: Caller,
    maxWait: number,
    disconnectSignal: DisconnectSignal,
  ): Promise<string> {
    // charges before the method is checked, so that calls to unknown methods are not free
    await this.#auth.reassert(caller, method, params, bytes, Date.now());
    const known = this.#methodOf(method);
    return this.#measured(known, async () => {
      if (ALWAYS_SIGNED.has(known)) throw new RpcError('unauthorized', `${known} requires its own signature: send it over HTTP`);
      checkSize(params, this.#limits);
      return this.#run(known, params, caller, maxWait, disconnectSignal);
    });
  }

  /**
   * Converts an error for the client: an RpcError is returned unchanged; any other error is logged and becomes "Internal server
   * error".
   */
  publicError(error: unknown, method?: string): RpcError {
    if (error instanceof RpcError) return error;
    this.#log.error({ err: error, method }, 'a call failed');
    return new RpcError('unavailable', 'Internal server error');
  }

  /** Parses a request; charges one point for a request that is not a call, which would otherwise be free. */
  async #parse(request: unknown, address: string): Promise<{ call: SignedCall; method: RpcMethod }> {
    try {
      const call = checkEnvelope(request);
      return { call, method: this.#methodOf(call.method) };
    } catch (error) {
      await this.#auth.chargeBytes(address, 0, 1);
      throw error;
    }
  }

  async #measured(method: RpcMethod, run: () => Promise<string>): Promise<string> {
    const done = this.#metrics.request(method);
    try {
      const result = await run();
      done('ok');
      return result;
    } catch (error) {
      const publicError = this.publicError(error, method);
      done(publicError.code);
      throw publicError;
    }
  }

  #methodOf(name: string): RpcMethod {
    if (Object.hasOwn(this.#handlers, name)) return name as RpcMethod;
    throw new RpcError('bad-request', `Unknown method: ${name.slice(0, 64)}`);
  }

  async #run<M extends RpcMethod>(
    method: M,
    params: unknown,
    caller: Caller,
    maxWait: number,
    disconnectSignal: DisconnectSignal,
  ): Promise<string> {
    const checked = checkParams(this.#schemas, method, params, maxWait);
    const text = JSON.stringify(await this.#handlers[method](checked as never, caller, disconnectSignal));
    const bytes = Buffer.byteLength(text);
    const most = maxReply(this.#limits);
    if (bytes > most) throw new RpcError('too-large', `${method}: the reply is ${bytes} bytes, more than the limit of ${most}`);
    await this.#auth.chargeReply(caller, bytes);
    return text;
  }
}
