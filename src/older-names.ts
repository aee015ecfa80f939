/**
 * What users of v0.20 and v0.9 call by other names, and the low-level calls of the wire: thin, and nothing here has a state.
 */
import { Emitter } from './base/emitter.js';
import { chunk } from './chunk.js';
import type { DurableConnectionConfig } from './durable/config.js';
import type { DurableConnection } from './durable/durable-connection.js';
import type { DurableService, DurableServiceConfig } from './durable/durable-service.js';
import type { ServiceEntry, ServicePage, WireCandidate } from './protocol/rpc.js';
import type { Rondevu } from './rondevu.js';
import type { RpcClient } from './signaling/index.js';

const durable = () => chunk('durable', import('./durable/index.js'));

export abstract class OlderNames<Events extends object> extends Emitter<Events> {
  abstract readonly api: RpcClient;
  abstract findService(
    serviceFqn: string,
    options?: { mode?: 'direct' | 'random' | 'paginated'; limit?: number; offset?: number },
  ): Promise<ServiceEntry | ServicePage>;

  /** `findService(fqn, { mode: 'direct' })` */
  getService(serviceFqn: string): Promise<ServiceEntry> {
    return this.findService(serviceFqn, { mode: 'direct' }) as Promise<ServiceEntry>;
  }

  /** `findService(service, { mode: 'random' })` */
  discoverService(service: string): Promise<ServiceEntry> {
    return this.findService(service, { mode: 'random' }) as Promise<ServiceEntry>;
  }

  /** `findService(service, { mode: 'paginated', limit, offset })` */
  discoverServices(service: string, limit = 10, offset = 0): Promise<ServicePage> {
    return this.findService(service, { mode: 'paginated', limit, offset }) as Promise<ServicePage>;
  }

  postOfferAnswer(serviceFqn: string, offerId: string, sdp: string) {
    return this.api.call('answerOffer', { serviceFqn, offerId, sdp });
  }

  getOfferAnswer(serviceFqn: string, offerId: string) {
    return this.api.call('getOfferAnswer', { serviceFqn, offerId });
  }

  /** @param since ms */
  poll(since = 0) {
    return this.api.call('poll', { since });
  }

  /** @param since ms */
  pollOffers(since = 0) {
    return this.poll(since);
  }

  addOfferIceCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]) {
    return this.api.call('addIceCandidates', { serviceFqn, offerId, candidates });
  }

  /** @param since ms */
  getOfferIceCandidates(serviceFqn: string, offerId: string, since = 0) {
    return this.api.call('getIceCandidates', { serviceFqn, offerId, since });
  }

  /**
   * v0.9: declares a service whose channels a handler takes; its `start()` begins to accept.
   * @throws ValidationError; RondevuError `already-published`
   */
  async exposeService(config: DurableServiceConfig): Promise<DurableService> {
    return (await durable()).exposeService(this as unknown as Rondevu, config);
  }

  /** v0.9: a connection to a service of that user; its `connect()` makes it. @throws ValidationError */
  async connect(username: string, serviceFqn: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connect(this as unknown as Rondevu, username, serviceFqn, config);
  }

  /** v0.9: the same by the id of the service. @throws ValidationError */
  async connectByUuid(uuid: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connectByUuid(this as unknown as Rondevu, uuid, config);
  }
}
