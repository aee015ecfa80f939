/**
 * Selects where a server stores its state and how servers that share the state communicate: one SQLite file and process memory,
 * or a Redis database that several servers share.
 */
import type { ServerConfig } from './config.js';
import type { Hub } from './hub.js';
import type { Logger } from './log.js';
import type { Hint } from './matchmaker.js';
import { MemoryHub } from './memory-hub.js';
import type { Metrics } from './metrics.js';
import { SqliteStore } from './sqlite-store.js';
import type { ServiceKey, Store } from './store.js';

/** Interval at which a server checks for offers whose hint it may have missed, in ms. */
const RESCAN_INTERVAL = 1000;

export interface Storage {
  /** Name of the storage for the log, without secrets. */
  name: string;
  store: Store;
  hub: Hub;
  broadcast(hint: Hint): void;
  /** @param onHintsLost called when hints may have been lost */
  subscribe(onHint: (hint: Hint) => void, onHintsLost: () => void): Promise<void>;
  /** Stops the timers and the hub; the store is closed separately. */
  stop(): void;
}

/**
 * @param onWithdrawn called for each service whose offers were withdrawn because their client left
 * @throws Error if the file or the Redis database cannot be used
 */
export async function openStorage(
  config: Pick<ServerConfig, 'storagePath' | 'redisUrl' | 'redisPrefix' | 'limits'>,
  metrics: Metrics,
  log: Logger,
  onWithdrawn: (service: ServiceKey) => void,
): Promise<Storage> {
  if (config.redisUrl !== undefined) return openRedis(config.redisUrl, config, metrics, log, onWithdrawn);
  const store = metrics.timed(new SqliteStore(config.storagePath));
  const hub = new MemoryHub(store, log, onWithdrawn, config.limits.maxInstancesPerUser);
  return {
    ...{ name: config.storagePath, store, hub },
    broadcast: () => undefined,
    subscribe: async () => undefined,
    stop: () => hub.close(),
  };
}

async function openRedis(
  url: string,
  { redisPrefix, limits }: Pick<ServerConfig, 'redisPrefix' | 'limits'>,
  metrics: Metrics,
  log: Logger,
  onWithdrawn: (service: ServiceKey) => void,
): Promise<Storage> {
  // a server that uses a file does not load these modules
  const [{ RedisConnection }, { RedisStore }, { RedisHub }] = await Promise.all([
    import('./redis-connection.js'),
    import('./redis-store.js'),
    import('./redis-hub.js'),
  ]);
  const redis = await RedisConnection.open(url, redisPrefix, log);
  const store = metrics.timed(new RedisStore(redis));
  const hub = new RedisHub(redis, store, log, onWithdrawn, limits.maxInstancesPerUser);
  let timer: NodeJS.Timeout | undefined;
  return {
    ...{ name: `Redis at ${new URL(url).host}`, store, hub },
    broadcast: (hint) => void redis.publish('hints', JSON.stringify(hint)),
    async subscribe(onHint, onHintsLost) {
      await redis.subscribe(['hints'], (_channel, message) => onHint(JSON.parse(message) as Hint), onHintsLost);
      timer = setInterval(onHintsLost, RESCAN_INTERVAL);
    },
    stop() {
      clearInterval(timer);
      hub.close();
    },
  };
}
