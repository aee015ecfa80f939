/** The options of the durable API (v0.9.0), and what they are called in the engine. */
import type { ConnectionConfig } from '../../connection/connection-config.js';
import { ValidationError, mustBe } from '../../errors.js';
import { checkOptions, type OptionKinds } from '../../options.js';
import { formatServiceName, parseServiceName, type ServiceName } from '../../protocol/service-name.js';

/** Times in ms. */
export interface DurableConnectionConfig {
  /** Attempts that got an answer and still failed; 0 for no end. Default 10. */
  maxReconnectAttempts?: number;
  /** Default 1000; it doubles with every attempt. */
  reconnectBackoffBase?: number;
  /** Default 30 000. */
  reconnectBackoffMax?: number;
  /** Share by which delays vary, 0 to 1. Default 0.2. */
  reconnectJitter?: number;
  /** Of one attempt; and how long `connect()` looks for somebody. Default 30 000. */
  connectionTimeout?: number;
  /** Messages that may wait on one channel. Default 1000. */
  maxQueueSize?: number;
  /** How long one may wait; 0 or Infinity for ever. Default 60 000. */
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

/** @throws ValidationError that names the option */
export function checkConnection(where: string, config: DurableConnectionConfig): typeof DEFAULTS {
  checkOptions(where, config, CONNECTION_KINDS);
  return withDefaults(config);
}

export function withDefaults(config: DurableConnectionConfig): typeof DEFAULTS {
  const given = Object.fromEntries(Object.entries(config).filter(([name, value]) => name in DEFAULTS && value !== undefined));
  return { ...DEFAULTS, ...given };
}

/** As connections take them. */
export function engineConfig(config: typeof DEFAULTS): Partial<ConnectionConfig> {
  const { maxQueueSize, maxMessageAge } = config;
  return { ...config, maxBufferSize: maxQueueSize, maxBufferAge: maxMessageAge === Infinity ? 0 : maxMessageAge };
}

/**
 * A service's name as v0.9.0 writes it, `name@version`, or as the wire has it.
 * @throws ValidationError
 */
export function parseDurableName(where: string, fqn: string): ServiceName {
  if (typeof fqn !== 'string') throw mustBe(where, 'name@version or name:version', fqn);
  return parseServiceName(fqn.replace(/^([^@:]+)@(?=\d)/, '$1:'), where);
}

/** `name:version@username`. @throws ValidationError also where the name has another username already */
export function durableTarget(where: string, fqn: string, username: string): string {
  const parsed = parseDurableName(where, fqn);
  if (parsed.username !== undefined && parsed.username !== username)
    throw new ValidationError(`${where}: ${fqn} is not a service of ${username}`);
  return formatServiceName({ ...parsed, username });
}
