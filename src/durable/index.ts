/** The durable API of v0.9.0, on an instance of today: a thin adapter. A chunk of its own. */
import { ValidationError, mustBe } from '../errors.js';
import { checkOptions } from '../options.js';
import { checkUsername } from '../protocol/service-name.js';
import type { Rondevu } from '../rondevu.js';
import {
  CONNECTION_KINDS,
  checkConnection,
  durableTarget,
  engineConfig,
  withDefaults,
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

/** What was exposed by which instance, by name. */
const services = new WeakMap<Rondevu, Map<string, DurableService>>();

/** @throws ValidationError naming the option, never with a key in it */
export async function exposeService(rondevu: Rondevu, config: DurableServiceConfig): Promise<DurableService> {
  checkOptions('exposeService', config, SERVICE_KINDS);
  const { username, privateKey, serviceFqn, handler, metadata, ttl, rtcConfig, ttlRefreshMargin = 0.2 } = config;
  if (typeof handler !== 'function') throw mustBe('exposeService: handler', 'a function', handler);
  if (!(ttlRefreshMargin > 0 && ttlRefreshMargin < 1))
    throw mustBe('exposeService: ttlRefreshMargin', 'a share between 0 and 1', ttlRefreshMargin);
  if (username !== rondevu.getUsername())
    throw mustBe('exposeService: username', `that of the instance, ${rondevu.getUsername()}`, username);
  if (privateKey !== undefined && privateKey !== rondevu.getKeypair().privateKey)
    throw new ValidationError('exposeService: privateKey must be that of the instance: pass the keypair to Rondevu.connect');
  if (rtcConfig?.iceTransportPolicy === 'relay')
    throw new ValidationError("exposeService: for relays only pass iceServers: 'relay-only' to Rondevu.connect");
  const service = durableTarget('exposeService: serviceFqn', serviceFqn, username);
  const known = services.get(rondevu) ?? new Map<string, DurableService>();
  services.set(rondevu, known);
  // one that was stopped may be exposed anew
  if (known.get(service)?.isStarted === false) await rondevu.unpublishService(service);
  const pool = await rondevu.publishService({
    service,
    maxOffers: config.poolSize ?? 1,
    hidden: !(config.isPublic ?? false),
    renewAt: 1 - ttlRefreshMargin,
    connectionConfig: engineConfig(withDefaults(config)),
    ...(metadata !== undefined && { metadata }),
    ...(ttl !== undefined && { ttl }),
    ...(rtcConfig?.iceServers && { iceServers: rtcConfig.iceServers }),
  });
  const defaults = { isPublic: false, ttl: 300_000, poolSize: 1, pollingInterval: 2000 };
  const exposed = new DurableService(pool, { ...defaults, ...config, ...withDefaults(config), ttlRefreshMargin });
  known.set(service, exposed);
  return exposed;
}

/** @throws ValidationError */
export function connect(
  rondevu: Rondevu,
  username: string,
  serviceFqn: string,
  config: DurableConnectionConfig = {},
): Promise<DurableConnection> {
  const where = 'connect: username';
  const target = durableTarget('connect: serviceFqn', serviceFqn, checkUsername(username, where));
  return join(rondevu, { serviceFqn: target }, config, 'connect');
}

/** @throws ValidationError */
export function connectByUuid(rondevu: Rondevu, uuid: string, config: DurableConnectionConfig = {}): Promise<DurableConnection> {
  return join(rondevu, { serviceId: uuid }, config, 'connectByUuid');
}

async function join(
  rondevu: Rondevu,
  target: { serviceFqn: string } | { serviceId: string },
  config: DurableConnectionConfig,
  where: string,
): Promise<DurableConnection> {
  const all = checkConnection(where, config);
  const { rtcConfig } = config;
  const connection = await rondevu.prepareConnection({
    ...target,
    connectionConfig: engineConfig(all),
    ...(rtcConfig && { rtcConfig }),
  });
  const uuid = 'serviceId' in target ? target.serviceId : undefined;
  return new DurableConnection(connection, { ...all, ...(rtcConfig && { rtcConfig }) }, uuid);
}
