/** Types of the methods that the client keeps from the Rondevu clients 0.20 and 0.9. */
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { FindOptions } from '../options.js';
import type { AnswerInfo, CandidateInfo, PollResult, ServiceEntry, ServicePage, WireCandidate } from '../protocol/rpc.js';
import type { RondevuAPI, RpcClient } from '../signaling/index.js';
import type { DurableConnectionConfig } from './durable/config.js';
import type { DurableConnection } from './durable/durable-connection.js';
import type { DurableClient } from './durable/index.js';
import type { DurableService, DurableServiceConfig } from './durable/durable-service.js';
import type { ActiveOffer } from './types.js';

/** A Map by offer id, as in v0.20, with indices, `length` and the most common array methods. A snapshot. */
export type ActiveConnections = Map<string, OffererConnection> &
  Pick<readonly OffererConnection[], 'length' | number | 'at' | 'every' | 'filter' | 'find' | 'flatMap' | 'map' | 'some'>;

/** Methods of the Rondevu clients 0.20 and 0.9, and the low-level calls of the wire protocol. */
export interface OlderNames {
  /** `findService(fqn, { mode: 'direct' })` */
  getService(serviceFqn: string): Promise<ServiceEntry>;
  /** `findService(service, { mode: 'random' })` */
  discoverService(service: string): Promise<ServiceEntry>;
  /** `findService(service, { mode: 'paginated', limit, offset })`. Default limit 10, offset 0. */
  discoverServices(service: string, limit?: number, offset?: number): Promise<ServicePage>;
  postOfferAnswer(serviceFqn: string, offerId: string, sdp: string): Promise<{ success: true; offerId: string }>;
  /** Resolves to null while the offer is not answered. */
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
   * v0.9: declares a service whose channels are passed to a handler; call its `start()`.
   * @throws ValidationError; RondevuError `already-published`
   */
  exposeService(config: DurableServiceConfig): Promise<DurableService>;
  /** v0.9: a connection to a user's service; call its `connect()`. @throws ValidationError */
  connect(username: string, serviceFqn: string, config?: DurableConnectionConfig): Promise<DurableConnection>;
  /** v0.9: a connection to a service by its id; call its `connect()`. @throws ValidationError */
  connectByUuid(uuid: string, config?: DurableConnectionConfig): Promise<DurableConnection>;
  /** v0.20: the opened connections. @deprecated Use `getActiveConnections()`. */
  getActiveOffers(): ActiveOffer[];
  /** v0.20: the calls of the wire protocol, signed by this client. @deprecated Use `api.call()`, or make a `RondevuAPI`. */
  getAPIPublic(): RondevuAPI;
}

/** The members of a client that the older methods use. */
export interface OlderClient extends DurableClient {
  readonly api: RpcClient;
  getActiveConnections(): ActiveConnections;
  findService(serviceFqn: string, options: FindOptions & { mode: 'paginated' }): Promise<ServicePage>;
  findService(serviceFqn: string, options?: FindOptions & { mode?: 'direct' | 'random' }): Promise<ServiceEntry>;
}
