/** DurableService of v0.9.0: a published service with its older method names. */
import { Emitter } from '../../base/emitter.js';
import type { OffererConnection } from '../../connection/offerer-connection.js';
import { RondevuError } from '../../errors.js';
import type { OfferPool } from '../../offers/offer-pool.js';
import type { DurableConnectionConfig } from './config.js';
import type { RondevuChannel } from '../../connection/channel.js';

/** Times in ms. */
export interface DurableServiceConfig extends DurableConnectionConfig {
  /** Must be the username of the instance. */
  username: string;
  /** Base64; must be the private key of the instance. Default: the instance's key. */
  privateKey?: string;
  /** `name@version` or `name:version`. */
  serviceFqn: string;
  /** Whether the service can be found by its name; otherwise only by its id. Default false. */
  isPublic?: boolean;
  /** At most 4 KiB of JSON, returned by look-ups. */
  metadata?: unknown;
  /** Default 300 000. */
  ttl?: number;
  /** The service is refreshed when this fraction of the ttl is left, 0 to 1. Default 0.2. */
  ttlRefreshMargin?: number;
  /** Number of free offers to keep. Default 1. */
  poolSize?: number;
  /** Has no effect: the server pushes, or else the engine uses its own polling interval. Default 2000. */
  pollingInterval?: number;
  /** Called for each channel that a joiner opens. Errors that it throws are emitted as `error`. */
  handler(channel: RondevuChannel, connectionId: string): void | Promise<void>;
}

export interface PublishedAs {
  serviceId: string;
  /** Same as serviceId; the argument of `connectByUuid`. */
  uuid: string;
  /** ms */
  expiresAt: number;
}

export interface DurableServiceEvents {
  published: [serviceId: string, uuid: string];
  connection: [id: string];
  disconnection: [id: string];
  'ttl-refreshed': [expiresAt: number];
  error: [error: Error, context: string];
  closed: [];
}

export class DurableService extends Emitter<DurableServiceEvents> {
  readonly #pool: OfferPool;
  readonly #handler: DurableServiceConfig['handler'];
  readonly #connections = new Map<OffererConnection, string>();
  #info: PublishedAs | undefined;
  #isStarted = false;
  #lastError: RondevuError | undefined;
  /** Wakes a waiting `start()`. */
  #wakeStart: (() => void) | undefined;

  /** The configuration with its defaults, without the private key. */
  readonly config: Readonly<Omit<DurableServiceConfig, 'privateKey'>>;

  constructor(pool: OfferPool, { handler, privateKey: _, ...config }: DurableServiceConfig) {
    super();
    this.config = { ...config, handler };
    this.#pool = pool;
    this.#handler = handler;
    pool
      .on('published', (serviceId, expiresAt) => {
        const before = this.#info;
        this.#info = { serviceId, uuid: serviceId, expiresAt };
        this.#wakeStart?.();
        if (!before) this.emit('published', serviceId, serviceId);
        else if (expiresAt > before.expiresAt) this.emit('ttl-refreshed', expiresAt);
      })
      .on('offer:failed', (_id, error) => {
        this.#lastError = error;
        this.emit('error', error, 'offer');
        this.#wakeStart?.();
      })
      .on('connection:opened', (_id, connection) => this.#opened(connection));
  }

  /**
   * Publishes the service and accepts connections. While the server cannot be reached, keeps waiting for it.
   * @throws RondevuError if the server refuses it, or `stop()` was called before it was published
   */
  async start(): Promise<PublishedAs> {
    this.#isStarted = true;
    await this.#pool.start();
    // the pool retries while the server cannot be reached, and this call waits for it
    while (!this.#info) {
      await new Promise<void>((resolve) => (this.#wakeStart = resolve));
      if (!this.#pool.isStarted) throw this.#lastError ?? new RondevuError('closed', 'start: the service was stopped');
    }
    return this.#info;
  }

  /** Withdraws the service and closes its connections. */
  async stop(): Promise<void> {
    if (!this.#isStarted) return;
    this.#isStarted = false;
    await this.#pool.stop();
    this.#info = undefined;
    this.#wakeStart?.();
    this.emit('closed');
  }

  /** Ids of the connections, whether their link is up or not. */
  getActiveConnections(): string[] {
    return [...this.#connections.values()];
  }

  /** Null while the service is not published. */
  getServiceInfo(): (PublishedAs & { serviceFqn: string }) | null {
    return this.#info ? { ...this.#info, serviceFqn: this.#pool.fqn } : null;
  }

  /** Whether `start()` was called and `stop()` was not. */
  get isStarted(): boolean {
    return this.#isStarted;
  }

  #opened(connection: OffererConnection): void {
    const id = connection.sessionId;
    this.#connections.set(connection, id);
    connection.on('channel', (channel) => void this.#handle(channel, id));
    connection.on('closed', () => {
      this.#connections.delete(connection);
      this.emit('disconnection', id);
    });
    connection.on('failed', (error) => this.emit('error', error, `connection ${id}`));
    this.emit('connection', id);
  }

  async #handle(channel: RondevuChannel, id: string): Promise<void> {
    try {
      await this.#handler(channel, id);
    } catch (cause) {
      // not instanceof: an error may come from another realm
      const isError = typeof (cause as Error | undefined)?.message === 'string';
      const error = isError ? (cause as Error) : new RondevuError('bad-request', String(cause));
      if (!this.emit('error', error, `handler of ${channel.label}`))
        console.error('rondevu: the handler of a service threw', error);
    }
  }
}
