/** The options of the durable API (v0.9.0), and their names in the engine. */
import { checkOptions, type OptionKinds } from '../../base/check-options.js';
import type { ConnectionConfig } from '../../connection/connection-config.js';
import { ValidationError, invalidValue } from '../../errors.js';
import { formatServiceName, parseServiceName, type ServiceName } from '../../protocol/service-name.js';

/** Times in ms. */
export interface DurableConnectionConfig {
  /** Maximum number of attempts in which an offer was answered but no link came up; 0 for no limit. Default 10. */
  maxReconnectAttempts?: number;
  /** Default 1000; doubles with every attempt. */
  reconnectBackoffBase?: number;
  /** Default 30 000. */
  reconnectBackoffMax?: number;
  /** Fraction by which delays vary, 0 to 1. Default 0.2. */
  reconnectJitter?: number;
  /** Timeout of one attempt, and how long `connect()` searches for a host. Default 30 000. */
  connectionTimeout?: number;
  /** Maximum number of messages queued on one channel. Default 1000. */
  maxQueueSize?: number;
  /** Maximum age of a queued message; 0 or Infinity for no limit. Default 60 000. */
  maxMessageAge?: number;
  /** Replaces the instance's RTCConfiguration. */
  rtcConfig?: RTCConfiguration;
}

export const CONNECTION_KINDS: OptionKinds = {
  number:
    'maxReconnectAttempts reconnectBackoffBase reconnectBackoffMax reconnectJitter connectionTimeout maxQueueSize maxMessageAge',
  object: 'rtcConfig',
};

const DEFAULTS = {
  maxReconnectAttempts: 10,
  reconnectBackoffBase: 1000,
  reconnectBackoffMax: 30_000,
  reconnectJitter: 0.2,
  connectionTimeout: 30_000,
  maxQueueSize: 1000,
  maxMessageAge: 60_000,
};

/** @throws ValidationError naming the option */
export function checkConnection(where: string, config: DurableConnectionConfig): typeof DEFAULTS {
  checkOptions(where, config, CONNECTION_KINDS);
  return connectionOptions(config);
}

/** The options of a connection among those of a service, with their defaults. */
export function connectionOptions(config: DurableConnectionConfig): typeof DEFAULTS {
  const given = Object.fromEntries(Object.entries(config).filter(([name, value]) => name in DEFAULTS && value !== undefined));
  return { ...DEFAULTS, ...given };
}

/** The options under the names that the engine uses. */
export function engineConfig(config: typeof DEFAULTS): Partial<ConnectionConfig> {
  const { maxQueueSize, maxMessageAge } = config;
  return { ...config, maxBufferSize: maxQueueSize, maxBufferAge: maxMessageAge === Infinity ? 0 : maxMessageAge };
}

/**
 * Parses a service name in the form of v0.9.0, `name@version`, or of the wire protocol.
 * @throws ValidationError
 */
function parseDurableName(where: string, fqn: string): ServiceName {
  if (typeof fqn !== 'string') throw invalidValue(where, 'name@version or name:version', fqn);
  return parseServiceName(fqn.replace(/^([^@:]+)@(?=\d)/, '$1:'), where);
}

/** `name:version@username`. @throws ValidationError also if the name already has another username */
export function durableTarget(where: string, fqn: string, username: string): string {
  const parsed = parseDurableName(where, fqn);
  if (parsed.username !== undefined && parsed.username !== username)
    throw new ValidationError(`${where}: ${fqn} is not a service of ${username}`);
  return formatServiceName({ ...parsed, username });
}
