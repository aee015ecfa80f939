/**
 * What v0.20 users call by other names, and the low-level calls of the wire: thin, and nothing here has a state.
 */
import { Emitter } from './base/emitter.js';
import type { ServiceEntry, ServicePage, WireCandidate } from './protocol/rpc.js';
import type { RpcClient } from './signaling/index.js';

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
}
