/**
 * RondevuAPI: one method per call of the wire, for who works at that level. The engine itself uses RpcClient, so that a page
 * does not load what it has no use for.
 */
import { WebCryptoAdapter, type CryptoAdapter, type Keypair, type Signer } from '../identity/index.js';
import type { RpcParams, ServiceEntry, ServicePage } from '../protocol/rpc.js';
import { RpcBatcher, type BatchingOptions } from './rpc-batcher.js';
import { isUsernameClaimed, RpcClient, type CallOptions } from './rpc-client.js';

export class RondevuAPI extends RpcClient {
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

  /** Gives this name up, with its services; the next call claims it anew. */
  releaseUsername() {
    return this.call('releaseUsername', {});
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
}
