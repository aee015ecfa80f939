/** A joiner's request for an offer, and the result. */
import type { ServiceName } from 'rondevu-elements/protocol';
import type { Asker } from './fairness.js';
import type { FoundService, OfferRow } from './store.js';

/** A joiner's query for a service, by name or by id. */
export type Query = { target: ServiceName } | { serviceId: string };

export interface Joiner extends Asker {
  username: string;
  instance?: string | undefined;
}

export interface Match {
  service: FoundService;
  offer: OfferRow;
}
