/** Events and options of a pool; types only. */
import type { ConnectionConfig } from '../connection/connection-config.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { RondevuError } from '../errors.js';
import type { PublishOptions } from '../options.js';

export interface OfferPoolEvents {
  'connection:opened': [offerId: string, connection: OffererConnection];
  'connection:rotated': [oldOfferId: string, newOfferId: string, connection: OffererConnection];
  'connection:closed': [connection: OffererConnection, reason: string];
  'offer:created': [offerId: string, serviceFqn: string];
  'offer:failed': [offerId: string, error: RondevuError];
  /**
   * The service can no longer be offered, for example because the server refused it; the pool does not retry until `start()` is
   * called.
   */
  failed: [error: RondevuError];
  /** The service was published or its expiry was extended. @param expiresAt expiry time, in ms since the epoch */
  published: [serviceId: string, expiresAt: number];
  /** The number of free offers or of connections may have changed. */
  changed: [];
}

export interface OfferPoolOptions extends Pick<PublishOptions, 'offerFactory' | 'accept' | 'hidden' | 'metadata'> {
  serviceFqn: string;
  maxOffers: number;
  ttl: number;
  /** Fraction of the offer lifetime after which an offer is renewed. */
  renewAt: number;
  maxConnections: number;
  maxPeerConnections: number;
  connectionConfig: ConnectionConfig;
}
