/**
 * RondevuConnection: the object that users get once and keep. Holds the state (written in one place), the buffer, the
 * listeners and the current link; what to do when the link is lost is for its two kinds, offerer and answerer.
 */
import { Emitter } from '../base/emitter.js';
import { ConnectionError, RondevuError, ValidationError, quote } from '../errors.js';
import type { ConnectionConfig } from './connection-config.js';
import type { ConnectionEvents, Peer, SendHandle } from './connection-events.js';
import { next, type ConnectionEvent, type ConnectionState, type Effect } from './connection-state.js';
import type { Link, LinkHandlers } from './link.js';
import { MessageBuffer, type BufferedMessage, type MessageData } from './message-buffer.js';
import { Sender, byteLength } from './sender.js';

/** What every platform carries in one message, in bytes. */
const SAFE_MESSAGE_SIZE = 262_144;
/** How long `close` waits for what is queued, in ms. */
const DRAIN = 2000;

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
  #state: ConnectionState = 'initializing';
  readonly #buffer: MessageBuffer;
  readonly #sender = new Sender();
  #expiry: ReturnType<typeof setTimeout> | undefined;
  #nextId = 1;
  #wasConnected = false;
  #closing: Promise<void> | undefined;
  #settleOpened!: { resolve(connection: RondevuConnection): void; reject(error: RondevuError): void };

  constructor(serviceFqn: string, config: ConnectionConfig) {
    super();
    this.serviceFqn = serviceFqn;
    this.config = config;
    this.#buffer = new MessageBuffer({ maxSize: config.maxBufferSize, maxAge: config.maxBufferAge });
    this.opened = new Promise<RondevuConnection>(
      (resolve, reject) => (this.#settleOpened = { resolve, reject }),
    ) as Promise<this>;
    this.opened.catch(() => undefined); // nobody has to look at it
  }

  getState(): ConnectionState {
    return this.#state;
  }

  isConnected(): boolean {
    return this.#state === 'connected';
  }

  /** The current RTCPeerConnection. It is replaced at each recovery. */
  getPeerConnection(): RTCPeerConnection | undefined {
    return this.link?.pc;
  }

  /** The current data channel, raw: what is sent on it is neither buffered nor replayed. */
  getDataChannel(): RTCDataChannel | undefined {
    return this.link?.channel;
  }

  /** Bytes that were sent and have not left. */
  get bufferedAmount(): number {
    return this.#sender.bufferedAmount;
  }

  /** Resolves when the network has taken nearly all that was sent. */
  drained(): Promise<void> {
    return this.#sender.drained();
  }

  /** Takes out what was kept for later and not sent, oldest first. */
  takeBuffer(): BufferedMessage[] {
    return this.#buffer.takeAll();
  }

  /** Whether the peer shows life within `ms`. */
  async probe(ms: number): Promise<boolean> {
    return (await this.link?.probe(ms)) ?? false;
  }

  /** RTCPeerConnection.getStats of the current link. */
  async getStats(): Promise<RTCStatsReport | undefined> {
    return this.link?.pc.getStats();
  }

  /**
   * Sends text or bytes. While the link is down they are kept and sent when it is back, in order.
   * @throws RondevuError `closed` after `close()`, `not-connected` while down with `bufferEnabled: false`, `too-large`, `queue-full`;
   *   ValidationError for anything but text or bytes
   */
  send(data: string | Blob | ArrayBuffer | ArrayBufferView): SendHandle {
    if (this.#state === 'closed') throw new ConnectionError('closed', `send: the connection to ${this.#peerName()} is closed`);
    const message: BufferedMessage = { id: `${this.#nextId}`, data: toData(data), timestamp: Date.now(), attempts: 0 };
    const limit = Math.min(this.config.maxMessageSize, this.link?.pc.sctp?.maxMessageSize || SAFE_MESSAGE_SIZE);
    const upper = byteLength(message);
    // only text that might be too long is measured exactly
    const bytes = upper > limit && typeof message.data === 'string' ? new Blob([message.data]).size : upper;
    if (bytes > limit) {
      throw new ConnectionError('too-large', `send: a message may have ${limit} bytes here, this one has ${bytes}`);
    }
    const up = this.#state === 'connected';
    if (!up && !this.config.bufferEnabled) {
      throw new ConnectionError(
        'not-connected',
        `send: the connection to ${this.#peerName()} is ${this.#state} and bufferEnabled is false`,
      );
    }
    if (this.#sender.queuedBytes + bytes > this.config.maxQueuedBytes) {
      throw new ConnectionError(
        'queue-full',
        `send: ${this.#sender.queuedBytes} bytes wait already, maxQueuedBytes is ${this.config.maxQueuedBytes}; wait for drained()`,
      );
    }
    this.#nextId++;
    if (up) {
      this.#flush(); // a listener of `connected` may send before the replay began
      this.#sender.push(message);
    } else {
      this.#keep(message);
    }
    this.emit('message:sent', message.data, !up);
    return { id: message.id };
  }

  /**
   * Sends what is queued, tells the peer, ends. Idempotent; the state is `closed` at once, the promise resolves when all is torn down.
   */
  close(reason = 'closed here'): Promise<void> {
    return (this.#closing ??= this.#end(reason));
  }

  /** What to do when the link is lost and reconnecting is wanted. */
  protected abstract recover(reason: string): void;
  /** A link that was being made while the state was elsewhere already did not come up. */
  protected abstract linkFailed(reason: string): void;
  /** The current link is up; called before `connected` is told. */
  protected abstract linkOpened(): void;
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

  /** Takes the link down without a word, as a page does that is about to be hidden; recovery starts as after any loss. */
  dropLinkForNow(reason: string): void {
    this.link?.close();
    if (this.link && !this.apply('lost', reason)) this.linkFailed(reason);
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
    this.generation++;
    link.attach(this.#handlers(link));
  }

  #handlers(link: Link): LinkHandlers {
    // a late event of a link that was replaced must not touch what has replaced it
    const current = (act: () => void) => () => void (link === this.link && act());
    return {
      onOpen: current(() => {
        this.#sender.use(link.channel!);
        this.emit('datachannel:open');
        this.linkOpened();
        this.apply('open', 'the data channel is open');
      }),
      onPath: current(() => this.apply('path', 'ICE found a path')),
      onMessage: (data) => link === this.link && this.emit('message', data),
      onLost: (reason, final) => {
        if (link !== this.link) return;
        if (this.#state === 'connected') this.emit('datachannel:close');
        if (final) void this.close('closed by the peer');
        else if (!this.apply('lost', reason)) this.linkFailed(reason);
      },
      onLocalCandidate: (candidate) => {
        if (link !== this.link) return;
        this.emit('ice:candidate:local', candidate);
      },
      onRaw: (event, value) => link === this.link && this.emit(event, value as never),
    };
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
        clearTimeout(this.#expiry);
        this.emit('cleanup:started');
        this.cleanUp();
        if (!this.config.preserveBufferOnClose) this.#buffer.takeAll();
        this.#settleOpened.reject(new ConnectionError('closed', reason));
        this.emit('cleanup:complete');
        return;
      default:
        throw new RondevuError('unsupported', `no such effect: ${effect satisfies never} of ${event}`);
    }
  }

  #announce(state: ConnectionState, reason: string): void {
    if (state === 'connected') {
      const again = this.#wasConnected;
      this.#wasConnected = true;
      this.#settleOpened.resolve(this);
      this.emit('connected');
      if (again) this.emit('reconnect:success');
    } else if (state === 'connecting') this.emit('connecting');
    else if (state === 'disconnected') this.emit('disconnected', reason);
    else if (state === 'reconnecting') this.emit('reconnecting', this.attempt);
    else if (state === 'closed') this.emit('closed', reason);
    else if (state === 'failed') {
      const error = new ConnectionError('peer-gone', `the connection to ${this.#peerName()} was given up: ${reason}`);
      this.#settleOpened.reject(error);
      this.emit('failed', error);
    }
  }

  /** Attempts that got an answer and did not come up, since the last link. */
  protected attempt = 0;

  #keep(message: BufferedMessage): void {
    this.#tellExpired();
    const discarded = this.#buffer.add(message);
    this.emit('message:buffered', message.data);
    if (discarded) this.emit('message:buffer:overflow', discarded);
    this.#watchExpiry();
  }

  #tellExpired(): void {
    for (const message of this.#buffer.takeExpired()) this.emit('message:buffer:expired', message);
  }

  /** Expiry is told when it happens, not when somebody looks. */
  #watchExpiry(): void {
    clearTimeout(this.#expiry);
    const { maxBufferAge } = this.config;
    if (!this.#buffer.size || !maxBufferAge || maxBufferAge > 2 ** 31 - 1) return;
    this.#expiry = setTimeout(
      () => {
        this.#tellExpired();
        this.#watchExpiry();
      },
      Math.min(maxBufferAge + 1, 1000),
    );
  }

  #flush(): void {
    this.#tellExpired();
    clearTimeout(this.#expiry);
    for (const message of this.#buffer.takeAll()) this.#sender.push(message, () => this.emit('message:replayed', message));
  }

  #dropLink(): void {
    this.#sender.pause();
    this.link?.close();
    this.link = undefined;
  }

  async #end(reason: string): Promise<void> {
    const link = this.link;
    const open = this.#state === 'connected';
    this.link = undefined; // so that the effects of closing do not cut it off
    this.apply('close', reason);
    if (!link) return;
    if (open) {
      const timeout = new Promise<void>((resolve) => setTimeout(resolve, DRAIN));
      await Promise.race([this.#sender.drained(), timeout]);
      await link.finish();
    }
    link.close();
    this.#sender.pause();
  }

  #peerName(): string {
    return this.peer?.username ?? this.serviceFqn;
  }

  #log(text: string): void {
    if (this.config.debug) console.debug(`rondevu ${this.#peerName()}: ${text}`);
  }
}

/** Bytes that the caller may change afterwards are copied. @throws ValidationError */
function toData(data: unknown): MessageData {
  if (typeof data === 'string') return data;
  if (data instanceof ArrayBuffer) return data.slice(0);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer;
  if (typeof Blob !== 'undefined' && data instanceof Blob) return data;
  throw new ValidationError(`send takes a string, Blob, ArrayBuffer or view, got ${quote(data)}`);
}
