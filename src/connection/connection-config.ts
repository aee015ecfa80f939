/** Options of a connection, with their defaults and validation. Times are in ms. */
import { checkOptions, withDefaults } from '../base/check-options.js';
import { timerDelay } from '../base/timers.js';
import { invalidValue } from '../errors.js';

export interface ConnectionConfig {
  /** Maximum duration of one attempt to set up a link. Default 30 000. */
  connectionTimeout: number;
  /**
   * Time after which `ice:gathering:timeout` is emitted if gathering is incomplete; later candidates are still used. The timeout
   * also limits how long an offer or an answer waits for its first candidates. Default 10 000.
   */
  iceGatheringTimeout: number;
  /** Whether a lost link is replaced. Default true. */
  reconnectEnabled: boolean;
  /**
   * Maximum number of failed attempts in which an offer was answered but no link was established; 0 for no limit. Default 5.
   */
  maxReconnectAttempts: number;
  /** Delay before the second attempt; doubles with each further attempt. Default 1000. */
  reconnectBackoffBase: number;
  /** Maximum delay between attempts. Default 30 000. */
  reconnectBackoffMax: number;
  /** Random variation of the delays, as a fraction from 0 to 1. Default 0.1. */
  reconnectJitter: number;
  /** Whether messages sent while the link is down are buffered. Default true. */
  bufferEnabled: boolean;
  /**
   * Maximum number of messages buffered while the link is down; above this limit, the oldest messages are dropped. Default 100.
   */
  maxBufferSize: number;
  /** Maximum age of a buffered message; 0 for no limit. Default 60 000. */
  maxBufferAge: number;
  /** Whether `takeBuffer()` still returns unsent messages after `close()`. Default false. */
  preserveBufferOnClose: boolean;
  /** Polling interval for the peer's candidates if the server cannot push them; at least 50. Default 500. */
  icePollingInterval: number;
  /** How long to poll for the peer's candidates. Default 30 000. */
  icePollingTimeout: number;
  /** How long to wait for an absent peer to return. Default 600 000. */
  sessionTtl: number;
  /** Maximum size of queued data, in bytes; above this limit, `send` throws `queue-full`. Default 64 MiB. */
  maxQueuedBytes: number;
  /**
   * Maximum size of a sent or received message, in bytes; for an older client, the platform's limit also applies. Default 64
   * MiB.
   */
  maxMessageSize: number;
  /** Time without incoming data after which the peer is pinged. Default 1000. */
  heartbeatInterval: number;
  /** Time without incoming data after which the path is suspect. Default 2500. */
  suspectAfter: number;
  /** Time without incoming data after which the link is abandoned and replaced. Default 5000. */
  deadAfter: number;
  /** Maximum number of messages queued on an additional channel; `createChannel` can override this value. Default 1000. */
  maxQueueSize: number;
  /** Maximum age of a message queued on an additional channel; 0 or Infinity for no limit. Default 60 000. */
  maxMessageAge: number;
  /** Whether to log to the console. Default false. */
  debug: boolean;
}

const MIB = 1_048_576;

export const DEFAULT_CONNECTION_CONFIG: Readonly<ConnectionConfig> = {
  connectionTimeout: 30_000,
  iceGatheringTimeout: 10_000,
  reconnectEnabled: true,
  maxReconnectAttempts: 5,
  reconnectBackoffBase: 1000,
  reconnectBackoffMax: 30_000,
  reconnectJitter: 0.1,
  bufferEnabled: true,
  maxBufferSize: 100,
  maxBufferAge: 60_000,
  preserveBufferOnClose: false,
  icePollingInterval: 500,
  icePollingTimeout: 30_000,
  sessionTtl: 600_000,
  maxQueuedBytes: 64 * MIB,
  maxMessageSize: 64 * MIB,
  heartbeatInterval: 1000,
  suspectAfter: 2500,
  deadAfter: 5000,
  maxQueueSize: 1000,
  maxMessageAge: 60_000,
  debug: false,
};

const namesOf = (type: string) =>
  Object.entries(DEFAULT_CONNECTION_CONFIG)
    .filter(([, value]) => typeof value === type)
    .map(([name]) => name)
    .join(' ');

/**
 * Fills in the defaults.
 * @throws ValidationError for an unknown option, a wrong type or a negative number
 */
export function connectionConfig(options: Partial<ConnectionConfig> = {}): ConnectionConfig {
  checkOptions('connectionConfig', options, { number: namesOf('number'), boolean: namesOf('boolean') });
  const config = withDefaults(DEFAULT_CONNECTION_CONFIG, options);
  for (const [name, value] of Object.entries(config))
    if (/(Timeout|Interval|Base|Max|After)$/.test(name)) Object.assign(config, { [name]: timerDelay(Number(value)) });
  if (config.reconnectJitter > 1)
    throw invalidValue('connectionConfig: reconnectJitter', 'a number from 0 to 1', config.reconnectJitter);
  return config;
}
