/** The durable API of v0.9.0: a thin adapter over the current client, loaded on the first call. */
import { checkOptions, withDefaults } from '../../base/check-options.js';
import type { AnswererConnection } from '../../connection/answerer-connection.js';
import { ValidationError, invalidValue } from '../../errors.js';
import type { Keypair } from '../../identity/index.js';
import type { OfferPool } from '../../offers/offer-pool.js';
import type { ConnectOptions, PublishOptions } from '../../options.js';
import { checkUsername } from '../../protocol/service-name.js';
import {
  CONNECTION_KINDS,
  checkConnection,
  durableTarget,
  connectionOptions,
  engineConfig,
  type DurableConnectionConfig,
} from './config.js';
import { DurableConnection } from './durable-connection.js';
import { DurableService, type DurableServiceConfig } from './durable-service.js';

const SERVICE_KINDS = {
  string: 'username privateKey serviceFqn',
  boolean: 'isPublic',
  number: `ttl ttlRefreshMargin poolSize pollingInterval ${CONNECTION_KINDS.number}`,
  object: CONNECTION_KINDS.object!,
  function: 'handler',
  any: 'metadata',
};

/** Client methods that the durable API uses. */
export interface DurableClient {
  getUsername(): string;
  getKeypair(): Keypair;
  publishService(options: PublishOptions): Promise<OfferPool>;
  unpublishService(serviceFqn: string): Promise<void>;
  prepareConnection(options: ConnectOptions): Promise<AnswererConnection>;
}

/** Exposed services, by client and service name. */
const services = new WeakMap<DurableClient, Map<string, DurableService>>();

/** @throws ValidationError that names the invalid option and never contains a key */
export async function exposeService(client: DurableClient, config: DurableServiceConfig): Promise<DurableService> {
  checkOptions('exposeService', config, SERVICE_KINDS);
  const { username, privateKey, serviceFqn, handler, metadata, ttl, rtcConfig, ttlRefreshMargin = 0.2 } = config;
  if (typeof handler !== 'function') throw invalidValue('exposeService: handler', 'a function', handler);
  if (!(ttlRefreshMargin > 0 && ttlRefreshMargin < 1))
    throw invalidValue('exposeService: ttlRefreshMargin', 'a share between 0 and 1', ttlRefreshMargin);
  if (username !== client.getUsername())
    throw invalidValue('exposeService: username', `the instance's, ${client.getUsername()}`, username);
  if (privateKey !== undefined && privateKey !== client.getKeypair().privateKey)
    throw new ValidationError("exposeService: privateKey must be the instance's: pass the keypair to Rondevu.connect");
  if (rtcConfig?.iceTransportPolicy === 'relay')
    throw new ValidationError("exposeService: for relays only, pass iceServers: 'relay-only' to Rondevu.connect");
  const service = durableTarget('exposeService: serviceFqn', serviceFqn, username);
  const known = services.get(client) ?? new Map<string, DurableService>();
  services.set(client, known);
  // a stopped service may be exposed again
  if (known.get(service)?.isStarted === false) await client.unpublishService(service);
  const pool = await client.publishService({
    service,
    maxOffers: config.poolSize ?? 1,
    hidden: !(config.isPublic ?? false),
    renewAt: 1 - ttlRefreshMargin,
    connectionConfig: engineConfig(connectionOptions(config)),
    ...(metadata !== undefined && { metadata }),
    ...(ttl !== undefined && { ttl }),
    ...(rtcConfig?.iceServers && { iceServers: rtcConfig.iceServers }),
  });
  const defaults = { isPublic: false, ttl: 300_000, poolSize: 1, pollingInterval: 2000 };
  const exposed = new DurableService(pool, {
    ...config,
    ...withDefaults<Partial<DurableServiceConfig>>(defaults, config),
    ...connectionOptions(config),
    ttlRefreshMargin,
  });
  known.set(service, exposed);
  return exposed;
}

/** @throws ValidationError */
export function connect(
  client: DurableClient,
  username: string,
  serviceFqn: string,
  config: DurableConnectionConfig = {},
): Promise<DurableConnection> {
  const where = 'connect: username';
  const target = durableTarget('connect: serviceFqn', serviceFqn, checkUsername(username, where));
  return join(client, { serviceFqn: target }, config, 'connect');
}

/** @throws ValidationError */
export function connectByUuid(
  client: DurableClient,
  uuid: string,
  config: DurableConnectionConfig = {},
): Promise<DurableConnection> {
  return join(client, { serviceId: uuid }, config, 'connectByUuid');
}

async function join(
  client: DurableClient,
  target: { serviceFqn: string } | { serviceId: string },
  config: DurableConnectionConfig,
  where: string,
): Promise<DurableConnection> {
  const all = checkConnection(where, config);
  const { rtcConfig } = config;
  const connection = await client.prepareConnection({
    ...target,
    connectionConfig: engineConfig(all),
    ...(rtcConfig && { rtcConfig }),
  });
  const uuid = 'serviceId' in target ? target.serviceId : undefined;
  return new DurableConnection(connection, { ...all, ...(rtcConfig && { rtcConfig }) }, uuid);
}
