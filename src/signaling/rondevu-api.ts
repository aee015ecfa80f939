/**
 * RondevuAPI: one method per call of the wire, over the push socket when one is open, else over HTTP, signed either way.
 * Knows nothing of WebRTC. docs/protocol.md, "Calls".
 */
import { NetworkError } from '../errors.js';
import { WebCryptoAdapter, type CryptoAdapter, type Keypair, type Signer } from '../identity/index.js';
import type { RpcMethod, RpcParams, RpcResponse, RpcResult, ServiceEntry, ServicePage } from '../protocol/rpc.js';
import { HttpTransport } from './http-transport.js';
import type { PushSocket } from './push-socket.js';
import { RequestSigner } from './request-signer.js';
import { RpcBatcher, type BatchingOptions } from './rpc-batcher.js';
import { ServerError } from './server-error.js';

export interface CallOptions {
  /** Not to be held back for company. Default false. */
  urgent?: boolean;
  signal?: AbortSignal | undefined;
  /** Let the request outlive the page. Default false. */
  keepalive?: boolean;
}

export class RondevuAPI {
  readonly baseUrl: string;
  readonly username: string;
  readonly signer: RequestSigner;
  /** Carries calls while it is open. */
  socket: PushSocket | undefined;
  /** Told at each HTTP reply what the server can do; empty for v0.5.4. */
  onCaps: ((caps: string[]) => void) | undefined;
  readonly #http: HttpTransport;
  readonly #batcher: RpcBatcher | undefined;

  /**
   * @param baseUrl where the server is; `/rpc` and `/ws` are below it
   * @param keypair base64 keys, or a Signer
   * @param batching false sends every call by itself
   * @throws ValidationError when baseUrl is no http(s) address or a batching option is wrong
   */
  constructor(
    baseUrl: string,
    username: string,
    keypair: Keypair | Signer,
    cryptoAdapter?: CryptoAdapter,
    batching: BatchingOptions | false = {},
  ) {
    this.signer = new RequestSigner(baseUrl, username, keypair, cryptoAdapter);
    this.baseUrl = this.signer.aud;
    this.username = username;
    this.#http = new HttpTransport(this.baseUrl, (caps) => this.onCaps?.(caps));
    if (batching) this.#batcher = new RpcBatcher((requests) => this.#http.post(requests), batching);
  }

  static generateKeypair(adapter: CryptoAdapter = new WebCryptoAdapter()): Promise<Keypair> {
    return adapter.generateKeypair();
  }

  static signMessage(message: string, privateKey: string, adapter: CryptoAdapter = new WebCryptoAdapter()): Promise<string> {
    return adapter.signMessage(message, privateKey);
  }

  static verifySignature(
    message: string,
    signature: string,
    publicKey: string,
    adapter: CryptoAdapter = new WebCryptoAdapter(),
  ): Promise<boolean> {
    return adapter.verifySignature(message, signature, publicKey);
  }

  /**
   * Any call. A wrong clock is put right once, silently.
   * @throws ServerError with the server's code, NetworkError when it cannot be reached
   */
  async call<M extends RpcMethod>(method: M, params: RpcParams<M>, options: CallOptions = {}): Promise<RpcResult<M>> {
    const { wait = 0 } = params as { wait?: number };
    if (this.socket?.isOpen) return (await this.socket.request(method, params, wait, options.signal)) as RpcResult<M>;
    let response = await this.#post(method, params, wait, options);
    if (!response.success && response.serverTime !== undefined) {
      this.signer.setServerTime(response.serverTime);
      response = await this.#post(method, params, wait, options);
    }
    if (!response.success) throw new ServerError(method, response);
    return response.result as RpcResult<M>;
  }

  async #post(method: string, params: unknown, wait: number, { urgent, signal, keepalive }: CallOptions): Promise<RpcResponse> {
    const request = await this.signer.sign(method, params);
    // to ask for a name must not claim it
    if (method === 'getUser') delete request.publicKey;
    // a call that waits, or that may be cut off alone, must not hold others up
    if (this.#batcher && !wait && !signal && !keepalive) return this.#batcher.add(request, urgent);
    const [response] = await this.#http.post([request], { wait, signal, ...(keepalive && { keepalive }) });
    if (!response) throw new NetworkError('the server sent an empty reply');
    return response;
  }

  getUser(username: string) {
    return this.call('getUser', { username });
  }

  async isUsernameClaimed(username = this.username): Promise<boolean> {
    try {
      return !(await this.getUser(username)).available;
    } catch (error) {
      // asked under a name that is another's, the server answers that our signature does not fit
      if (error instanceof ServerError && /^(bad-signature|name-taken)$/.test(error.code)) return true;
      throw error;
    }
  }

  publishService(params: RpcParams<'publishService'>, options?: CallOptions) {
    return this.call('publishService', params, options);
  }

  /** One service, its offer leased to this call. */
  getService(params: Omit<RpcParams<'getService'>, 'limit' | 'offset'>, options?: CallOptions) {
    return this.call('getService', params, options) as Promise<ServiceEntry>;
  }

  /** A page of services; leases nothing. */
  listServices(serviceFqn: string, limit: number, offset: number) {
    return this.call('getService', { serviceFqn, limit, offset }) as Promise<ServicePage>;
  }

  getServiceById(params: RpcParams<'getServiceById'>, options?: CallOptions) {
    return this.call('getServiceById', params, options);
  }

  deleteService(serviceFqn: string) {
    return this.call('deleteService', { serviceFqn });
  }

  withdrawOffers(serviceFqn: string, offerIds: string[], options?: CallOptions) {
    return this.call('withdrawOffers', { serviceFqn, offerIds }, options);
  }

  answerOffer(params: RpcParams<'answerOffer'>, options?: CallOptions) {
    return this.call('answerOffer', params, options);
  }

  getOfferAnswer(serviceFqn: string, offerId: string) {
    return this.call('getOfferAnswer', { serviceFqn, offerId });
  }

  poll(params: RpcParams<'poll'> = {}, options?: CallOptions) {
    return this.call('poll', params, options);
  }

  addIceCandidates(params: RpcParams<'addIceCandidates'>) {
    return this.call('addIceCandidates', params);
  }

  getIceCandidates(serviceFqn: string, offerId: string, since = 0) {
    return this.call('getIceCandidates', { serviceFqn, offerId, since });
  }

  /** Rejects calls that wait for company. */
  close(): void {
    this.#batcher?.clear();
  }
}
