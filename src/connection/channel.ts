/**
 * RondevuChannel: an additional channel of a connection, identified by its label. The API resembles RTCDataChannel, but the
 * channel outlives its links. Messages are queued while no link is up. If both peers run this version, messages are delivered
 * exactly once and in order, like messages of the connection itself.
 */
import { checkOptions, withDefaults } from '../base/check-options.js';
import { Emitter } from '../base/emitter.js';
import type { Writable } from '../base/writable.js';
import { Arrivals } from '../delivery/arrivals.js';
import { LOW_WATER, type DeliveryPort } from '../delivery/delivery-port.js';
import { Endpoint, FIN_TIMEOUT } from '../delivery/endpoint.js';
import type { BufferedMessage, Sendable, SendHandle } from '../delivery/message-buffer.js';
import type { Allowances, SessionLimits } from '../delivery/session.js';
import { ConnectionError, type RondevuError } from '../errors.js';
import type { Link } from './link.js';

export interface ChannelConfig {
  /**
   * Whether messages are delivered in the order in which they were sent. Default true; with false, delivery is only as reliable
   * as on a raw data channel.
   */
  ordered: boolean;
  /** Maximum number of retransmissions per message (RFC 8831). Default: no limit; if set, delivery is not guaranteed. */
  maxRetransmits?: number;
  /** Maximum number of messages queued while the channel is not open. Default 1000. */
  maxQueueSize: number;
  /** Maximum age of a queued message, in ms. Default 60 000; 0 or Infinity for no limit. */
  maxMessageAge: number;
}

export interface ChannelEvents {
  open: [];
  message: [data: string | ArrayBuffer];
  /** `bufferedAmount` fell to `bufferedAmountLowThreshold` or below. */
  bufferedAmountLow: [];
  /** Emitted when the queue is full, with the number of dropped messages and the messages themselves. */
  queueOverflow: [dropped: number, messages: BufferedMessage[]];
  expired: [message: BufferedMessage];
  /** The peer was reloaded; the messages in `lost` may or may not have arrived. */
  reset: [lost: BufferedMessage[]];
  error: [error: RondevuError];
  close: [];
}

/** The part of a connection that a channel uses. @internal */
export interface ChannelHost extends SessionLimits {
  readonly allowances: Allowances;
  /** Called when the link has lost a message of the channel. */
  onGap(reason: string): void;
  /** Called when the channel has been closed locally; informs the peer. */
  closed(channel: RondevuChannel): void;
}

const DEFAULTS: ChannelConfig = { ordered: true, maxQueueSize: 1000, maxMessageAge: 60_000 };

/** The RTCDataChannel that carries a channel on one link. @internal */
export class ChannelPort implements DeliveryPort {
  readonly framed: boolean;
  readonly id: number;
  onLow: (() => void) | undefined;
  readonly #link: Link;
  readonly #channel: RTCDataChannel;

  /** @throws DOMException if the platform cannot create any more data channels */
  constructor(link: Link, { label, config: { ordered, maxRetransmits } }: RondevuChannel, id: number) {
    this.#link = link;
    this.id = id;
    this.framed = ordered && maxRetransmits === undefined;
    const lossy = maxRetransmits === undefined ? {} : { maxRetransmits };
    this.#channel = link.createDataChannel(label, { negotiated: true, id, ordered, ...lossy });
    this.#channel.binaryType = 'arraybuffer';
    this.#channel.bufferedAmountLowThreshold = LOW_WATER;
    this.#channel.onbufferedamountlow = link.guard(() => this.onLow?.());
  }

  /**
   * @param onOpen called when the channel can send, possibly synchronously, and before `onMessage` receives any early message
   */
  listen(onOpen: () => void, onMessage: (data: string | ArrayBuffer) => void): void {
    const early = new Arrivals();
    this.#channel.onmessage = this.#link.guard(({ data }: { data: string | ArrayBuffer }) => {
      this.#link.received();
      // Firefox may deliver a message before it reports that the channel is open
      if (this.#channel.readyState === 'open') onMessage(data);
      else if (!early.add(data)) throw new ConnectionError('too-large', 'too much data before the channel opened');
    });
    const opened = this.#link.guard(() => {
      onOpen();
      for (const data of early.takeAll()) onMessage(data);
    });
    if (this.#channel.readyState === 'open') opened();
    else this.#channel.onopen = opened;
  }

  get isOpen(): boolean {
    return this.#channel.readyState === 'open' && this.#link.isOpen;
  }

  get isAlive(): boolean {
    return this.#link.isAlive;
  }

  get bufferedAmount(): number {
    return this.#channel.bufferedAmount;
  }

  get maxMessageSize(): number {
    return this.#link.maxMessageSize;
  }

  send(data: string | ArrayBuffer | Uint8Array): void {
    this.#channel.send(data as ArrayBuffer);
  }

  control(text: string): void {
    this.#link.control(`ch ${this.id} ${text}`);
  }

  /** Closes the data channel and removes its handlers; calls `onClosed` once the peer has closed its half too. */
  close(onClosed?: () => void): void {
    this.onLow = undefined;
    this.#channel.onmessage = this.#channel.onbufferedamountlow = this.#channel.onopen = null;
    this.#channel.onclose = onClosed ? this.#link.guard(onClosed) : null;
    this.#channel.close();
  }
}

export class RondevuChannel extends Emitter<ChannelEvents> {
  readonly label: string;
  /** Options of the channel; the peer that created the channel first determines `ordered` and `maxRetransmits`. */
  readonly config: Readonly<ChannelConfig>;
  /** Whether the peer has sent or confirmed FIN, so that no `shut` is needed. @internal */
  isFinished = false;
  readonly #host: ChannelHost;
  readonly #endpoint: Endpoint;
  #isClosed = false;
  #port: ChannelPort | undefined;
  /** Whether the peer has created its half of the data channel. */
  #isPeerReady = false;
  /** Whether both halves are open and the session uses the port. */
  #isAttached = false;
  #closing: Promise<void> | undefined;

  /** @throws ValidationError for an unknown or invalid option @internal */
  constructor(label: string, config: Partial<ChannelConfig>, sid: string, host: ChannelHost) {
    super();
    this.label = label;
    checkOptions('createChannel', config, { boolean: 'ordered', number: 'maxRetransmits maxQueueSize maxMessageAge' });
    this.config = withDefaults(DEFAULTS, config);
    this.#host = host;
    this.#endpoint = new Endpoint(
      sid,
      { ...host, ...this.config },
      {
        onMessage: (data) => void this.emit('message', data),
        hasListener: () => this.listenerCount('message') > 0,
        // close() may be waiting for `open`; the endpoint sends the queued messages before close() continues
        onOpen: () => this.emit('open'),
        onReset: (lost) => this.emit('reset', lost),
        onExpired: (message) => this.emit('expired', message),
        onOverflow: (discarded) => this.emit('queueOverflow', 1, [discarded]),
        onUnsent: (_message, error) => this.emit('error', error),
        onBufferedAmountLow: () => this.emit('bufferedAmountLow'),
        onFin: () => {
          this.isFinished = true;
          this.end();
        },
        onGap: (reason) => host.onGap(reason),
        onError: (error) => {
          this.emit('error', error);
          host.closed(this);
          this.end();
        },
      },
      host.allowances,
    );
  }

  /** @internal */
  protected override listenerAdded(event: keyof ChannelEvents): void {
    if (event === 'message') this.#endpoint.listened();
  }

  get readyState(): 'connecting' | 'open' | 'closing' | 'closed' {
    if (this.#isClosed) return 'closed';
    if (this.#closing) return 'closing';
    return this.#endpoint.isOpen ? 'open' : 'connecting';
  }

  /**
   * Number of bytes accepted but not yet acknowledged; on an unreliable channel, number of bytes not yet sent. Excludes
   * messages queued while the channel is not open.
   */
  get bufferedAmount(): number {
    return this.#endpoint.bufferedAmount;
  }

  /** Value of `bufferedAmount`, in bytes, at or below which `bufferedAmountLow` is emitted. Default 0. */
  get bufferedAmountLowThreshold(): number {
    return this.#endpoint.bufferedAmountLowThreshold;
  }

  set bufferedAmountLowThreshold(bytes: number) {
    this.#endpoint.bufferedAmountLowThreshold = bytes;
  }

  /** Number of messages queued while the channel is not open. */
  getQueueSize(): number {
    return this.#endpoint.queued;
  }

  /**
   * Sends text or binary data, or queues it until the channel is open.
   * @throws ConnectionError `closed`, `too-large` or `queue-full`; ValidationError if `data` is neither text nor binary data
   */
  send(data: Sendable): SendHandle {
    if (this.#closing || this.#isClosed)
      throw new ConnectionError('closed', `send: the channel ${this.label} is ${this.readyState}`);
    return this.#endpoint.send(data).handle;
  }

  /** Resolves when nearly all accepted data has been handed to the network. */
  drained(): Promise<void> {
    return this.#endpoint.drained();
  }

  /** Sends the queued messages if a link is up, then closes the channel on both sides. Idempotent. */
  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return (this.#closing ??= (async () => {
      // messages may have been queued immediately after the channel was created
      if (!this.#endpoint.isOpen && this.#port) await this.#opened(FIN_TIMEOUT);
      await this.#endpoint.finish();
      this.#host.closed(this);
      this.end();
    })());
  }

  /** Adopts the options of the peer that created the channel first. @internal */
  reconfigure(kind: Pick<ChannelConfig, 'ordered' | 'maxRetransmits'>): void {
    const { maxQueueSize, maxMessageAge } = this.config;
    (this as Writable<RondevuChannel>).config = { maxQueueSize, maxMessageAge, ...kind };
  }

  /**
   * Switches to the data channel of a new link; call `peerReady` once the peer has created its half.
   * @param onOpen called when the data channel can send
   * @internal
   */
  bind(port: ChannelPort, onOpen: () => void): void {
    this.release();
    this.#port = port;
    this.#isAttached = this.#isPeerReady = false;
    port.listen(
      () => {
        if (this.#isPeerReady) this.#attach();
        onOpen();
      },
      (data) => {
        // a message may arrive before `opened`, which the peer sends over the control channel
        this.peerReady();
        this.#endpoint.receive(data, port);
      },
    );
  }

  /** The data channel on the current link. @internal */
  get port(): ChannelPort | undefined {
    return this.#port;
  }

  /** Called when the peer has created its half of the data channel, so that messages can be sent. @internal */
  peerReady(): void {
    this.#isPeerReady = true;
    if (this.#port?.isOpen && !this.#isAttached) this.#attach();
  }

  /** @internal */
  control(text: string): void {
    if (!this.#port) return;
    if (text === 'finack') this.isFinished = true;
    this.#endpoint.control(text, this.#port);
  }

  /** Stops using the link, because it is gone or must not be used for the time being. @internal */
  pause(): void {
    this.#endpoint.detach();
  }

  /** Resumes sending on a silent link that has recovered. @internal */
  resume(): void {
    if (this.#port && this.#isAttached) this.#endpoint.reattach(this.#port);
  }

  /** @internal */
  release(onClosed?: () => void): void {
    this.pause();
    this.#port?.close(onClosed);
    this.#port = undefined;
  }

  /** Starts a new session with the peer. @internal */
  renew(sid: string): void {
    this.#endpoint.renew(sid);
  }

  /** Closes the channel immediately, without sending its queued messages. @internal */
  end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endpoint.stopQueue();
    this.#endpoint.takeQueue();
    this.#endpoint.end();
    this.emit('close');
  }

  #attach(): void {
    this.#isAttached = true;
    this.#endpoint.attach(this.#port!);
  }

  #opened(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const done = () => (clearTimeout(timer), resolve());
      this.once('open', done).once('close', done);
    });
  }
}
