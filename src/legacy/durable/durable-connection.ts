/**
 * `DurableConnection` from v0.9.0: a joined connection with the v0.9.0 method names. Reconnection and replay are implemented by
 * the engine.
 */
import { Emitter } from '../../base/emitter.js';
import type { AnswererConnection } from '../../connection/answerer-connection.js';
import type { ChannelConfig, RondevuChannel } from '../../connection/channel.js';
import type { ConnectionState } from '../../connection/connection-state.js';
import { ConnectionError, type RondevuError } from '../../errors.js';
import type { DurableConnectionConfig } from './config.js';

export type DurableState = 'connecting' | 'connected' | 'reconnecting' | 'disconnected' | 'failed' | 'closed';

export interface DurableConnectionEvents {
  state: [state: DurableState, previous: DurableState];
  connected: [];
  /** `nextRetryIn` in ms. */
  reconnecting: [attempt: number, maxAttempts: number, nextRetryIn: number];
  disconnected: [];
  /** `permanent` is true if no further attempts will be made. */
  failed: [error: RondevuError, permanent: boolean];
  closed: [];
  /** Emitted when the peer creates a channel; not part of v0.9.0. */
  channel: [channel: RondevuChannel];
}

/** Information about the connection and its peer. */
export interface ConnectionInfo {
  connectionId: string;
  serviceFqn: string;
  /** Service id; set only for connections made with `connectByUuid`. */
  uuid: string | undefined;
  username: string | undefined;
  publicKey: string | undefined;
  verified: boolean;
  state: DurableState;
}

const STATES: Partial<Record<ConnectionState, DurableState>> = {
  connected: 'connected',
  disconnected: 'disconnected',
  reconnecting: 'reconnecting',
  failed: 'failed',
  closed: 'closed',
};

export class DurableConnection extends Emitter<DurableConnectionEvents> {
  readonly #connection: AnswererConnection;
  readonly #uuid: string | undefined;
  #state: DurableState = 'connecting';
  #wasConnected = false;

  /** The configuration, including default values. `connectionTimeout` also limits how long `connect()` searches for a host. */
  readonly config: Readonly<DurableConnectionConfig & { connectionTimeout: number }>;

  /** @param uuid service id, if the service was requested by id instead of by name */
  constructor(connection: AnswererConnection, config: DurableConnectionConfig & { connectionTimeout: number }, uuid?: string) {
    super();
    this.#connection = connection;
    this.config = config;
    this.#uuid = uuid;
    connection
      .on('state:changed', ({ newState }) => this.#follow(newState))
      .on('connected', () => {
        this.#wasConnected = true;
        this.emit('connected');
      })
      .on('reconnect:scheduled', ({ attempt, delay, maxAttempts }) => this.emit('reconnecting', attempt, maxAttempts, delay))
      .on('disconnected', () => this.emit('disconnected'))
      .on('failed', (error) => this.emit('failed', error, !error.willRetry))
      .on('closed', () => this.emit('closed'))
      .on('channel', (channel) => this.emit('channel', channel));
  }

  /** Session id shared by both peers; changes when a peer reloads. */
  get connectionId(): string {
    return this.#connection.sessionId;
  }

  get connectionInfo(): ConnectionInfo {
    const { peer, serviceFqn } = this.#connection;
    return {
      connectionId: this.connectionId,
      serviceFqn,
      uuid: this.#uuid,
      username: peer?.username,
      publicKey: peer?.publicKey,
      verified: peer?.verified ?? false,
      state: this.#state,
    };
  }

  /**
   * Resolves when connected. After `failed`, tries again.
   * @throws RondevuError if no host was found in time, or if the connection was closed
   */
  async connect(): Promise<void> {
    if (this.#state === 'closed') throw new ConnectionError('closed', 'connect: this connection was closed');
    if (this.isConnected()) return;
    const settled = new Promise<void>((resolve, reject) => {
      const end = (act: () => void) => () => {
        this.off('connected', onConnected).off('failed', onFailed).off('closed', onClosed);
        act();
      };
      const onConnected = end(resolve);
      const onClosed = end(() => reject(new ConnectionError('closed', 'the connection was closed before it was up')));
      const onFailed = (error: RondevuError, permanent: boolean) => permanent && end(() => reject(error))();
      this.on('connected', onConnected).on('failed', onFailed).on('closed', onClosed);
    });
    if (this.#state === 'failed') this.#connection.connect();
    else this.#connection.start(this.config.connectionTimeout);
    await settled;
  }

  /**
   * Either peer may create a channel; there is one channel per label. A channel can be created and used before `connect()`. Of
   * the RTCDataChannelInit members, only `ordered` and `maxRetransmits` take effect, because the engine negotiates the channel
   * on each link.
   * @throws ValidationError; RondevuError `closed`
   */
  createChannel(label: string, config: Partial<ChannelConfig> & RTCDataChannelInit = {}): RondevuChannel {
    const { protocol: _protocol, negotiated: _negotiated, maxPacketLifeTime: _life, id: _id, ...rest } = config;
    return this.#connection.createChannel(label, rest);
  }

  getChannel(label: string): RondevuChannel | undefined {
    return this.#connection.getChannel(label);
  }

  getState(): DurableState {
    return this.#state;
  }

  isConnected(): boolean {
    return this.#state === 'connected';
  }

  /** Sends queued messages, notifies the peer and closes the connection. Idempotent. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  #follow(state: ConnectionState): void {
    // each new link passes through the same intermediate states as the first link
    const next = STATES[state] ?? (this.#wasConnected ? 'reconnecting' : 'connecting');
    const previous = this.#state;
    if (next === previous) return;
    this.#state = next;
    this.emit('state', next, previous);
  }
}
