/**
 * RondevuAPI: one method per RPC call, for applications that use the wire protocol directly. The methods also accept the
 * positional arguments of the Rondevu 0.20 client. The engine itself uses RpcClient, so that pages do not load this class.
 */
import { WebCryptoAdapter, type CryptoAdapter, type Keypair, type Signer } from '../identity/index.js';
import type { RpcParams, RpcResult, ServiceEntry, ServicePage, WireCandidate } from '../protocol/rpc.js';
import { RpcBatcher, type BatchingOptions } from './rpc-batcher.js';
import { RpcClient, type CallOptions } from './rpc-client.js';
import { ServerError } from './server-error.js';

export class RondevuAPI extends RpcClient {
  /**
   * @param baseUrl URL of the server, to which `/rpc` and `/ws` are appended
   * @param keypair key pair in base64, or a Signer
   * @param batching false sends each call in a separate request
   * @throws ValidationError if baseUrl is not an http(s) URL or a batching option is invalid
   */
  constructor(
    baseUrl: string,
    username: string,
    keypair: Keypair | Signer,
    cryptoAdapter?: CryptoAdapter,
    batching: BatchingOptions | false = {},
  ) {
    super(baseUrl, username, keypair, cryptoAdapter, batching);
    if (batching) this.batcher = new RpcBatcher((requests) => this.post(requests), batching);
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

  getUser(username: string) {
    return this.call('getUser', { username });
  }

  isUsernameClaimed(username = this.username): Promise<boolean> {
    return isUsernameClaimed(this, username);
  }

  /** v0.20: checks whether a username is available. */
  async isUsernameAvailable(username: string): Promise<boolean> {
    return !(await isUsernameClaimed(this, username));
  }

  /** `signature` and `message`, which v0.20 requires in `params`, are ignored. */
  publishService(params: RpcParams<'publishService'> & { signature?: string; message?: string }, options?: CallOptions) {
    const { signature: _signature, message: _message, ...rest } = params;
    return this.call('publishService', rest, options);
  }

  /** Returns one service with an offer leased to this call, or a page of services if `limit` is set. */
  getService(serviceFqn: string, page: { limit: number; offset?: number }): Promise<ServicePage>;
  getService(
    params: string | Omit<RpcParams<'getService'>, 'limit' | 'offset'>,
    options?: CallOptions & { limit?: undefined; offset?: undefined },
  ): Promise<ServiceEntry>;
  getService(
    params: string | Omit<RpcParams<'getService'>, 'limit' | 'offset'>,
    { limit, offset, ...options }: CallOptions & { limit?: number | undefined; offset?: number | undefined } = {},
  ): Promise<ServiceEntry | ServicePage> {
    const page = { ...(limit !== undefined && { limit }), ...(offset !== undefined && { offset }) };
    return this.call('getService', { ...(typeof params === 'string' ? { serviceFqn: params } : params), ...page }, options);
  }

  /** Returns a page of services without leasing an offer. */
  listServices(serviceFqn: string, limit: number, offset: number) {
    return this.call('getService', { serviceFqn, limit, offset }) as Promise<ServicePage>;
  }

  getServiceById(params: RpcParams<'getServiceById'>, options?: CallOptions) {
    return this.call('getServiceById', params, options);
  }

  deleteService(serviceFqn: string) {
    return this.call('deleteService', { serviceFqn });
  }

  /** Releases this client's username and its services; the next call claims the username again. */
  releaseUsername() {
    return this.call('releaseUsername', {});
  }

  withdrawOffers(serviceFqn: string, offerIds: string[], options?: CallOptions) {
    return this.call('withdrawOffers', { serviceFqn, offerIds }, options);
  }

  answerOffer(serviceFqn: string, offerId: string, sdp: string): Promise<{ success: true; offerId: string }>;
  answerOffer(params: RpcParams<'answerOffer'>, options?: CallOptions): Promise<{ success: true; offerId: string }>;
  answerOffer(params: string | RpcParams<'answerOffer'>, options?: string | CallOptions, sdp?: string) {
    return typeof params === 'string'
      ? this.call('answerOffer', { serviceFqn: params, offerId: options as string, sdp: sdp! })
      : this.call('answerOffer', params, options as CallOptions);
  }

  /** Resolves to null while the offer is unanswered. */
  getOfferAnswer(serviceFqn: string, offerId: string) {
    return offerAnswer(this, serviceFqn, offerId);
  }

  /** @param params parameters of `poll`, or the time in ms after which answers are requested */
  poll(params: number | RpcParams<'poll'> = {}, options?: CallOptions) {
    return this.call('poll', typeof params === 'number' ? { since: params } : params, options);
  }

  addIceCandidates(params: RpcParams<'addIceCandidates'>) {
    return this.call('addIceCandidates', params);
  }

  /** v0.20: `addIceCandidates` */
  addOfferIceCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]) {
    return this.addIceCandidates({ serviceFqn, offerId, candidates });
  }

  getIceCandidates(serviceFqn: string, offerId: string, since = 0) {
    return this.call('getIceCandidates', { serviceFqn, offerId, since });
  }

  /** v0.20: `getIceCandidates` */
  getOfferIceCandidates(serviceFqn: string, offerId: string, since = 0) {
    return this.getIceCandidates(serviceFqn, offerId, since);
  }
}

/** Returns the answer to the caller's own offer, or null while there is no answer. */
export async function offerAnswer(
  client: RpcClient,
  serviceFqn: string,
  offerId: string,
): Promise<RpcResult<'getOfferAnswer'> | null> {
  try {
    return await client.call('getOfferAnswer', { serviceFqn, offerId });
  } catch (error) {
    if (error instanceof ServerError && error.message.includes('not yet answered')) return null;
    throw error;
  }
}

/** Whether a username is claimed on the server, by this client or any other client. */
export async function isUsernameClaimed(client: RpcClient, username: string): Promise<boolean> {
  try {
    return !(await client.call('getUser', { username })).available;
  } catch (error) {
    // if this client's username belongs to a different key, the server rejects the signature of the call
    if (error instanceof ServerError && /^(bad-signature|name-taken)$/.test(error.code)) return true;
    throw error;
  }
}
