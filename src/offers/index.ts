/** The publishing side's low-level classes. Apart from the core barrel, so that who only joins does not load them. */
export { OffererConnection } from '../connection/offerer-connection.js';
export { OfferPool } from './offer-pool.js';
export { checkPublishOptions, makePool } from './publishing.js';
export type { OfferPoolEvents, OfferPoolOptions } from './offer-pool-options.js';
