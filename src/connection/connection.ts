/**
 * RondevuConnection: the object that users get once and keep. Holds the state (written in one place), the buffer, the
 * listeners and the current link; what to do when the link is lost is for its two kinds, offerer and answerer.
 */
import { randomId } from '../base/bytes.js';
import { chunk } from '../base/chunk.js';
import { Emitter } from '../base/emitter.js';
import { printable } from '../base/printable.js';
import type { Backlog } from '../delivery/backlog.js';
import type { BufferedMessage, Message } from '../delivery/message-buffer.js';
import { ConnectionError, RondevuError, type ErrorCode } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { ChannelConfig, RondevuChannel } from './channel.js';
import type { ConnectionConfig } from './connection-config.js';
import type { Conversation } from './conversation.js';
import type { CloseOptions, ConnectionEvents, Peer, SendHandle } from './connection-events.js';
import { next, type ConnectionEvent, type ConnectionState, type Effect } from './connection-state.js';
import type { Health } from './heartbeat.js';
import type { Link, LinkHandlers } from './link.js';
import type { Renegotiation } from './renegotiation.js';
import type { ConnectionStats } from './stats.js';
import type { SignalingPort } from '../signaling/signaling-port.js';

/** What is needed once a link is up; whoever makes a connection has loaded it. */
export type Talk = typeof import('./talk.js');

export abstract class RondevuConnection extends Emitter<ConnectionEvents> {
  /** `name:version@username` of the service. */
  serviceFqn: string;
  readonly config: ConnectionConfig;
  /** Resolves at the first `connected`; rejects when the connection ends before. */
  readonly opened: Promise<this>;
  /** Counts links; an event of an older link is never told. */
  generation = 0;
  /** Who is at the other end; undefined until known. */
  peer: Peer | undefined;
  protected link: Link | undefined;
  /** A link that was silent for too long and may come back; kept until another one carries messages. */
  #lingering: Link | undefined;
  protected readonly session: Conversation;
  readonly #talk: Talk;
  protected readonly proof: HandshakeProof;
  protected readonly port: Pick<SignalingPort, 'signal'>;
  /** Why nothing more is tried, if something said. */
  protected reason: RondevuError | undefined;
  #state: ConnectionState = 'initializing';
  readonly #backlog: Backlog;
  /** A new session with the same peer waits for its first link, and what the old one lost. */
  #renewed = false;
  #lost: BufferedMessage[] = [];
  /** Whether it was connected before. */
  protected isReturning = false;
  #closing: Promise<void> | undefined;
  #negotiation: Renegotiation | undefined;
  #settleOpened!: { resolve(connection: RondevuConnection): void; reject(error: RondevuError): void };

  constructor(
    serviceFqn: string,
    config: ConnectionConfig,
    port: Pick<SignalingPort, 'signal'>,
    proof: HandshakeProof,
    talk: Talk,
    sid = randomId(16),
  ) {
    super();
    this.serviceFqn = serviceFqn;
    this.proof = proof;
    this.port = port;
    this.config = config;
    this.#talk = talk;
    this.#backlog = new talk.Backlog(
      { maxSize: config.maxBufferSize, maxAge: config.maxBufferAge },
      {
        onExpired: (message) => this.emit('message:buffer:expired', message),
        onOverflow: (discarded) => this.emit('message:buffer:overflow', discarded),
      },
    );
    this.session = new talk.Conversation(sid, config, {
      onMessage: (data) => void this.emit('message', data),
      isHeard: () => this.listenerCount('message') > 0,
      onUnsent: ({ id }, error) => this.emit('message:error', id, error),
      onReady: (verdict, lost) => this.#ready(verdict, lost),
      onDone: (message, outcome) => {
        (message as Message).settle(outcome);
        if (outcome === 'delivered') this.emit('message:delivered', message.id);
      },
      onChannel: (channel) => this.emit('channel', channel),
      isOfferer: () => this.isOfferer,
      onFin: () => void this.#closedByPeer(),
      onHole: (reason) => (this.link ? this.#linkLost(this.link, reason) : this.session.detach()), // the latter while it ends
      onError: (error) => this.#broken(error),
    });
    this.opened = new Promise<RondevuConnection>(
      (resolve, reject) => (this.#settleOpened = { resolve, reject }),
    ) as Promise<this>;
    this.opened.catch(() => undefined); // nobody has to look at it
  }

  protected override listenerAdded(event: keyof ConnectionEvents): void {
    if (event === 'message') this.session.listened();
  }

  getState(): ConnectionState {
    return this.#state;
  }

  isConnected(): boolean {
    return this.#state === 'connected';
  }

  /** What the heartbeat says of the current link; undefined where there is none. */
  get health(): Health | undefined {
    return this.link?.health;
  }

  /** What both sides call what they keep about each other; another one after a reload of the joiner. */
  get sessionId(): string {
    return this.session.sid;
  }

  /** The current RTCPeerConnection. It is replaced at each recovery. */
  getPeerConnection(): RTCPeerConnection | undefined {
    return this.link?.pc;
  }

  /** The raw in-band channel of the link, once it is there: not buffered, not replayed, between two of ours for its own listeners. */
  getDataChannel(): RTCDataChannel | undefined {
    return this.link?.raw;
  }

  /** Bytes that were accepted and are not known to have arrived; towards an old peer, that have not left. */
  get bufferedAmount(): number {
    return this.session.bufferedAmount;
  }

  /** Resolves when the network has taken nearly all that was sent. */
  drained(): Promise<void> {
    return this.session.drained();
  }

  /** Takes out what was kept for later and not sent, oldest first. Their handles say `dropped`. */
  takeBuffer(): BufferedMessage[] {
    const messages = this.#backlog.takeAll();
    for (const message of messages) message.settle('dropped');
    return messages;
  }

  /** Whether the peer shows life within `ms`. */
  async probe(ms: number): Promise<boolean> {
    return (await this.link?.probe(ms)) ?? false;
  }

  /** Figures of the current link; undefined where there is none. */
  async getStats(): Promise<ConnectionStats | undefined> {
    const { digestStats } = await chunk('stats', () => import('./stats.js'));
    const report = await this.link?.pc.getStats();
    return report && digestStats(report, this.generation - 1);
  }

  /**
   * A further channel, with queue, order and limits of its own; it lasts as the connection does. Either side makes it, and the
   * other is told with `channel`. One label is one channel.
   * @throws ValidationError; RondevuError `closed`
   */
  createChannel(label: string, config?: Partial<ChannelConfig>): RondevuChannel {
    if (this.#state === 'closed') throw new ConnectionError('closed', `createChannel: the connection is closed`);
    return this.session.channels.create(label, config);
  }

  /** The channel of that label that either side made. */
  getChannel(label: string): RondevuChannel | undefined {
    return this.session.channels.get(label);
  }

  /**
   * Sends text or bytes. While the link is down they are kept and sent when it is back, in order; between two of ours exactly
   * once. docs/delivery.md.
   * @throws RondevuError `closed` after `close()`, `not-connected` while down with `bufferEnabled: false`, `too-large`, `queue-full`;
   *   ValidationError for anything but text or bytes
   */
  send(data: string | Blob | ArrayBuffer | ArrayBufferView): SendHandle {
    if (this.#state === 'closed') throw new ConnectionError('closed', `send: the connection to ${this.#peerName()} is closed`);
    const up = this.#state === 'connected';
    if (!up && !this.config.bufferEnabled) {
      const text = `send: the connection to ${this.#peerName()} is ${this.#state} and bufferEnabled is false`;
      throw new ConnectionError('not-connected', text);
    }
    const message = this.session.compose(data);
    if (up) {
      this.#flush(); // a listener of `connected` may send before the replay began
      this.session.send(message);
    } else {
      this.#backlog.add(message, () => this.emit('message:buffered', message.data));
    }
    this.emit('message:sent', message.data, !up);
    return message.handle;
  }

  /**
   * Queues messages that were composed before the connection existed. Call it before the connection begins.
   * @internal
   */
  adopt(messages: Message[]): void {
    for (const message of messages) this.#backlog.add(message, () => undefined);
  }

  /** Sends what is queued, tells the peer, ends. Idempotent; `closed` at once, the promise resolves when all is torn down. */
  close({ reason = 'closed here', discard = false }: CloseOptions = {}): Promise<void> {
    return (this.#closing ??= this.#end(reason, discard));
  }

  /** Whether this side makes the first offer of each link. */
  protected abstract readonly isOfferer: boolean;
  /** What to do when the link is lost and reconnecting is wanted. */
  protected abstract recover(reason: string): void;
  /** A link that was being made while the state was elsewhere already did not come up. */
  protected abstract linkFailed(reason: string): void;
  /** The current link is up; called before `connected` is told. */
  protected abstract linkOpened(): void;
  /** The link that was given up lives: what is being tried instead is over. */
  protected abstract abandonAttempt(): void;
  /** Lets go of what the kind holds: searches, timers, watches. */
  protected abstract cleanUp(): void;

  /** The one writer of the state. Returns whether the event meant something in it. */
  protected apply(event: ConnectionEvent, reason: string): boolean {
    const transition = next(this.#state, event);
    if (!transition) return false;
    const oldState = this.#state;
    this.#state = transition.state;
    if (oldState !== transition.state) {
      this.#log(`${oldState} → ${transition.state}: ${reason}`);
      this.emit('state:changed', { oldState, newState: transition.state, reason });
    }
    for (const effect of transition.effects) this.#perform(effect, event, transition.state, reason);
    return true;
  }

  /** Lets go of the link as a page does that is about to be hidden; the session goes on, for the peer it is a blip. */
  dropLinkForNow(reason: string): void {
    this.link?.control('bye');
    this.link?.close();
    if (this.link && !this.apply('lost', reason)) this.linkFailed(reason);
  }

  /** Something changed outside: ask the peer now, do not wait for a timer. */
  checkNow(): void {
    this.link?.checkNow();
  }

  /** The peer begins a new session; what was under way in the old one is told with `reset`. */
  protected renewSession(sid: string, isOther = false): void {
    this.#dropLingering(); // it is of the old session
    this.#lost.push(...this.session.renew(sid));
    // what was for another peer does not go to this one
    if (isOther) this.#lost.push(...this.session.discard(), ...this.takeBuffer());
    this.#renewed = true;
  }

  /** Gives the current link away, alive. */
  protected releaseLink(): Link | undefined {
    const { link } = this;
    this.link = undefined;
    return link;
  }

  /** Makes a link the current one; the one before is closed. */
  protected useLink(link: Link): void {
    this.#dropLink();
    this.link = link;
    this.failureCode = 'timeout';
    this.#negotiation = undefined;
    this.generation++;
    const { heartbeatInterval: interval, suspectAfter, deadAfter } = this.config;
    link.times = { interval, suspectAfter, deadAfter };
    link.attach(this.#handlers(link));
  }

  #handlers(link: Link): LinkHandlers {
    // a late event of a link that was replaced must not touch what has replaced it
    const isCurrent = () => link === this.link;
    const current = (act: () => void) => () => void (isCurrent() && act());
    return {
      onOpen: current(() => {
        this.emit('datachannel:open');
        this.session.attach(link);
      }),
      onPath: current(() => this.apply('path', 'ICE found a path')),
      onMessage: (data) => {
        if (this.#alive(link)) this.session.receive(data, link);
      },
      onControl: (text) => {
        if (!this.#alive(link) || this.session.control(text, link)) return;
        if (text === 'bye') this.#linkLost(link, 'the page of the peer was hidden or left');
        else this.receiveSignal(text);
      },
      onLost: (reason, code) => this.#linkLost(link, reason, code),
      onError: (error) => (isCurrent() || link === this.#lingering ? this.#broken(error) : link.close()),
      onSuspect: current(() => this.restartIce()),
      onDead: current(() => {
        // it may yet come back: kept until another link carries messages
        if (this.#state !== 'connected') return;
        this.#lingering = this.releaseLink();
        this.session.detach();
        this.apply('lost', 'no sign of life from the peer');
      }),
      onAlive: () => void this.#alive(link),
      onLocalCandidate: (candidate) => isCurrent() && this.emit('ice:candidate:local', candidate),
      onRaw: (event, value) => isCurrent() && this.emit(event, value as never),
    };
  }

  /** Negotiates the path anew, as after a change of network (RFC 8829 section 4.1.18). Nothing happens without a link. */
  restartIce(): void {
    this.#renegotiate((negotiation) => negotiation.begin());
  }

  /** What the peer says of the current link, over the control channel or the server. */
  receiveSignal(text: string): void {
    this.#renegotiate((negotiation) => negotiation.receive(text));
  }

  #renegotiate(act: (negotiation: Renegotiation) => Promise<void>): void {
    const { link, peer, proof, serviceFqn: fqn, sessionId: sid } = this;
    if (!link?.framed || !link.isOpen || !peer) return;
    const signal = (sdp: string) => void this.port.signal({ to: peer.username, sid, sdp });
    this.#negotiation ??= new this.#talk.Renegotiation({ link, isOfferer: this.isOfferer, fqn, sid, peer, proof, signal });
    void act(this.#negotiation);
  }

  /** Something came on a link: one that was given up is taken back. Returns whether it is the current one. */
  #alive(link: Link): boolean {
    if (link === this.#lingering && link.isOpen && this.#state !== 'closed') {
      this.#lingering = undefined;
      this.abandonAttempt();
      this.link?.close();
      this.link = link;
      this.session.reattach(link);
    }
    return link === this.link;
  }

  /** The peer broke the rules: that ends the connection, and is reported once. */
  #broken(error: RondevuError): void {
    if (this.#closing) return;
    this.emit('failed', error);
    void this.close({ reason: error.message, discard: true });
  }

  #linkLost(link: Link, reason: string, code: ErrorCode = 'timeout'): void {
    if (link === this.#lingering) return this.#dropLingering();
    if (link !== this.link) return;
    this.failureCode = code;
    if (this.#state === 'connected') this.emit('datachannel:close');
    if (!this.apply('lost', reason)) this.linkFailed(reason);
  }

  /** The link carries messages: see Session. */
  #ready(verdict: 'new' | 'resumed' | 'reset', lost: BufferedMessage[]): void {
    this.#dropLingering();
    // DTLS has proven the key now; a store that fails costs the comparison next time, no more
    if (this.peer) void this.proof.remember(this.peer).catch(() => undefined);
    this.linkOpened();
    this.apply('open', 'the peer is there');
    // towards an old peer a new link is all there is
    if (this.#renewed || verdict === 'reset') this.emit('reset', [...this.#lost.splice(0), ...lost]);
    else if (verdict === 'resumed') this.emit('resumed');
    this.#renewed = false;
  }

  #closedByPeer(): void {
    const { link } = this;
    this.#closing ??= (async () => {
      this.link = undefined;
      this.apply('close', 'closed by the peer');
      // letting the channel close by itself takes our last word along
      await link?.finish();
    })();
  }

  #perform(effect: Effect, event: ConnectionEvent, state: ConnectionState, reason: string): void {
    // an earlier effect's listeners may have moved the state on; what belonged to it is over then
    if (this.#state !== state) return;
    switch (effect) {
      case 'drop-link':
        return this.#dropLink();
      case 'announce':
        return this.#announce(state, reason);
      case 'flush':
        return this.#flush();
      case 'recover':
        if (this.config.reconnectEnabled) this.recover(reason);
        else this.apply('give-up', `${reason}, and reconnectEnabled is false`);
        return;
      case 'end':
        this.#backlog.stop();
        this.emit('cleanup:started');
        this.cleanUp();
        this.#dropLingering();
        if (!this.config.preserveBufferOnClose) this.takeBuffer();
        if (!this.#finishing) this.session.end();
        this.#settleOpened.reject(new ConnectionError('closed', reason));
        this.emit('cleanup:complete');
        return;
      default:
        throw new RondevuError('unsupported', `no such effect: ${effect satisfies never} of ${event}`);
    }
  }

  #announce(state: ConnectionState, reason: string): void {
    if (state === 'connected') {
      const again = this.isReturning;
      this.isReturning = true;
      this.#settleOpened.resolve(this);
      this.emit('connected');
      if (again) this.emit('reconnect:success');
    } else if (state === 'connecting') this.emit('connecting');
    else if (state === 'disconnected') this.emit('disconnected', reason);
    else if (state === 'reconnecting') this.emit('reconnecting', this.attempt);
    else if (state === 'closed') this.emit('closed', reason);
    else if (state === 'failed') {
      const error =
        this.reason ?? new ConnectionError('peer-gone', `the connection to ${this.#peerName()} was given up: ${reason}`);
      this.#settleOpened.reject(error);
      this.emit('failed', error);
    }
  }

  /** The code of the error that says why the current link did not come up. */
  protected failureCode: ErrorCode = 'timeout';

  /** Attempts that got an answer and did not come up, since the last link. */
  protected attempt = 0;

  #flush(): void {
    for (const message of this.#backlog.takeAll()) this.session.send(message, () => this.emit('message:replayed', message));
  }

  #dropLink(): void {
    const { link } = this;
    if (!link) return;
    this.link = undefined;
    this.session.detach();
    link.close();
  }

  #dropLingering(): void {
    this.#lingering?.close();
    this.#lingering = undefined;
  }

  /** The session goes on after the state says `closed`, until its tail is out. */
  #finishing = false;

  async #end(reason: string, discard: boolean): Promise<void> {
    const link = this.link;
    this.#finishing = this.#state === 'connected' && link !== undefined;
    this.link = undefined; // so that the effects of closing do not cut it off
    if (discard) this.session.discard();
    this.apply('close', reason);
    if (!link) return;
    if (this.#finishing) {
      await this.#talk.sendTail(link, this.session);
      this.session.end();
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
