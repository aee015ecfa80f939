/**
 * The host's low-level classes. This module is separate from the core barrel, so that pages that only join do not load these
 * classes.
 */
export { OffererConnection } from '../connection/offerer-connection.js';
export { OfferPool } from './offer-pool.js';
export type { OfferPoolEvents } from './offer-pool-options.js';
