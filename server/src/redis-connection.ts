/**
 * One Redis for store and hub: connects, checks the version, runs Lua scripts by their hash, listens for hints, and goes on
 * over a restart of Redis: what was under way is tried again, until a few seconds have passed. Knows no keys and no rows.
 */
import { createHash } from 'node:crypto';
import { createClient, ErrorReply, type RedisClientType } from '@redis/client';
import type { Logger } from './log.js';

/** How long a command may take, with all its attempts, in ms. */
const GIVE_UP_AFTER = 5000;
const RETRY_AFTER = 50;
/** What Redis says while it starts or changes its role; the same command succeeds later. */
const PASSING = /^(LOADING|MASTERDOWN|READONLY|TRYAGAIN|CLUSTERDOWN|BUSY) /;
const MIN_VERSION = 7;

/** A Lua script, sent by its SHA-1 once Redis knows it. */
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
  #isClosed = false;

  private constructor(url: string, prefix: string, log: Logger) {
    this.#url = url;
    this.prefix = prefix;
    const options = {
      url,
      // RESP2, so that replies of scripts and commands look the same everywhere
      RESP: 2 as const,
      socket: { connectTimeout: GIVE_UP_AFTER, reconnectStrategy: (tries: number) => Math.min(1000, RETRY_AFTER * 2 ** tries) },
      // what was given up must not run later; it is tried again here, not by the client
      disableOfflineQueue: true,
    };
    this.#client = createClient(options) as unknown as RedisClientType;
    this.#listener = createClient(options) as unknown as RedisClientType;
    for (const client of [this.#client, this.#listener]) {
      client.on('error', (err: Error) => log.warn({ reason: err.message }, 'Redis is not reachable'));
    }
  }

  /**
   * @param url `redis://` or `rediss://`, with user and password if need be
   * @param prefix what all keys and channels begin with
   * @throws Error when Redis cannot be reached, refuses the password, or is older than version 7; the text holds no password
   */
  static async open(url: string, prefix: string, log: Logger): Promise<RedisConnection> {
    const connection = new RedisConnection(url, prefix, log);
    try {
      await withDeadline(Promise.all([connection.#client.connect(), connection.#listener.connect()]));
      await connection.#check(log);
      return connection;
    } catch (error) {
      connection.#destroy();
      const { message } = error as Error;
      throw new Error(`Redis at ${new URL(url).host} (REDIS_URL) cannot be used: ${message}`, { cause: error });
    }
  }

  async #check(log: Logger): Promise<void> {
    const info = String(await this.command('INFO', 'server'));
    const version = /^(?:valkey|redis)_version:(\S+)/m.exec(info)?.[1] ?? 'unknown';
    if (!(Number.parseInt(version) >= MIN_VERSION))
      throw new Error(`its version is ${version}, ${MIN_VERSION} or newer is needed`);
    // services of a provider may refuse to tell
    const persistence = String(await this.command('INFO', 'persistence').catch(() => ''));
    if (persistence.includes('aof_enabled:0'))
      log.warn(
        { host: new URL(this.#url).host },
        'Redis keeps no append-only file: names are lost when it restarts; set "appendonly yes"',
      );
  }

  /** Runs a command, again if the connection broke. */
  command(...args: string[]): Promise<Reply> {
    return this.#retried(() => this.#client.sendCommand(args) as Promise<Reply>);
  }

  /** Runs a script, again if the connection broke: it may have run before, so it must bear being repeated. */
  run({ source, sha }: Script, keys: string[], args: (string | number)[]): Promise<Reply> {
    const rest = [String(keys.length), ...keys, ...args.map(String)];
    return this.#retried(async () => {
      try {
        return (await this.#client.sendCommand(['EVALSHA', sha, ...rest])) as Reply;
      } catch (error) {
        if (!(error instanceof ErrorReply && error.message.startsWith('NOSCRIPT'))) throw error;
        return (await this.#client.sendCommand(['EVAL', source, ...rest])) as Reply;
      }
    });
  }

  /**
   * @param onReady called whenever the subscription stands anew: hints may have been missed
   */
  async listen(channels: string[], onMessage: (channel: string, message: string) => void, onReady: () => void): Promise<void> {
    await this.#listener.subscribe(
      channels.map((channel) => this.prefix + channel),
      (message, channel) => onMessage(channel.slice(this.prefix.length), message),
    );
    this.#listener.on('ready', onReady);
  }

  /** A hint to all who listen; nobody may rely on its arrival. */
  async tell(channel: string, message: string): Promise<void> {
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

  async #retried<T>(attempt: () => Promise<T>): Promise<T> {
    const giveUpAt = Date.now() + GIVE_UP_AFTER;
    for (;;) {
      try {
        return await withDeadline(attempt(), giveUpAt - Date.now());
      } catch (error) {
        const mayPass = error instanceof ErrorReply ? PASSING.test(error.message) : !this.#isClosed;
        if (!mayPass || Date.now() + RETRY_AFTER >= giveUpAt) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER));
      }
    }
  }
}

async function withDeadline<T>(promise: Promise<T>, ms = GIVE_UP_AFTER): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${GIVE_UP_AFTER} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
