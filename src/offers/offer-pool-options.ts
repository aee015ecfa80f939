/** What a pool tells and what it takes; types only. */
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
  /** The service cannot be offered any more, and nothing is tried until the next `start()`: the server refused it, for example. */
  failed: [error: RondevuError];
  /** The server has the service, or has it for longer. @param expiresAt ms */
  published: [serviceId: string, expiresAt: number];
  /** The number of free offers or of connections may have changed. */
  changed: [];
}

export interface OfferPoolOptions extends Pick<PublishOptions, 'offerFactory' | 'accept' | 'hidden' | 'metadata'> {
  serviceFqn: string;
  maxOffers: number;
  ttl: number;
  /** After which share of its life an offer is renewed. */
  renewAt: number;
  maxConnections: number;
  maxPeerConnections: number;
  connectionConfig: ConnectionConfig;
}
