/**
 * The options of a connection: one table for defaults and checks. Times are in ms.
 */
import { checkOptions, withDefaults } from '../base/check-options.js';
import { timerDelay } from '../base/timers.js';
import { invalidValue } from '../errors.js';

export interface ConnectionConfig {
  /** Maximum duration of one attempt to set up a link. Default 30 000. */
  connectionTimeout: number;
  /**
   * How long candidates may be gathered before `ice:gathering:timeout` is emitted; later ones are still used. Also limits how
   * long an offer or an answer waits for its first candidates. Default 10 000.
   */
  iceGatheringTimeout: number;
  /** Whether a lost link is replaced. Default true. */
  reconnectEnabled: boolean;
  /** Maximum number of attempts in which an offer was answered but no link came up; 0 for no limit. Default 5. */
  maxReconnectAttempts: number;
  /** Delay before the second attempt; doubles with each further one. Default 1000. */
  reconnectBackoffBase: number;
  /** Maximum delay between attempts. Default 30 000. */
  reconnectBackoffMax: number;
  /** Random variation of the delays, as a fraction from 0 to 1. Default 0.1. */
  reconnectJitter: number;
  /** Whether messages sent while the link is down are buffered. Default true. */
  bufferEnabled: boolean;
  /** Maximum number of messages buffered while the link is down; beyond it, the oldest are dropped. Default 100. */
  maxBufferSize: number;
  /** Maximum age of a buffered message; 0 for no limit. Default 60 000. */
  maxBufferAge: number;
  /** Whether `takeBuffer()` still returns unsent messages after `close()`. Default false. */
  preserveBufferOnClose: boolean;
  /** How often the peer's candidates are polled for if the server cannot push them; at least 50. Default 500. */
  icePollingInterval: number;
  /** How long the peer's candidates are polled for. Default 30 000. */
  icePollingTimeout: number;
  /** How long to wait for an absent peer. Default 600 000. */
  sessionTtl: number;
  /** Maximum size of queued data in bytes; beyond it, `send` throws `queue-full`. Default 64 MiB. */
  maxQueuedBytes: number;
  /** Maximum message size in bytes, sent or received; to an old peer, the platforms' limit applies too. Default 64 MiB. */
  maxMessageSize: number;
  /** Silence after which the peer is pinged. Default 1000. */
  heartbeatInterval: number;
  /** Silence after which the path is suspect. Default 2500. */
  suspectAfter: number;
  /** Silence after which the link is given up and replaced. Default 5000. */
  deadAfter: number;
  /** Maximum number of messages queued on a further channel, unless its options override it. Default 1000. */
  maxQueueSize: number;
  /** Maximum age of a message queued on a further channel; 0 or Infinity for no limit. Default 60 000. */
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
