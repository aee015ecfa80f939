/** Options of the durable API (v0.9.0), mapped to the engine's option names. */
import { checkOptions, type OptionKinds } from '../../base/check-options.js';
import type { ConnectionConfig } from '../../connection/connection-config.js';
import { ValidationError, invalidValue } from '../../errors.js';
import { formatServiceName, parseServiceName, type ServiceName } from '../../protocol/service-name.js';

/** Times in ms. */
export interface DurableConnectionConfig {
  /** Maximum number of attempts in which an offer is answered but no link opens; 0 for no limit. Default 10. */
  maxReconnectAttempts?: number;
  /** Delay before the first retry; doubles with each attempt. Default 1000. */
  reconnectBackoffBase?: number;
  /** Default 30 000. */
  reconnectBackoffMax?: number;
  /** Maximum jitter as a fraction of the delay, 0 to 1. Default 0.2. */
  reconnectJitter?: number;
  /** Time limit of one attempt, and of the search for a host in `connect()`. Default 30 000. */
  connectionTimeout?: number;
  /** Maximum number of queued messages per channel. Default 1000. */
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

/** @throws ValidationError that names the invalid option */
export function checkConnection(where: string, config: DurableConnectionConfig): typeof DEFAULTS {
  checkOptions(where, config, CONNECTION_KINDS);
  return connectionOptions(config);
}

/** Picks the connection options out of a service configuration, and fills in their defaults. */
export function connectionOptions(config: DurableConnectionConfig): typeof DEFAULTS {
  const given = Object.fromEntries(Object.entries(config).filter(([name, value]) => name in DEFAULTS && value !== undefined));
  return { ...DEFAULTS, ...given };
}

/** Returns the options under the engine's names. */
export function engineConfig(config: typeof DEFAULTS): Partial<ConnectionConfig> {
  const { maxQueueSize, maxMessageAge } = config;
  return { ...config, maxBufferSize: maxQueueSize, maxBufferAge: maxMessageAge === Infinity ? 0 : maxMessageAge };
}

/**
 * Parses a service name in the v0.9.0 form, `name@version`, or in the wire-protocol form.
 * @throws ValidationError
 */
function parseDurableName(where: string, fqn: string): ServiceName {
  if (typeof fqn !== 'string') throw invalidValue(where, 'name@version or name:version', fqn);
  return parseServiceName(fqn.replace(/^([^@:]+)@(?=\d)/, '$1:'), where);
}

/** `name:version@username`. @throws ValidationError if the name is invalid or contains a different username */
export function durableTarget(where: string, fqn: string, username: string): string {
  const parsed = parseDurableName(where, fqn);
  if (parsed.username !== undefined && parsed.username !== username)
    throw new ValidationError(`${where}: ${fqn} is not a service of ${username}`);
  return formatServiceName({ ...parsed, username });
}
