/**
 * RondevuChannel: a further channel of a connection, by its label. Like an RTCDataChannel to its user, but it outlives links:
 * queued while there is none, and between two of ours exactly once and in order, as `send` of the connection itself.
 */
import { Emitter } from '../base/emitter.js';
import { Arrivals } from '../delivery/arrivals.js';
import { LOW_WATER, type DeliveryPort } from '../delivery/delivery-port.js';
import { Endpoint } from '../delivery/endpoint.js';
import type { BufferedMessage, SendHandle } from '../delivery/message-buffer.js';
import type { Allowances, SessionLimits } from '../delivery/session.js';
import { ConnectionError, mustBe, type RondevuError } from '../errors.js';
import type { Link } from './link.js';

export interface ChannelConfig {
  /** Whether messages come in the order of `send`. Default true; false promises no more than a raw data channel does. */
  ordered: boolean;
  /** How often a lost message is sent again (RFC 8831). Default: as often as it takes; a number promises no delivery. */
  maxRetransmits?: number;
  /** Most messages that wait while the channel is not open. Default 1000. */
  maxQueueSize: number;
  /** How long one may wait, in ms. Default 60 000; 0 or Infinity for ever. */
  maxMessageAge: number;
}

export interface ChannelEvents {
  open: [];
  message: [data: string | ArrayBuffer];
  /** `bufferedAmount` fell to the threshold or below. */
  bufferedAmountLow: [];
  /** Too many waited: how many had to go, and which. */
  queueOverflow: [dropped: number, messages: BufferedMessage[]];
  expired: [message: BufferedMessage];
  /** The peer was loaded anew; these may or may not have arrived. */
  reset: [lost: BufferedMessage[]];
  error: [error: RondevuError];
  close: [];
}

/** What a channel needs of its connection. */
export interface ChannelHost extends SessionLimits {
  readonly allowances: Allowances;
  /** The link lost a message of this channel. */
  hole(reason: string): void;
  /** The channel was closed here: the peer is to be told. */
  closed(channel: RondevuChannel): void;
}

const DEFAULTS: ChannelConfig = { ordered: true, maxQueueSize: 1000, maxMessageAge: 60_000 };
/** How long `close` waits for the other side's word that it has all, in ms. */
const FIN_WITHIN = 2000;

/** The data channel of one link under a channel. */
export class ChannelPort implements DeliveryPort {
  readonly framed: boolean;
  readonly id: number;
  onLow: (() => void) | undefined;
  readonly #link: Link;
  readonly #channel: RTCDataChannel;

  /** @throws DOMException when the platform has no more channels */
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

  /** @param onOpen called once it can send, now or later and before anything is told that came */
  listen(onOpen: () => void, onMessage: (data: string | ArrayBuffer) => void): void {
    const early = new Arrivals();
    this.#channel.onmessage = this.#link.guard(({ data }: { data: string | ArrayBuffer }) => {
      this.#link.received();
      // Firefox may deliver a message before it reports that the channel is open
      if (this.#channel.readyState === 'open') onMessage(data);
      else if (!early.add(data)) throw new ConnectionError('too-large', 'too much arrived before the channel was open');
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

  /** Ends it, and is silent from now on; `onClosed` when the other side's half is gone too. */
  close(onClosed?: () => void): void {
    this.onLow = undefined;
    this.#channel.onmessage = this.#channel.onbufferedamountlow = this.#channel.onopen = null;
    this.#channel.onclose = onClosed ? this.#link.guard(onClosed) : null;
    this.#channel.close();
  }
}

export class RondevuChannel extends Emitter<ChannelEvents> {
  readonly label: string;
  /** As it was made; order and retransmission are those of who made it first. */
  config: Readonly<ChannelConfig>;
  /** Whether the peer said that it has all, and knows that the channel is over. */
  isFinished = false;
  readonly #host: ChannelHost;
  readonly #endpoint: Endpoint;
  #isClosed = false;
  #port: ChannelPort | undefined;
  /** The other side has its half of the port. */
  #mayCarry = false;
  /** Both halves are open: the port is the session's. */
  #carries = false;
  #closing: Promise<void> | undefined;

  /** @throws ValidationError for an option that is none */
  constructor(label: string, config: Partial<ChannelConfig>, sid: string, host: ChannelHost) {
    super();
    this.label = label;
    this.config = checkChannelConfig(config);
    this.#host = host;
    this.#endpoint = new Endpoint(
      sid,
      { ...host, ...this.config },
      {
        onMessage: (data) => void this.emit('message', data),
        hasListener: () => this.listenerCount('message') > 0,
        // close() waits for `open` too; the endpoint sends the queued messages before close() continues
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
        onGap: (reason) => host.hole(reason),
        onError: (error) => {
          this.emit('error', error);
          host.closed(this);
          this.end();
        },
      },
      host.allowances,
    );
  }

  protected override listenerAdded(event: keyof ChannelEvents): void {
    if (event === 'message') this.#endpoint.listened();
  }

  get readyState(): 'connecting' | 'open' | 'closing' | 'closed' {
    if (this.#isClosed) return 'closed';
    if (this.#closing) return 'closing';
    return this.#endpoint.isOpen ? 'open' : 'connecting';
  }

  /**
   * Bytes that were accepted and are not known to have arrived; of a lossy channel, bytes that are not sent. Does not include
   * messages that are queued because the channel is not open.
   */
  get bufferedAmount(): number {
    return this.#endpoint.bufferedAmount;
  }

  /** `bufferedAmount` at which `bufferedAmountLow` is emitted, in bytes. Default 0. */
  get bufferedAmountLowThreshold(): number {
    return this.#endpoint.bufferedAmountLowThreshold;
  }

  set bufferedAmountLowThreshold(bytes: number) {
    this.#endpoint.bufferedAmountLowThreshold = bytes;
  }

  /** Number of messages that are queued because the channel is not open. */
  getQueueSize(): number {
    return this.#endpoint.queued;
  }

  /**
   * Sends text or bytes, or queues them until the channel is open.
   * @throws ConnectionError `closed`, `too-large`, `queue-full`; ValidationError for anything but text or bytes
   */
  send(data: string | Blob | ArrayBuffer | ArrayBufferView): SendHandle {
    if (this.#closing || this.#isClosed)
      throw new ConnectionError('closed', `send: the channel ${this.label} is ${this.readyState}`);
    return this.#endpoint.send(data).handle;
  }

  /** Resolves when nearly all accepted data has been handed to the network. */
  drained(): Promise<void> {
    return this.#endpoint.drained();
  }

  /** Sends what is queued if there is a link, and closes the channel on both sides. Idempotent. */
  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return (this.#closing ??= (async () => {
      // messages may have been queued right after the channel was made
      if (!this.#endpoint.isOpen && this.#port) await this.#opened(FIN_WITHIN);
      await this.#endpoint.finish(FIN_WITHIN);
      this.#host.closed(this);
      this.end();
    })());
  }

  /** Who made it first says of what kind it is. */
  reconfigure(kind: Pick<ChannelConfig, 'ordered' | 'maxRetransmits'>): void {
    const { maxQueueSize, maxMessageAge } = this.config;
    this.config = { maxQueueSize, maxMessageAge, ...kind };
  }

  /** Its data channel of a new link; `carry` when the other side has its own. @param onOpen called when it can send */
  bind(port: ChannelPort, onOpen: () => void): void {
    this.release();
    this.#port = port;
    this.#carries = this.#mayCarry = false;
    port.listen(
      () => {
        if (this.#mayCarry) this.#attach();
        onOpen();
      },
      (data) => {
        // what comes on it may overtake the word that it stands, which takes another road
        this.carry();
        this.#endpoint.receive(data, port);
      },
    );
  }

  /** The data channel that it has on the current link. */
  get port(): ChannelPort | undefined {
    return this.#port;
  }

  /** The other side has its data channel: messages may go. */
  carry(): void {
    this.#mayCarry = true;
    if (this.#port?.isOpen && !this.#carries) this.#attach();
  }

  control(text: string): void {
    if (!this.#port) return;
    if (text === 'finack') this.isFinished = true;
    this.#endpoint.control(text, this.#port);
  }

  /** The link is gone, or is not to be used for now. */
  pause(): void {
    this.#endpoint.detach();
  }

  /** The link that fell silent is back. */
  resume(): void {
    if (this.#port && this.#carries) this.#endpoint.reattach(this.#port);
  }

  release(onClosed?: () => void): void {
    this.pause();
    this.#port?.close(onClosed);
    this.#port = undefined;
  }

  /** The peer's page was loaded anew. */
  renew(sid: string): void {
    this.#endpoint.renew(sid);
  }

  /** Closes the channel at once. */
  end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endpoint.stopQueue();
    this.#endpoint.takeQueue();
    this.#endpoint.end();
    this.emit('close');
  }

  #attach(): void {
    this.#carries = true;
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

/** @throws ValidationError that names the option */
function checkChannelConfig(config: Partial<ChannelConfig>): ChannelConfig {
  const known = ['ordered', 'maxRetransmits', 'maxQueueSize', 'maxMessageAge'];
  for (const [name, value] of Object.entries(config)) {
    if (!known.includes(name)) throw mustBe('the config of createChannel', known.join(' '), name);
    const isRight = name === 'ordered' ? typeof value === 'boolean' : typeof value === 'number' && value >= 0;
    if (value !== undefined && !isRight)
      throw mustBe(`createChannel: ${name}`, name === 'ordered' ? 'true or false' : 'a number of 0 or more', value);
  }
  return { ...DEFAULTS, ...config };
}
