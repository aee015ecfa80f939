/** Implements publishService: checks the options and creates the pool. */
import { checkOptions, type OptionKinds } from '../base/check-options.js';
import type { ConnectionConfig } from '../connection/connection-config.js';
import type { WebRtcLink } from '../connection/webrtc-link.js';
import { invalidValue } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { PublishOptions } from '../options.js';
import { formatServiceName, parseServiceName } from '../protocol/service-name.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import type { MakeLink } from './offer.js';
import { OfferPool } from './offer-pool.js';

const PUBLISH: OptionKinds = {
  string: 'service',
  number: 'maxOffers ttl maxConnections renewAt',
  boolean: 'hidden',
  object: 'connectionConfig',
  function: 'offerFactory accept',
  any: 'metadata iceServers',
};

/** @throws ValidationError that names the option, the expected value and the received value */
export const checkPublishOptions = (options: PublishOptions): void => checkOptions('publishService', options, PUBLISH);

/** Client settings that apply in addition to the options of the service. */
export interface PoolLimits {
  maxPeerConnections: number | undefined;
  config: ConnectionConfig;
}

/** @throws ValidationError */
export function makePool(
  options: PublishOptions,
  username: string,
  { maxPeerConnections = 256, config }: PoolLimits,
  port: PublisherPort,
  proof: HandshakeProof,
  makeLink: (durable: boolean, ...own: Parameters<MakeLink>) => Promise<WebRtcLink>,
): OfferPool {
  const parsed = parseServiceName(options.service, 'publishService: service');
  if (parsed.username !== undefined && parsed.username !== username)
    throw invalidValue('publishService: the username in service', `${username} or omitted`, parsed.username);
  if (options.renewAt === 0 || options.renewAt! > 1)
    throw invalidValue('publishService: renewAt', 'a share above 0, at most 1', options.renewAt);
  const { name, version } = parsed;
  return new OfferPool(
    {
      serviceFqn: formatServiceName({ name, version, username }),
      maxOffers: options.maxOffers ?? 5,
      ttl: options.ttl ?? 300_000,
      renewAt: options.renewAt ?? 0.8,
      maxConnections: options.maxConnections ?? Infinity,
      maxPeerConnections,
      connectionConfig: config,
      ...(options.offerFactory && { offerFactory: options.offerFactory }),
      ...(options.accept && { accept: options.accept }),
      hidden: options.hidden ?? false,
      metadata: options.metadata,
    },
    port,
    proof,
    makeLink,
  );
}
