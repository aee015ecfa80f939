/** `DurableService` from v0.9.0: a published service with the v0.9.0 method names. */
import { Emitter } from '../../base/emitter.js';
import type { OffererConnection } from '../../connection/offerer-connection.js';
import { RondevuError } from '../../errors.js';
import type { OfferPool } from '../../offers/offer-pool.js';
import type { DurableConnectionConfig } from './config.js';
import type { RondevuChannel } from '../../connection/channel.js';

/** Times in ms. */
export interface DurableServiceConfig extends DurableConnectionConfig {
  /** Must equal the username of the `Rondevu` instance. */
  username: string;
  /** Base64; must equal the private key of the `Rondevu` instance. Default: the instance's key. */
  privateKey?: string;
  /** `name@version` or `name:version`. */
  serviceFqn: string;
  /** Whether the service can be found by name; if false, it can be found only by id. Default false. */
  isPublic?: boolean;
  /** Metadata of the service: at most 4 KiB of JSON, returned by lookups. */
  metadata?: unknown;
  /** Default 300 000. */
  ttl?: number;
  /** Fraction of the ttl that remains when the service is refreshed, 0 to 1. Default 0.2. */
  ttlRefreshMargin?: number;
  /** Number of free offers to keep available. Default 1. */
  poolSize?: number;
  /** Has no effect: the server pushes events, or the engine polls at its own interval. Default 2000. */
  pollingInterval?: number;
  /** Called for each channel that a joiner opens. Errors thrown by the handler are emitted as `error`. */
  handler(channel: RondevuChannel, connectionId: string): void | Promise<void>;
}

export interface PublishedAs {
  serviceId: string;
  /** Same as `serviceId`; the argument of `connectByUuid`. */
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

  /** The configuration, including default values but not the private key. */
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
   * Publishes the service and accepts connections. Keeps retrying while the server is unreachable.
   * @throws RondevuError if the server refuses the service, or if `stop()` is called before the service is published
   */
  async start(): Promise<PublishedAs> {
    this.#isStarted = true;
    await this.#pool.start();
    // while the server is unreachable, the pool retries and this call waits
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

  /** Returns the ids of all connections, whether or not their links are up. */
  getActiveConnections(): string[] {
    return [...this.#connections.values()];
  }

  /** Returns null while the service is not published. */
  getServiceInfo(): (PublishedAs & { serviceFqn: string }) | null {
    return this.#info ? { ...this.#info, serviceFqn: this.#pool.fqn } : null;
  }

  /** Whether the service has been started and not stopped since. */
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
      // avoids instanceof, because the error may come from another realm
      const isError = typeof (cause as Error | undefined)?.message === 'string';
      const error = isError ? (cause as Error) : new RondevuError('bad-request', String(cause));
      if (!this.emit('error', error, `handler of ${channel.label}`))
        console.error('rondevu: the handler of a service threw', error);
    }
  }
}
