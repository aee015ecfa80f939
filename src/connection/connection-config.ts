/**
 * The options of a connection: defaults and checks, one table for both. Times in ms.
 */
import { mustBe } from '../errors.js';

export interface ConnectionConfig {
  /** How long one attempt to make a link may take. Default 30 000. */
  connectionTimeout: number;
  /** When `ice:gathering:timeout` is told; candidates that come later are still used. Default 10 000. */
  iceGatheringTimeout: number;
  /** Whether a lost link is made anew. Default true. */
  reconnectEnabled: boolean;
  /** Attempts that got an answer and still failed; 0 for no end. Default 5. */
  maxReconnectAttempts: number;
  /** Delay before the second attempt; it doubles from there. Default 1000. */
  reconnectBackoffBase: number;
  /** Longest delay between attempts. Default 30 000. */
  reconnectBackoffMax: number;
  /** Share by which delays vary, 0 to 1. Default 0.1. */
  reconnectJitter: number;
  /** Whether messages sent while the link is down are kept for later. Default true. */
  bufferEnabled: boolean;
  /** Messages kept while the link is down; past it the oldest go. Default 100. */
  maxBufferSize: number;
  /** How long such a message is kept; 0 for ever. Default 60 000. */
  maxBufferAge: number;
  /** Whether `takeBuffer()` still gives what was not sent after `close()`. Default false. */
  preserveBufferOnClose: boolean;
  /** Candidates are asked for this often where there is no push. Default 500. */
  icePollingInterval: number;
  /** And for this long. Default 30 000. */
  icePollingTimeout: number;
  /** How long an absent peer is waited for. Default 600 000. */
  sessionTtl: number;
  /** Bytes that may wait for the network before `send` throws `queue-full`. Default 64 MiB. */
  maxQueuedBytes: number;
  /** Largest message in bytes, sent or received; towards an old peer also what both platforms carry in one. Default 64 MiB. */
  maxMessageSize: number;
  /** Silence after which the peer is asked for a sign of life. Default 1000. */
  heartbeatInterval: number;
  /** Silence after which the path is suspect. Default 2500. */
  suspectAfter: number;
  /** Silence after which the link is given up and another one is made. Default 5000. */
  deadAfter: number;
  /** Messages that may wait on a further channel, where who makes it says nothing else. Default 1000. */
  maxQueueSize: number;
  /** How long one may wait there; 0 or Infinity for ever. Default 60 000. */
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

/**
 * Fills the defaults in.
 * @throws ValidationError for an unknown option, a wrong type, a negative number
 */
export function connectionConfig(options: Partial<ConnectionConfig> = {}): ConnectionConfig {
  for (const [name, value] of Object.entries(options)) {
    const standard: unknown = Object.hasOwn(DEFAULT_CONNECTION_CONFIG, name)
      ? DEFAULT_CONNECTION_CONFIG[name as keyof ConnectionConfig]
      : undefined;
    if (standard === undefined)
      throw mustBe('the options of connectionConfig', Object.keys(DEFAULT_CONNECTION_CONFIG).join(', '), name);
    if (value === undefined) continue;
    const isNumber = typeof standard === 'number';
    if (
      typeof value !== typeof standard ||
      (isNumber && !(Number(value) >= 0)) ||
      (name === 'reconnectJitter' && Number(value) > 1)
    ) {
      throw mustBe(`connectionConfig.${name}`, `a ${typeof standard}${isNumber ? ' of 0 or more' : ''}`, value);
    }
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return { ...DEFAULT_CONNECTION_CONFIG, ...given };
}
