/**
 * <rondevu-connect>: joins a service and stays connected.
 */
import { css, html, type PropertyDeclarations } from 'lit';
import {
  RondevuError,
  type AnswererConnection,
  type BufferedMessage,
  type ConnectionConfig,
  type Peer,
  type Rondevu,
  type Sendable,
  type SendHandle,
} from '../src/index.js';
import { EarlyMessages } from '../src/early-messages.js';
import { RondevuElement } from './base-element.js';
import { Deferred } from './deferred.js';
import type { RondevuConnectEventDetails } from './events.js';
import type { ConnectState } from './states.js';

export type { ConnectState };

/**
 * Joins a service and keeps the same connection object through network outages and restarts of the peer or the server. Renders
 * only its slotted content.
 *
 * @tag rondevu-connect
 * @slot - Elements that use this connection, or any other content.
 *
 * @attr {string} state - Engine state, read-only: `idle waiting unreachable initializing gathering signaling checking connecting connected disconnected reconnecting failed closed`.
 * @attr {string} peer - Username of the peer, read-only.
 * @attr {number} attempt - Number of the current attempt, read-only.
 * @attr {number} max-attempts - Maximum number of attempts, 0 for no limit; read-only.
 * @attr {number} buffered - Number of messages queued until the link is up, read-only.
 * @attr {number} rotations - Number of times the link was replaced, read-only.
 * @attr {boolean} verified - Whether the peer proved possession of its private key in the handshake, read-only.
 * @attr {string} error-code - Code of the last error, read-only.
 *
 * @cssstate connected - The link is up.
 * @cssstate reconnecting - The link is being replaced.
 * @cssstate failed - The element failed and does not retry.
 *
 * @fires rondevu-state - The state changed: `{from, to, reason}`. Bubbles.
 * @fires rondevu-waiting - The server reported that no host is available yet: `{}`. Bubbles.
 * @fires rondevu-open - The link is up for the first time: `{peer, connection}`. Bubbles.
 * @fires rondevu-reconnected - The link is up again: `{peer, connection, verdict, lost}`. If `verdict` is `resumed`, no message was lost; if it is `reset`, the peer started a new session, and `lost` lists the unacknowledged messages. Bubbles.
 * @fires rondevu-message - A message arrived: `{data, peer}`. Does not bubble.
 * @fires rondevu-reconnecting - A reconnection attempt is scheduled: `{attempt, delay, maxAttempts}`, with `delay` in ms. Bubbles.
 * @fires rondevu-rotated - The connection has a new link: `{generation}`. Bubbles.
 * @fires rondevu-buffered - A message was buffered: `{data}`. Does not bubble.
 * @fires rondevu-replayed - A buffered message was sent: `{message}`. Does not bubble.
 * @fires rondevu-delivered - The peer's application received a message: `{id}`. Does not bubble.
 * @fires rondevu-close - The connection ended: `{reason}`. Dispatched before `rondevu-state`. If a listener of this event calls `connect()`, the state `closed` is not reported. Bubbles.
 * @fires rondevu-error - Something failed: `{error}`. `error.willRetry` is true if the element retries automatically; the code `unavailable` means that the signaling server cannot be reached. Bubbles.
 */
export class RondevuConnect extends RondevuElement<RondevuConnectEventDetails> {
  /** @internal */
  static override properties: PropertyDeclarations = {
    to: {},
    timeout: { type: Number },
    connectionConfig: { attribute: false },
  };

  /** @internal */
  static override styles = css`
    :host {
      display: contents;
    }
    :host([hidden]) {
      display: none;
    }
  `;

  /** Address of the peer, for example `chat:1.0.0@alice`, or `chat:1.0.0` for any host of the service. */
  to?: string;
  /** How long to wait for the peer, in ms. Default: no limit. */
  timeout?: number;
  /** Options of the connection. */
  connectionConfig?: Partial<ConnectionConfig>;

  /** @internal */
  static override readonly stateAttributes = [
    'state',
    'peer',
    'attempt',
    'max-attempts',
    'buffered',
    'rotations',
    'verified',
    'error-code',
  ];
  #rondevu: Rondevu | undefined;
  #connection: AnswererConnection | undefined;
  /** Messages sent before the connection object exists. */
  #early: EarlyMessages | undefined;
  #ready = new Deferred<AnswererConnection>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #rotations = 0;

  /** Engine state. */
  get state(): ConnectState {
    return this.stateOf<ConnectState>('state', 'idle');
  }

  /** The peer, once known. */
  get peer(): Peer | undefined {
    return this.#connection?.peer;
  }

  /** Number of the current attempt; 0 if there is no attempt. */
  get attempt(): number {
    return this.stateOf('attempt', 0);
  }

  /** Maximum number of attempts; 0 for no limit. */
  get maxAttempts(): number {
    return this.#connection?.config.maxReconnectAttempts ?? 0;
  }

  /** Number of messages queued until the link is up. */
  get buffered(): number {
    return this.#connection?.bufferedCount ?? this.#early?.count ?? 0;
  }

  /** Number of times the link was replaced. */
  get rotations(): number {
    return this.#rotations;
  }

  /** Whether the peer proved possession of its private key. */
  get verified(): boolean {
    return this.#connection?.peer?.verified ?? false;
  }

  /** The connection object, which stays the same while the element runs. */
  get connection(): AnswererConnection | undefined {
    return this.#connection;
  }

  /** The client that the element uses while it runs. */
  get rondevu(): Rondevu | undefined {
    return this.#rondevu;
  }

  /** Resolves with the connection when its link comes up for the first time. */
  get ready(): Promise<AnswererConnection> {
    return this.#ready.promise;
  }

  /**
   * Starts joining, unless the element is already running. Starts a scheduled attempt immediately; tries again after a failure.
   */
  connect(): Promise<void> {
    if (this.#connection) this.#connection.connect();
    return this.begin();
  }

  /**
   * Sends a message; while no link is up, the message is buffered. If the element fails before there is a connection, the
   * outcome of the message is `dropped`.
   * @throws RondevuError `not-connected` if the element has not been started; otherwise the same errors as
   *   `RondevuConnection.send`
   */
  send(data: Sendable): SendHandle {
    if (this.#connection) return this.#connection.send(data);
    if (!this.running && this.state !== 'failed')
      throw new RondevuError('not-connected', `<rondevu-connect> is ${this.state}: call connect() first`);
    this.#early ??= new EarlyMessages(this.#config(), {
      onBuffered: (data) => this.emit('rondevu-buffered', { data }, false),
      onQueueSize: (size) => this.reflectCount('buffered', size),
    });
    const handle = this.#early.send(data);
    if (!this.running) this.#dropEarly();
    return handle;
  }

  /** Ends the connection. */
  async close(reason = 'closed here'): Promise<void> {
    await this.end(reason);
  }

  /** @internal */
  protected override async run(isCurrent: () => boolean): Promise<void> {
    this.changeState('initializing', 'started');
    const rondevu = await this.borrow();
    if (!isCurrent()) return;
    this.#rondevu = rondevu;
    const connection = await rondevu.prepareConnection({
      serviceFqn: this.to ?? '',
      connectionConfig: this.#config(),
      ...this.iceChoice(),
    });
    if (!isCurrent()) return void connection.close({ reason: 'the element was stopped' });
    this.#connection = connection;
    this.reflect('max-attempts', connection.config.maxReconnectAttempts);
    this.#listen(connection);
    this.#startTimeout();
    connection.adopt(this.#early?.takeAll() ?? []);
    this.#early = undefined;
    connection.start(Infinity);
  }

  /** @internal */
  protected override async release(reason: string, error = new RondevuError('closed', reason)): Promise<void> {
    const connection = this.#connection;
    clearTimeout(this.#timer);
    this.#rondevu = this.#connection = undefined;
    this.#dropEarly();
    this.#ready.reject(error);
    this.#ready = new Deferred();
    this.#rotations = 0;
    for (const name of ['peer', 'attempt', 'max-attempts', 'buffered', 'rotations', 'verified']) this.reflect(name, undefined);
    await connection?.close({ reason });
  }

  /** @internal */
  protected override ended(reason: string): void {
    this.changeState('closed', reason, () => this.emit('rondevu-close', { reason }));
  }

  /** @internal */
  protected override render() {
    return html`<slot></slot>`;
  }

  /** By default, an element keeps trying until it is stopped. */
  #config(): Partial<ConnectionConfig> {
    return { maxReconnectAttempts: 0, sessionTtl: Infinity, ...this.connectionConfig };
  }

  /**
   * Forwards the events of the connection. The cast of `connection.peer` is safe, because the peer is known before the first
   * link is up.
   */
  #listen(connection: AnswererConnection): void {
    let opened = false;
    let generation = 0;
    const isCurrent = () => connection === this.#connection;
    const back = (verdict: 'resumed' | 'reset', lost: readonly BufferedMessage[]) =>
      this.emit('rondevu-reconnected', { peer: connection.peer as Peer, connection, verdict, lost });
    connection.on('resumed', () => back('resumed', []));
    connection.on('reset', (lost) => back('reset', lost));
    connection.on('message:delivered', (id) => this.emit('rondevu-delivered', { id }, false));
    connection.on('state:changed', ({ newState, reason }) => {
      if (newState === 'closed' || !isCurrent()) return; // `closed` is handled below, with its reason
      if (newState === 'connected') {
        this.reflect('peer', connection.peer?.username);
        this.reflect('verified', connection.peer?.verified);
      }
      this.changeState(newState, reason);
    });
    connection.on('waiting', () => {
      if (!isCurrent()) return;
      if (this.errorCode === 'unavailable') this.recovered(); // the server has answered
      if (connection.generation > 0) return;
      this.batch(() => {
        if (this.changeState('waiting', 'no host yet')) this.emit('rondevu-waiting', {});
      });
    });
    connection.on('connected', () => {
      this.reflect('attempt', undefined);
      this.recovered();
      if (opened) {
        // the old link recovered before a new link was up
        if (connection.generation === generation) return;
        this.reflect('rotations', ++this.#rotations);
        this.emit('rondevu-rotated', { generation: (generation = connection.generation) });
      } else {
        generation = connection.generation;
        opened = true;
        clearTimeout(this.#timer);
        this.#ready.resolve(connection);
        this.emit('rondevu-open', { peer: connection.peer as Peer, connection });
      }
    });
    connection.on('reconnect:scheduled', (plan) => {
      this.reflect('attempt', plan.attempt);
      this.emit('rondevu-reconnecting', { ...plan });
    });
    connection.on('message', (data) => this.emit('rondevu-message', { data, peer: connection.peer as Peer }, false));
    connection.on('message:error', (_id, error) => this.emit('rondevu-error', { error }));
    connection.on('message:buffer:size', (size) => isCurrent() && this.reflectCount('buffered', size));
    connection.on('message:buffered', (data) => this.emit('rondevu-buffered', { data }, false));
    connection.on('message:replayed', (message) => this.emit('rondevu-replayed', { message }, false));
    connection.on('failed', (error) => {
      if (!isCurrent()) return;
      if (error.code === 'unavailable' && error.willRetry) return this.#unreachable(error, connection.generation === 0);
      if (error.willRetry) return this.showError(error);
      this.#ready.reject(error);
      this.showFailure(error);
    });
    connection.on('closed', (reason) => {
      if (isCurrent()) void this.end(reason); // the peer or the engine closed the connection
    });
  }

  #startTimeout(): void {
    const { timeout, to } = this;
    if (!timeout) return;
    this.#timer = setTimeout(() => {
      const { error: last } = this;
      const error =
        last?.code === 'unavailable'
          ? new RondevuError('unavailable', `${last.message} (gave up after ${timeout} ms)`, { cause: last })
          : new RondevuError('timeout', `no connection to ${to} within ${timeout} ms`);
      this.batch(() => {
        this.fail(error);
        this.emit('rondevu-close', { reason: error.message });
      });
    }, timeout);
  }

  #unreachable(error: RondevuError, isFirst: boolean): void {
    this.batch(() => {
      if (isFirst) this.changeState('unreachable', error.message);
      this.showOutage(error);
    });
  }

  #dropEarly(): void {
    this.#early?.drop();
    this.#early = undefined;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'rondevu-connect': RondevuConnect;
  }
}
