/** Types of the methods retained from the 0.20 and 0.9 Rondevu clients. */
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { FindOptions } from '../options.js';
import type { AnswerInfo, CandidateInfo, PollResult, ServiceEntry, ServicePage, WireCandidate } from '../protocol/rpc.js';
import type { RondevuAPI, RpcClient } from '../signaling/index.js';
import type { DurableConnectionConfig } from './durable/config.js';
import type { DurableConnection } from './durable/durable-connection.js';
import type { DurableClient } from './durable/index.js';
import type { DurableService, DurableServiceConfig } from './durable/durable-service.js';
import type { ActiveOffer } from './types.js';

/** A Map keyed by offer id, as in v0.20, that also has indices, `length` and the most common array methods. A snapshot. */
export type ActiveConnections = Map<string, OffererConnection> &
  Pick<readonly OffererConnection[], 'length' | number | 'at' | 'every' | 'filter' | 'find' | 'flatMap' | 'map' | 'some'>;

/** Methods of the 0.20 and 0.9 Rondevu clients, and low-level calls of the wire protocol. */
export interface OlderNames {
  /** Same as `findService(fqn, { mode: 'direct' })`. */
  getService(serviceFqn: string): Promise<ServiceEntry>;
  /** Same as `findService(service, { mode: 'random' })`. */
  discoverService(service: string): Promise<ServiceEntry>;
  /** Same as `findService(service, { mode: 'paginated', limit, offset })`. `limit` defaults to 10 and `offset` to 0. */
  discoverServices(service: string, limit?: number, offset?: number): Promise<ServicePage>;
  postOfferAnswer(serviceFqn: string, offerId: string, sdp: string): Promise<{ success: true; offerId: string }>;
  /** Resolves to null while the offer is unanswered. */
  getOfferAnswer(serviceFqn: string, offerId: string): Promise<Omit<AnswerInfo, 'serviceId'> | null>;
  /** @param since ms. Default 0. */
  poll(since?: number): Promise<PollResult>;
  /** Same as `poll`. @param since ms. Default 0. */
  pollOffers(since?: number): Promise<PollResult>;
  addOfferIceCandidates(
    serviceFqn: string,
    offerId: string,
    candidates: WireCandidate[],
  ): Promise<{ count: number; offerId: string }>;
  /** @param since ms. Default 0. */
  getOfferIceCandidates(
    serviceFqn: string,
    offerId: string,
    since?: number,
  ): Promise<{ candidates: CandidateInfo[]; offerId: string }>;
  /**
   * v0.9: declares a service that passes its channels to a handler; call `start()` to publish it.
   * @throws ValidationError; RondevuError `already-published`
   */
  exposeService(config: DurableServiceConfig): Promise<DurableService>;
  /** v0.9: creates a connection to a user's service; call `connect()` to open it. @throws ValidationError */
  connect(username: string, serviceFqn: string, config?: DurableConnectionConfig): Promise<DurableConnection>;
  /** v0.9: creates a connection to a service by its id; call `connect()` to open it. @throws ValidationError */
  connectByUuid(uuid: string, config?: DurableConnectionConfig): Promise<DurableConnection>;
  /** v0.20: the opened connections. @deprecated Use `getActiveConnections()`. */
  getActiveOffers(): ActiveOffer[];
  /**
   * v0.20: returns a `RondevuAPI` whose calls are signed by this client.
   * @deprecated Use `api.call()`, or create a `RondevuAPI`.
   */
  getAPIPublic(): RondevuAPI;
}

/** Client members that the older methods use. */
export interface OlderClient extends DurableClient {
  readonly api: RpcClient;
  getActiveConnections(): ActiveConnections;
  findService(serviceFqn: string, options: FindOptions & { mode: 'paginated' }): Promise<ServicePage>;
  findService(serviceFqn: string, options?: FindOptions & { mode?: 'direct' | 'random' }): Promise<ServiceEntry>;
}
