/**
 * Redis connection of the store and the hub: connects, checks the version, runs Lua scripts by their hash, and subscribes to
 * hints. Survives a restart of Redis: pending commands are retried for a few seconds. The connection is independent of the data
 * model.
 */
import { createHash } from 'node:crypto';
import { createClient, ErrorReply, type RedisClientType } from '@redis/client';
import type { Logger } from './log.js';

/** How long a command may take, including retries, in ms. */
const COMMAND_TIMEOUT = 5000;
const RETRY_DELAY = 50;
/** Timeout for the write that checks whether Redis works, in ms. */
const PROBE_TIMEOUT = 2000;
/** Errors that Redis returns while it starts or changes its role; the same command succeeds later. */
const TRANSIENT = /^(LOADING|MASTERDOWN|READONLY|TRYAGAIN|CLUSTERDOWN|BUSY) /;
const MIN_VERSION = 7;

/** A Lua script, called by its SHA-1 hash after Redis has cached it. */
export interface Script {
  source: string;
  sha: string;
}

export function script(source: string): Script {
  return { source, sha: createHash('sha1').update(source).digest('hex') };
}

export type Reply = string | number | null | Reply[];

export class RedisConnection {
  readonly prefix: string;
  readonly #client: RedisClientType;
  readonly #listener: RedisClientType;
  readonly #url: string;
  readonly #log: Logger;
  #isOpened = false;
  #isClosed = false;
  /** Why the last connection attempt failed. */
  #reason: Error | undefined;

  private constructor(url: string, prefix: string, log: Logger) {
    this.#url = url;
    this.#log = log;
    this.prefix = prefix;
    const options = {
      url,
      // RESP2 is used so that scripts and commands have the same reply format on every server
      RESP: 2 as const,
      socket: {
        connectTimeout: COMMAND_TIMEOUT,
        reconnectStrategy: (tries: number, cause: Error) => this.#reconnectAfter(tries, cause),
      },
      // a command that has timed out must not run later; RedisConnection itself retries commands
      disableOfflineQueue: true,
    };
    this.#client = createClient(options) as unknown as RedisClientType;
    this.#listener = createClient(options) as unknown as RedisClientType;
    for (const client of [this.#client, this.#listener]) {
      client.on('error', (err: Error) => {
        this.#reason = err;
        log.warn({ reason: reasonOf(err) }, 'Redis is not reachable');
      });
    }
  }

  /**
   * @param url `redis://` or `rediss://`, with user and password if needed
   * @param prefix prefix of all Redis keys and channels
   * @throws Error if Redis cannot be reached, refuses the password, is older than version 7, or cannot be written to; the
   *   message does not contain the password
   */
  static async open(url: string, prefix: string, log: Logger): Promise<RedisConnection> {
    const connection = new RedisConnection(url, prefix, log);
    try {
      await withDeadline(Promise.all([connection.#client.connect(), connection.#listener.connect()]));
      await connection.#check(log);
      connection.#isOpened = true;
      return connection;
    } catch (error) {
      connection.#destroy();
      throw connection.#unusableError(error);
    }
  }

  /**
   * Does not reconnect if Redis replies with an error during startup, for example because the password is wrong:
   * the attempts would only end in a timeout.
   */
  #reconnectAfter(tries: number, cause: Error): number | false {
    if (!this.#isOpened && cause instanceof ErrorReply && !TRANSIENT.test(cause.message)) return false;
    return Math.min(1000, RETRY_DELAY * 2 ** tries);
  }

  #unusableError(error: unknown): Error {
    // the error of a connection attempt is more specific than the timeout
    const cause = error instanceof DeadlineError && this.#reason ? this.#reason : error;
    const { host } = new URL(this.#url);
    return new Error(`Redis at ${host} (REDIS_URL) cannot be used: ${reasonOf(cause as Error)}`, { cause });
  }

  /** Writes once, without retries. @throws Error if the write fails */
  async probe(): Promise<void> {
    await withDeadline(this.#client.sendCommand(['SET', `${this.prefix}probe`, '1', 'PX', '10000']), PROBE_TIMEOUT);
  }

  async #check(log: Logger): Promise<void> {
    const info = String(await this.command('INFO', 'server'));
    const version = /^(?:valkey|redis)_version:(\S+)/m.exec(info)?.[1] ?? 'unknown';
    if (!(Number.parseInt(version) >= MIN_VERSION))
      throw new Error(`its version is ${version}, ${MIN_VERSION} or newer is required`);
    // hosted Redis services may refuse `INFO memory`
    const memory = String(await this.command('INFO', 'memory').catch(() => ''));
    const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1] ?? 'noeviction';
    if (policy !== 'noeviction' && !/^maxmemory:0\s*$/m.test(memory))
      throw new Error(`its maxmemory-policy is ${policy}, which may evict usernames: set "maxmemory-policy noeviction"`);
    await this.probe();
    // hosted Redis services may refuse `INFO persistence`
    const persistence = String(await this.command('INFO', 'persistence').catch(() => ''));
    if (persistence.includes('aof_enabled:0'))
      log.warn(
        { host: new URL(this.#url).host },
        'Redis has no append-only file: usernames are lost when it restarts; set "appendonly yes"',
      );
  }

  /** Runs a command; retries it if the connection is lost. */
  command(...args: string[]): Promise<Reply> {
    return this.#withRetries(() => this.#client.sendCommand(args) as Promise<Reply>);
  }

  /**
   * Runs a script; retries it if the connection is lost. The script must be idempotent, because it may have run before the
   * retry.
   */
  run({ source, sha }: Script, keys: string[], args: (string | number)[]): Promise<Reply> {
    const rest = [String(keys.length), ...keys, ...args.map(String)];
    return this.#withRetries(async () => {
      try {
        return (await this.#client.sendCommand(['EVALSHA', sha, ...rest])) as Reply;
      } catch (error) {
        if (!(error instanceof ErrorReply && error.message.startsWith('NOSCRIPT'))) throw error;
        return (await this.#client.sendCommand(['EVAL', source, ...rest])) as Reply;
      }
    });
  }

  /**
   * @param onReady called whenever the subscription is re-established, because hints may have been missed
   */
  async subscribe(channels: string[], onMessage: (channel: string, message: string) => void, onReady: () => void): Promise<void> {
    try {
      await withDeadline(
        this.#listener.subscribe(
          channels.map((channel) => this.prefix + channel),
          (message, channel) => {
            try {
              onMessage(channel.slice(this.prefix.length), message);
            } catch (err) {
              this.#log.warn({ err }, 'could not read a notification from another server');
            }
          },
        ),
      );
    } catch (error) {
      throw this.#unusableError(error);
    }
    this.#listener.on('ready', onReady);
  }

  /** Publishes a hint to all subscribers. Delivery is not guaranteed. */
  async publish(channel: string, message: string): Promise<void> {
    await this.#client.publish(this.prefix + channel, message).catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await withDeadline(Promise.all([this.#client.close(), this.#listener.close()])).catch(() => this.#destroy());
  }

  #destroy(): void {
    for (const client of [this.#client, this.#listener]) if (client.isOpen) client.destroy();
  }

  async #withRetries<T>(attempt: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + COMMAND_TIMEOUT;
    for (;;) {
      try {
        return await withDeadline(attempt(), deadline - performance.now());
      } catch (error) {
        const isTransient = error instanceof ErrorReply ? TRANSIENT.test(error.message) : !this.#isClosed;
        if (!isTransient || performance.now() + RETRY_DELAY >= deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
      }
    }
  }
}

class DeadlineError extends Error {}

/**
 * Returns the message of an error. An AggregateError, which combines the errors of several connection attempts (for instance to
 * ::1 and 127.0.0.1), has no message of its own.
 */
const reasonOf = (error: Error): string =>
  error.message || (error instanceof AggregateError ? error.errors.map(({ message }: Error) => message).join('; ') : error.name);

async function withDeadline<T>(promise: Promise<T>, ms = COMMAND_TIMEOUT): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
