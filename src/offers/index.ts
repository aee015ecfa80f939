/** The host's low-level classes. Separate from the core barrel, so that pages that only join do not load them. */
export { OffererConnection } from '../connection/offerer-connection.js';
export { OfferPool } from './offer-pool.js';
export type { OfferPoolEvents } from './offer-pool-options.js';
