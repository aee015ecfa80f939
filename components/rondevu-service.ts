/**
 * <rondevu-service>: publishes a service and accepts joiners.
 */
import { css, html, type PropertyDeclarations } from 'lit';
import {
  Rondevu,
  RondevuError,
  type BufferedMessage,
  type ConnectionConfig,
  type OffererConnection,
  type OfferPool,
  type Peer,
  type PublishOptions,
  type Sendable,
  type SignalingState,
} from '../src/index.js';
import { RondevuElement } from './base-element.js';
import { Deferred } from './deferred.js';
import type { RondevuServiceEventDetails } from './events.js';
import { sendToAll } from './send-to-all.js';
import type { ServiceState } from './states.js';

export type { ServiceState };

/**
 * Publishes a service and accepts joiners. Renders only its slotted content: put a `<rondevu-chat>` or your own
 * elements inside.
 *
 * @tag rondevu-service
 * @slot - Elements that use this service, or any other content.
 *
 * @attr {'idle'|'publishing'|'live'|'reconnecting'|'stopped'|'failed'} state - Engine state, read-only.
 * @attr {number} offer-count - Number of free offers, read-only.
 * @attr {number} peer-count - Number of peers whose link is up, read-only.
 * @attr {number} rotations - Number of times a connection was bound to a new offer, read-only.
 * @attr {boolean} rotating - Whether a connection is waiting for its peer to return, read-only.
 * @attr {string} error-code - Code of the last error, read-only.
 *
 * @cssstate connected - The service is live.
 * @cssstate reconnecting - The signaling server cannot be reached.
 * @cssstate rotating - A connection is waiting for its peer to return.
 * @cssstate failed - Publishing failed, and the element does not retry.
 *
 * @fires rondevu-state - The state changed: `{from, to, reason}`. Bubbles.
 * @fires rondevu-published - The first offers are on the server: `{serviceFqn, offers}`. Bubbles.
 * @fires rondevu-connection - A joiner connected: `{connection, peer, offerId}`. Bubbles.
 * @fires rondevu-rotated - A connection was bound to a new offer: `{oldOfferId, newOfferId, connection, peer}`. Bubbles.
 * @fires rondevu-message - A message arrived: `{data, peer, connection}`. Does not bubble.
 * @fires rondevu-disconnected - A peer's link was lost; the peer may return: `{peer, connection, reason}`. Bubbles.
 * @fires rondevu-reconnected - A peer reconnected to the same connection: `{peer, connection, verdict, lost}`. If `verdict` is `resumed`, no message was lost; if it is `reset`, the peer started a new session, and `lost` lists the unacknowledged messages. Bubbles.
 * @fires rondevu-left - A connection ended: `{peer, reason}`. Bubbles.
 * @fires rondevu-error - Something failed: `{error}`, or `{error, peer, connection}` if a message could not be sent to one peer. Bubbles.
 */
export class RondevuService extends RondevuElement<RondevuServiceEventDetails> {
  /** @internal */
  static override properties: PropertyDeclarations = {
    service: {},
    maxOffers: { type: Number, attribute: 'max-offers' },
    maxConnections: { type: Number, attribute: 'max-connections' },
    ttl: { type: Number },
    connectionConfig: { attribute: false },
    offerFactory: { attribute: false },
    accept: { attribute: false },
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

  /** `name:version`, for example `chat:1.0.0`. */
  service?: string;
  /** Number of offers to keep free for joiners. */
  maxOffers = 5;
  /** Maximum number of connections. Default: no limit. */
  maxConnections?: number;
  /** Lifetime of an offer, in ms; offers are renewed before they expire. */
  ttl = 300_000;
  /** Options of the connections. */
  connectionConfig?: Partial<ConnectionConfig>;
  /** Creates the offer and a channel on the given peer connection. */
  offerFactory?: PublishOptions['offerFactory'];
  /** Called before a joiner is accepted; returning false refuses the joiner. */
  accept?: PublishOptions['accept'];

  /** @internal */
  static override readonly stateAttributes = ['state', 'offer-count', 'peer-count', 'rotations', 'rotating', 'error-code'];
  #rondevu: Rondevu | undefined;
  #pool: OfferPool | undefined;
  #rotations = 0;
  #ready = new Deferred<this>();

  /** Engine state. */
  get state(): ServiceState {
    return this.stateOf<ServiceState>('state', 'idle');
  }

  /** Number of free offers. */
  get offerCount(): number {
    return this.#pool?.offers.length ?? 0;
  }

  /** Number of peers whose link is up. */
  get peerCount(): number {
    return this.connections.filter((connection) => connection.isConnected()).length;
  }

  /** Number of times a connection was bound to a new offer. */
  get rotations(): number {
    return this.#rotations;
  }

  /** Whether a connection is waiting for its peer to return. */
  get rotating(): boolean {
    return this.connections.some((connection) => connection.isRotating());
  }

  /** The client that the element uses while it runs. */
  get rondevu(): Rondevu | undefined {
    return this.#rondevu;
  }

  /** All connections, including those whose link is down. */
  get connections(): OffererConnection[] {
    return this.#pool?.connections ?? [];
  }

  /** Resolves when the service is live; rejects if it fails or is stopped first. */
  get ready(): Promise<this> {
    return this.#ready.promise;
  }

  /** Starts publishing, unless the element is already running; tries again after a failure. */
  start(): Promise<void> {
    if (this.state === 'failed') void this.end('started again');
    return this.begin();
  }

  /** Withdraws the offers and closes the connections. */
  stop(): Promise<void> {
    return this.end('stopped');
  }

  /**
   * Sends a message to every peer; a peer whose link is down receives the message when its link is up again. A peer to which
   * the message cannot be sent is skipped and reported with `rondevu-error`.
   * @returns number of peers to which the message was sent
   * @throws RondevuError the same errors as `RondevuConnection.send`, if sending failed for every peer
   */
  broadcast(data: Sendable): number {
    const { sent, failures } = sendToAll(this.connections, data);
    if (failures.length && !sent.length) throw failures[0]!.error;
    for (const { connection, error } of failures) this.emit('rondevu-error', { error, peer: connection.peer, connection });
    return sent.length;
  }

  /** Closes every connection; the service stays published. */
  async disconnectAll(): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.close()));
  }

  /** @internal */
  protected override async run(isCurrent: () => boolean): Promise<void> {
    this.changeState('publishing', 'started');
    Rondevu.preparePublishing();
    const rondevu = await this.borrow();
    await this.vacated;
    if (!isCurrent()) return;
    this.#rondevu = rondevu;
    rondevu.on('signaling:state', this.#onSignaling);
    const publishing = rondevu.publishService({
      service: this.service ?? '',
      maxOffers: this.maxOffers,
      ttl: this.ttl,
      ...(this.maxConnections !== undefined && { maxConnections: this.maxConnections }),
      ...(this.connectionConfig && { connectionConfig: this.connectionConfig }),
      ...(this.offerFactory && { offerFactory: this.offerFactory }),
      accept: (peer) => this.accept?.(peer) ?? true,
      ...this.iceChoice(),
    });
    this.vacated = publishing.then(
      (pool) => isCurrent() || void rondevu.unpublishService(pool.fqn),
      () => undefined,
    );
    const pool = await publishing;
    if (!isCurrent()) return;
    this.#pool = pool;
    pool.on('connection:opened', (offerId, connection) => this.#opened(offerId, connection));
    pool.on('connection:rotated', (oldOfferId, newOfferId, connection) => {
      this.reflectCount('rotations', ++this.#rotations);
      this.#showRotating();
      this.emit('rondevu-rotated', { oldOfferId, newOfferId, connection, peer: connection.peer as Peer });
    });
    pool.on('changed', () => isCurrent() && this.#showCounts());
    pool.on('offer:created', () => isCurrent() && this.#live());
    pool.on('offer:failed', (_offerId, error) => {
      if (!error.willRetry || !isCurrent()) return;
      if (error.code === 'unavailable') this.showOutage(error);
      else this.showError(error);
    });
    pool.on('failed', (error) => isCurrent() && this.showFailure(error));
    await pool.start();
  }

  /** @internal */
  protected override async release(reason: string, error = new RondevuError('closed', reason)): Promise<void> {
    const [rondevu, pool] = [this.#rondevu, this.#pool];
    this.#rondevu = this.#pool = undefined;
    rondevu?.off('signaling:state', this.#onSignaling);
    this.#ready.reject(error);
    this.#ready = new Deferred();
    this.#rotations = 0;
    this.reflectCount('offer-count', 0);
    this.reflectCount('peer-count', 0);
    this.reflect('rotations', undefined);
    this.reflect('rotating', undefined);
    this.toggleState('rotating', false);
    if (pool) await rondevu?.unpublishService(pool.fqn);
  }

  /** @internal */
  protected override ended(reason: string): void {
    this.changeState('stopped', reason);
  }

  /** @internal */
  protected override updated(changed: Map<string, unknown>): void {
    super.updated(changed);
    if (['maxOffers', 'ttl', 'maxConnections'].some((name) => changed.has(name))) {
      this.#pool?.update({ maxOffers: this.maxOffers, ttl: this.ttl, maxConnections: this.maxConnections ?? Infinity });
    }
  }

  /** @internal */
  protected override render() {
    return html`<slot></slot>`;
  }

  #live(): void {
    const first = this.state === 'publishing';
    this.recovered();
    this.batch(() => {
      this.changeState('live', 'offers are published');
      this.#showCounts();
      if (!first) return;
      this.#ready.resolve(this);
      this.emit('rondevu-published', { serviceFqn: this.#pool!.fqn, offers: this.offerCount });
    });
  }

  readonly #onSignaling = (state: SignalingState, error?: RondevuError): void => {
    if (state === 'push' || state === 'polling') {
      if (this.errorCode === 'unavailable') this.recovered();
      if (this.state === 'reconnecting') this.changeState('live', 'the signaling server is reachable again');
    } else if (error && error.code !== 'unavailable') {
      // the server refused the session itself, for example because the name is taken
      this.#ready.reject(error);
      this.showFailure(error);
    } else {
      this.batch(() => {
        if (this.state === 'live') this.changeState('reconnecting', error?.message ?? 'the signaling server is unreachable');
        if (error) this.showOutage(error);
      });
    }
  };

  #opened(offerId: string, connection: OffererConnection): void {
    const peer = connection.peer as Peer;
    connection.on('message', (data) => this.emit('rondevu-message', { data, peer, connection }, false));
    connection.on('message:error', (_id, error) => this.emit('rondevu-error', { error, peer, connection }));
    connection.on('disconnected', (reason) => {
      this.#showCounts();
      this.emit('rondevu-disconnected', { peer, connection, reason });
    });
    const back = (verdict: 'resumed' | 'reset', lost: readonly BufferedMessage[]) => {
      this.#showCounts();
      this.emit('rondevu-reconnected', { peer, connection, verdict, lost });
    };
    connection.on('resumed', () => back('resumed', []));
    connection.on('reset', (lost) => back('reset', lost));
    connection.on('closed', (reason) => {
      this.#showCounts();
      this.emit('rondevu-left', { peer, reason });
    });
    this.#showCounts();
    this.emit('rondevu-connection', { connection, peer, offerId });
  }

  #showCounts(): void {
    this.reflectCount('offer-count', this.offerCount);
    this.reflectCount('peer-count', this.peerCount);
    this.#showRotating();
  }

  #showRotating(): void {
    const { rotating } = this;
    if (this.stateOf('rotating', false) !== rotating) this.reflect('rotating', rotating);
    this.toggleState('rotating', rotating);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'rondevu-service': RondevuService;
  }
}
