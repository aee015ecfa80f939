/**
 * RondevuConnection: the durable object that represents a connection over all its links. Owns the current link and the
 * connection state. The endpoint owns the messages; the subclasses for offerer and answerer decide how a lost link is replaced.
 */
import { randomId } from '../base/bytes.js';
import { chunk } from '../base/chunk.js';
import { Emitter } from '../base/emitter.js';
import { printable } from '../base/printable.js';
import type { Writable } from '../base/writable.js';
import type { BufferedMessage, Message, Sendable } from '../delivery/message-buffer.js';
import { ConnectionError, RondevuError, type ErrorCode } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { ChannelConfig, RondevuChannel } from './channel.js';
import type { ConnectionConfig } from './connection-config.js';
import type { ConnectionEndpoint } from './connection-endpoint.js';
import type { CloseOptions, ConnectionEvents, EndCode, Peer, SendHandle } from './connection-events.js';
import { next, type ConnectionEvent, type ConnectionState, type Effect } from './connection-state.js';
import type { Health } from './heartbeat.js';
import type { Link, LinkHandlers } from './link.js';
import type { Renegotiation } from './renegotiation.js';
import type { ConnectionStats } from './stats.js';
import type { SignalingPort } from '../signaling/signaling-port.js';

/** Modules that a connection needs once a link is up; loaded before the connection is created. @internal */
export type LinkRuntime = typeof import('./link-runtime.js');

export abstract class RondevuConnection extends Emitter<ConnectionEvents> {
  /** `name:version@username` of the service. */
  readonly serviceFqn: string;
  readonly config: Readonly<ConnectionConfig>;
  /** Resolves at the first `connected` event; rejects if the connection ends earlier. */
  readonly opened: Promise<this>;
  /** Number of the current link; events from earlier links are not emitted. */
  readonly generation: number = 0;
  /** The peer; undefined until it is known. */
  readonly peer: Peer | undefined;
  /** @internal */
  protected link: Link | undefined;
  /** A link that was silent for too long but may recover; kept until another link carries messages. */
  #lingering: Link | undefined;
  /** @internal */
  protected readonly endpoint: ConnectionEndpoint;
  readonly #runtime: LinkRuntime;
  /** @internal */
  protected readonly proof: HandshakeProof;
  /** @internal */
  protected readonly port: Pick<SignalingPort, 'signal'>;
  /** Error that ended the attempts to connect, if known. @internal */
  protected reason: RondevuError | undefined;
  #state: ConnectionState = 'initializing';
  /** Whether a link has ever been up. @internal */
  protected wasConnected = false;
  /** Error code to report if the current link does not come up. @internal */
  protected failureCode: ErrorCode = 'timeout';
  /** Number of the current reconnection attempt, from 1; 0 while the first link is being set up. @internal */
  protected attempt = 0;
  #closing: Promise<void> | undefined;
  /** Whether the session is still sending its last messages after the state has become `closed`. */
  #finishing = false;
  #isBroken = false;
  #negotiation: Renegotiation | undefined;
  #settleOpened!: { resolve(connection: RondevuConnection): void; reject(error: RondevuError): void };

  /** @internal */
  constructor(
    serviceFqn: string,
    config: ConnectionConfig,
    port: Pick<SignalingPort, 'signal'>,
    proof: HandshakeProof,
    runtime: LinkRuntime,
    sid = randomId(16),
  ) {
    super();
    this.serviceFqn = serviceFqn;
    this.proof = proof;
    this.port = port;
    this.config = config;
    this.#runtime = runtime;
    const report =
      <Event extends keyof ConnectionEvents>(event: Event) =>
      (...args: ConnectionEvents[Event]) =>
        void this.emit(event, ...(args as never));
    this.endpoint = new runtime.ConnectionEndpoint(sid, config, {
      onMessage: report('message'),
      hasListener: () => this.listenerCount('message') > 0,
      onOpen: () => this.#opened(),
      // a listener of `connected` may have closed the connection
      onResumed: () => void (this.#closing || this.emit('resumed')),
      onReset: report('reset'),
      onQueueSize: report('message:buffer:size'),
      onQueued: ({ data }) => this.emit('message:buffered', data),
      onReplayed: report('message:replayed'),
      onExpired: report('message:buffer:expired'),
      onOverflow: report('message:buffer:overflow'),
      onDelivered: ({ id }) => this.emit('message:delivered', id),
      onUnsent: ({ id }, error) => this.emit('message:error', id, error),
      onChannel: report('channel'),
      isOfferer: () => this.isOfferer,
      onFin: () => void this.#closedByPeer(),
      // there is no link while the connection is closing
      onGap: (reason) => (this.link ? this.#linkLost(this.link, reason) : this.endpoint.detach()),
      onError: (error) => this.#broken(error),
    });
    this.opened = new Promise<RondevuConnection>(
      (resolve, reject) => (this.#settleOpened = { resolve, reject }),
    ) as Promise<this>;
    this.opened.catch(() => undefined); // users may ignore it
  }

  /** @internal */
  protected override listenerAdded(event: keyof ConnectionEvents): void {
    if (event === 'message') this.endpoint.listened();
  }

  getState(): ConnectionState {
    return this.#state;
  }

  isConnected(): boolean {
    return this.#state === 'connected';
  }

  /** Heartbeat state of the current link; undefined if no link exists. */
  get health(): Health | undefined {
    return this.link?.health;
  }

  /** Session id shared by both peers; changes when the joiner reloads. */
  get sessionId(): string {
    return this.endpoint.sid;
  }

  /** The RTCPeerConnection of the current link; each link has its own. */
  getPeerConnection(): RTCPeerConnection | undefined {
    return this.link?.pc;
  }

  /**
   * The raw in-band data channel of the current link, if it exists; its messages are neither buffered nor replayed. If both
   * peers run this version, only the application uses the raw channel.
   */
  getDataChannel(): RTCDataChannel | undefined {
    return this.link?.raw;
  }

  /**
   * Number of bytes accepted but not yet acknowledged; if the peer is an older client, number of bytes not yet sent. Excludes
   * messages queued while no link is up.
   */
  get bufferedAmount(): number {
    return this.endpoint.bufferedAmount;
  }

  /** Resolves when nearly all accepted data has been handed to the network. */
  drained(): Promise<void> {
    return this.endpoint.drained();
  }

  /** Number of messages buffered while no link is up. */
  get bufferedCount(): number {
    return this.endpoint.queued;
  }

  /** Removes and returns the buffered messages, oldest first. Their outcome is `dropped`. */
  takeBuffer(): BufferedMessage[] {
    return this.endpoint.takeQueue();
  }

  /** Pings the peer, and resolves to whether it replies within `ms` milliseconds. */
  async probe(ms: number): Promise<boolean> {
    return (await this.link?.probe(ms)) ?? false;
  }

  /** Resolves to the statistics of the current link; undefined if no link exists. */
  async getStats(): Promise<ConnectionStats | undefined> {
    const { digestStats } = await chunk('stats', () => import('./stats.js'));
    const report = await this.link?.pc?.getStats();
    return report && digestStats(report, this.generation - 1);
  }

  /**
   * Creates an additional channel with its own queue, order and limits; the channel lasts as long as the connection. Either
   * peer can create a channel, and the other peer then emits `channel`. There is one channel per label.
   * @throws ValidationError; RondevuError `closed`
   */
  createChannel(label: string, config?: Partial<ChannelConfig>): RondevuChannel {
    if (this.#state === 'closed') throw new ConnectionError('closed', `createChannel: the connection is closed`);
    return this.endpoint.channels.create(label, config);
  }

  /** Returns the channel with this label, created by either peer. */
  getChannel(label: string): RondevuChannel | undefined {
    return this.endpoint.channels.get(label);
  }

  /**
   * Sends text or binary data. Messages sent while the link is down are buffered and sent in order on the next link; if both
   * peers run this version, each message is delivered exactly once. See docs/delivery.md.
   * @throws RondevuError `closed` after `close()`, `not-connected` while no link is up and `bufferEnabled` is false,
   *   `too-large` or `queue-full`; ValidationError if `data` is neither text nor binary data
   */
  send(data: Sendable): SendHandle {
    if (this.#state === 'closed') throw new ConnectionError('closed', `send: the connection to ${this.#peerName()} is closed`);
    const up = this.#state === 'connected';
    if (!up && !this.config.bufferEnabled) {
      const text = `send: the connection to ${this.#peerName()} is ${this.#state} and bufferEnabled is false`;
      throw new ConnectionError('not-connected', text);
    }
    const { data: sent, handle } = this.endpoint.send(data);
    this.emit('message:sent', sent, !up);
    return handle;
  }

  /**
   * Queues messages that were composed before the connection existed. Must be called before the connection is started.
   * @internal
   */
  adopt(messages: Message[]): void {
    for (const message of messages) this.endpoint.queue(message);
  }

  /**
   * Sends the queued messages, informs the peer and closes the connection. Idempotent. The state becomes `closed` immediately;
   * the promise resolves when all resources are released.
   */
  close({ reason = 'closed here', code = 'closed', discard = false }: CloseOptions = {}): Promise<void> {
    return this.#closeOnce(() => this.#end(reason, code, discard));
  }

  /** Whether this side creates the initial offer of each link. @internal */
  protected abstract readonly isOfferer: boolean;
  /** Called when the link is lost and the connection should reconnect. @internal */
  protected abstract recover(reason: string): void;
  /** Called when a link that was being set up in the background has failed. @internal */
  protected abstract linkFailed(reason: string): void;
  /** Called when the current link is up, before `connected` is emitted. @internal */
  protected abstract linkOpened(): void;
  /** Stops the current attempt, because an abandoned link has recovered. @internal */
  protected abstract abandonAttempt(): void;
  /** Releases the resources of the subclass: searches, timers, watches. @internal */
  protected abstract cleanUp(): void;

  /**
   * Applies an event to the state machine; no other method changes the state. Returns whether the event applies in the current
   * state.
   * @internal
   */
  protected apply(event: ConnectionEvent, reason: string, code: EndCode = 'timeout'): boolean {
    const transition = next(this.#state, event);
    if (!transition) return false;
    const oldState = this.#state;
    this.#state = transition.state;
    if (oldState !== transition.state) {
      this.#log(`${oldState} → ${transition.state}: ${reason}`);
      this.emit('state:changed', { oldState, newState: transition.state, reason });
    }
    for (const effect of transition.effects) this.#perform(effect, transition.state, reason, code);
    return true;
  }

  /**
   * Closes the link because the page is about to be hidden; the session continues, and the peer treats the link as lost.
   * @internal
   */
  dropLinkForNow(reason: string): void {
    this.link?.control('bye');
    this.link?.close();
    if (this.link && !this.apply('lost', reason, 'closed')) this.linkFailed(reason);
  }

  /** Pings the peer immediately, after a network change or page event. @internal */
  checkNow(): void {
    this.link?.checkNow();
  }

  /** Starts a new session with the peer; unacknowledged messages of the old session are reported with `reset`. @internal */
  protected renewSession(sid: string, isOther = false): void {
    this.#dropLingering(); // a lingering link belongs to the old session
    this.endpoint.renew(sid, isOther);
  }

  /** Releases the current link without closing it, and returns it. @internal */
  protected releaseLink(): Link | undefined {
    const { link } = this;
    this.link = undefined;
    return link;
  }

  /** Makes the given link the current one and closes the previous link. @internal */
  protected useLink(link: Link): void {
    this.#dropLink();
    this.link = link;
    this.failureCode = 'timeout';
    this.#negotiation = undefined;
    (this as Writable<RondevuConnection>).generation++;
    const { heartbeatInterval: interval, suspectAfter, deadAfter } = this.config;
    link.times = { interval, suspectAfter, deadAfter };
    link.attach(this.#handlers(link), this.config.iceGatheringTimeout);
  }

  #handlers(link: Link): LinkHandlers {
    // a late event from a replaced link must not affect its successor
    const isCurrent = () => link === this.link;
    const current = (action: () => void) => () => void (isCurrent() && action());
    return {
      onOpen: current(() => {
        this.emit('datachannel:open');
        this.endpoint.attach(link);
      }),
      onPath: current(() => this.apply('path', 'ICE found a path')),
      onMessage: (data) => {
        if (this.#alive(link)) this.endpoint.receive(data, link);
      },
      onControl: (text) => {
        if (!this.#alive(link) || this.endpoint.control(text, link)) return;
        if (text === 'bye') this.#linkLost(link, "the peer's page was hidden or closed", 'timeout', 'peer-gone');
        else this.receiveSignal(text);
      },
      onLost: (reason, code) => this.#linkLost(link, reason, code),
      onError: (error) => (isCurrent() || link === this.#lingering ? this.#broken(error) : link.close()),
      onSuspect: current(() => this.restartIce()),
      onDead: current(() => {
        // the link may recover, so it is kept until another link carries messages
        if (this.#state !== 'connected') return;
        this.#lingering = this.releaseLink();
        this.endpoint.detach();
        this.apply('lost', 'nothing received from the peer');
      }),
      onAlive: () => void this.#alive(link),
      onLocalCandidate: (candidate) => isCurrent() && this.emit('ice:candidate:local', candidate),
      onRaw: (event, value) => isCurrent() && this.emit(event, value as never),
    };
  }

  /** Restarts ICE, for example after a network change (RFC 8829 section 4.1.18). Does nothing while no link is up. */
  restartIce(): void {
    this.#renegotiate((negotiation) => negotiation.begin());
  }

  /** Handles a message about the current link, received over the control channel or through the server. @internal */
  receiveSignal(text: string): void {
    this.#renegotiate((negotiation) => negotiation.receive(text));
  }

  #renegotiate(action: (negotiation: Renegotiation) => Promise<void>): void {
    const { link, peer, proof, serviceFqn: fqn, sessionId: sid } = this;
    if (!link?.framed || !link.isOpen || !peer) return;
    const signal = (sdp: string) => void this.port.signal({ to: peer.username, sid, sdp });
    this.#negotiation ??= this.#runtime.renegotiationOf(link, { isOfferer: this.isOfferer, fqn, sid, peer, proof, signal });
    if (this.#negotiation) void action(this.#negotiation);
  }

  /**
   * Called when anything is received on a link; an abandoned link is used again. Returns whether the link is now the current
   * one.
   */
  #alive(link: Link): boolean {
    if (link === this.#lingering && link.isOpen) {
      this.abandonAttempt();
      // a listener may have closed the connection, and with it this link
      if (link !== this.#lingering) return false;
      this.#lingering = undefined;
      this.link?.close();
      this.link = link;
      this.endpoint.reattach(link);
    }
    return link === this.link;
  }

  /** Ends the connection after a protocol violation by the peer, and reports the violation once. */
  #broken(error: RondevuError): void {
    // a `failed` listener may close the connection, and more invalid data may arrive in the meantime
    if (this.#closing || this.#isBroken) return;
    this.#isBroken = true;
    this.emit('failed', error);
    void this.close({ reason: error.message, code: error.code, discard: true });
  }

  /** @param endCode code reported with `disconnected` */
  #linkLost(link: Link, reason: string, code: ErrorCode = 'timeout', endCode: EndCode = code): void {
    if (link === this.#lingering) return this.#dropLingering();
    if (link !== this.link) return;
    this.failureCode = code;
    if (this.#state === 'connected') this.emit('datachannel:close');
    // a listener may have closed the connection
    if (link === this.link && !this.apply('lost', reason, endCode)) this.linkFailed(reason);
  }

  /** The link starts to carry messages. */
  #opened(): void {
    this.#dropLingering();
    // DTLS has proven the peer's key; if the key cannot be stored, only the next comparison is skipped
    if (this.peer) void this.proof.remember(this.peer).catch(() => undefined);
    this.linkOpened();
    this.apply('open', 'the link is open');
  }

  #closedByPeer(): void {
    const { link } = this;
    void this.#closeOnce(async () => {
      this.link = undefined;
      this.apply('close', 'closed by the peer', 'closed-by-peer');
      // finish() closes the channel before the peer connection, so that the last message is still sent
      await link?.finish();
    });
  }

  /** Calls `end` unless the connection is already closing. */
  #closeOnce(end: () => Promise<void>): Promise<void> {
    if (this.#closing) return this.#closing;
    let settle!: (ended: Promise<void>) => void;
    // assigned before `end` is called, because a listener that `end` calls may call close() again
    this.#closing = new Promise((resolve) => (settle = resolve));
    settle(end());
    return this.#closing;
  }

  #perform(effect: Effect, state: ConnectionState, reason: string, code: EndCode): void {
    // a listener called by an earlier effect may have changed the state: the remaining effects are then obsolete
    if (this.#state !== state) return;
    switch (effect) {
      case 'drop-link':
        return this.#dropLink();
      case 'announce':
        return this.#announce(state, reason, code);
      case 'recover':
        if (this.config.reconnectEnabled) this.recover(reason);
        else this.apply('give-up', `${reason}, and reconnectEnabled is false`);
        return;
      case 'end':
        this.endpoint.stopQueue();
        this.emit('cleanup:started');
        this.cleanUp();
        this.#dropLingering();
        if (!this.config.preserveBufferOnClose) this.takeBuffer();
        if (!this.#finishing) this.endpoint.end();
        this.#settleOpened.reject(new ConnectionError('closed', reason));
        this.emit('cleanup:complete');
        return;
    }
  }

  #announce(state: ConnectionState, reason: string, code: EndCode): void {
    if (state === 'connected') {
      const isReconnect = this.wasConnected;
      this.wasConnected = true;
      this.#settleOpened.resolve(this);
      this.emit('connected');
      if (isReconnect && !this.#closing) this.emit('reconnect:success');
    } else if (state === 'failed') {
      const error = this.reason ?? new ConnectionError('peer-gone', `gave up connecting to ${this.#peerName()}: ${reason}`);
      this.#settleOpened.reject(error);
      this.emit('failed', error);
    } else if (state === 'reconnecting') this.emit('reconnecting', this.attempt);
    else if (state === 'disconnected' || state === 'closed') this.emit(state, reason, { code });
    else this.emit('connecting');
  }

  #dropLink(): void {
    const { link } = this;
    if (!link) return;
    this.link = undefined;
    this.endpoint.detach();
    link.close();
  }

  #dropLingering(): void {
    this.#lingering?.close();
    this.#lingering = undefined;
  }

  async #end(reason: string, code: EndCode, discard: boolean): Promise<void> {
    const link = this.link;
    this.#finishing = this.#state === 'connected' && link !== undefined;
    this.link = undefined; // prevents the effects of `close` from closing the link too early
    if (discard) this.endpoint.discard();
    // a `connected` listener may close the connection before the queued messages are sent
    else if (this.#finishing) this.endpoint.flush();
    this.apply('close', reason, code);
    if (!link) return;
    if (this.#finishing) {
      await this.#runtime.finish(link, this.endpoint);
      this.endpoint.end();
      await link.finish();
    }
    link.close();
  }

  #peerName(): string {
    return this.peer?.username ?? this.serviceFqn;
  }

  #log(text: string): void {
    if (this.config.debug) console.debug(printable(`rondevu ${this.#peerName()}: ${text}`));
  }
}
