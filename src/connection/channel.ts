/**
 * RondevuChannel: a further channel of a connection, by its label. Like an RTCDataChannel to its user, but it outlives links:
 * queued while there is none, and between two of ours exactly once and in order, as `send` of the connection itself.
 */
import { Emitter } from '../base/emitter.js';
import { Arrivals } from '../delivery/arrivals.js';
import { Backlog } from '../delivery/backlog.js';
import { LOW_WATER, type DeliveryPort } from '../delivery/delivery-port.js';
import type { BufferedMessage, Message, SendHandle } from '../delivery/message-buffer.js';
import { Session, type Allowances, type SessionLimits } from '../delivery/session.js';
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
    this.#channel = link.pc.createDataChannel(label, { negotiated: true, id, ordered, ...lossy });
    this.#channel.binaryType = 'arraybuffer';
    this.#channel.bufferedAmountLowThreshold = LOW_WATER;
    this.#channel.onbufferedamountlow = link.guard(() => this.onLow?.());
  }

  /** @param onOpen called once it can send, now or later and before anything is told that came */
  listen(onOpen: () => void, onMessage: (data: string | ArrayBuffer) => void): void {
    const early = new Arrivals();
    this.#channel.onmessage = this.#link.guard(({ data }: { data: string | ArrayBuffer }) => {
      this.#link.life();
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
  /** When to tell `bufferedAmountLow`, in bytes. Default 0. */
  bufferedAmountLowThreshold = 0;
  readonly #host: ChannelHost;
  readonly #session: Session;
  readonly #backlog: Backlog;
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  #port: ChannelPort | undefined;
  /** The other side has its half of the port. */
  #mayCarry = false;
  /** Both halves are open: the port is the session's. */
  #carries = false;
  #isHigh = false;
  #renewed = false;
  #lost: BufferedMessage[] = [];
  #closing: Promise<void> | undefined;

  /** @throws ValidationError for an option that is none */
  constructor(label: string, config: Partial<ChannelConfig>, sid: string, host: ChannelHost) {
    super();
    this.label = label;
    this.config = checkChannelConfig(config);
    this.#host = host;
    this.#backlog = new Backlog(
      { maxSize: this.config.maxQueueSize, maxAge: this.config.maxMessageAge },
      {
        onExpired: (message) => this.emit('expired', message),
        onOverflow: (dropped) => this.emit('queueOverflow', 1, [dropped]),
      },
    );
    this.#session = new Session(
      sid,
      host,
      {
        onMessage: (data) => void this.emit('message', data),
        isHeard: () => this.listenerCount('message') > 0,
        onUnsent: (_message, error) => this.emit('error', error),
        onReady: (verdict, lost) => this.#ready(verdict, lost),
        onDone: (message, outcome) => {
          (message as Message).settle(outcome);
          this.#tellLow();
        },
        onFin: () => {
          this.isFinished = true;
          this.end();
        },
        onHole: (reason) => host.hole(reason),
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
    if (event === 'message') this.#session.listened();
  }

  get readyState(): 'connecting' | 'open' | 'closing' | 'closed' {
    return this.#closing && this.#state !== 'closed' ? 'closing' : this.#state;
  }

  /** Bytes that were accepted and are not known to have arrived; of a lossy channel, that have not left. */
  get bufferedAmount(): number {
    return this.#session.bufferedAmount;
  }

  /** Messages that wait for the channel to open. */
  getQueueSize(): number {
    return this.#backlog.size;
  }

  /**
   * Sends text or bytes, or keeps them until the channel is open.
   * @throws ConnectionError `closed`, `too-large`, `queue-full`; ValidationError for anything but text or bytes
   */
  send(data: string | Blob | ArrayBuffer | ArrayBufferView): SendHandle {
    if (this.#closing || this.#state === 'closed')
      throw new ConnectionError('closed', `send: the channel ${this.label} is ${this.readyState}`);
    const message = this.#session.compose(data);
    if (this.#state === 'open') {
      this.#flush(); // a listener of `open` may send before the replay began
      this.#session.send(message);
    } else this.#backlog.add(message, () => undefined);
    this.#isHigh ||= this.bufferedAmount > this.bufferedAmountLowThreshold;
    return message.handle;
  }

  /** Resolves when the network has taken nearly all that was sent. */
  drained(): Promise<void> {
    return this.#session.drained();
  }

  /** Sends what is queued, if there is a link, tells the peer, ends. Idempotent. */
  close(): Promise<void> {
    if (this.#state === 'closed') return Promise.resolve();
    return (this.#closing ??= (async () => {
      // one that was just made may have been sent on already
      if (this.#state === 'connecting' && this.#port) await this.#opened(FIN_WITHIN);
      await this.#session.finish(FIN_WITHIN);
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
        this.#session.receive(data, port);
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
    this.#session.control(text, this.#port);
  }

  /** The link is gone, or is not to be used for now. */
  pause(): void {
    if (this.#state === 'open') this.#state = 'connecting';
    this.#session.detach();
  }

  /** The link that fell silent is back. */
  resume(): void {
    if (this.#port && this.#carries) this.#session.reattach(this.#port);
  }

  release(onClosed?: () => void): void {
    this.pause();
    this.#port?.close(onClosed);
    this.#port = undefined;
  }

  /** The peer's page was loaded anew. */
  renew(sid: string): void {
    this.#lost.push(...this.#session.renew(sid));
    this.#renewed = true;
  }

  /** The end, at once. */
  end(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#backlog.stop();
    for (const message of this.#backlog.takeAll()) message.settle('dropped');
    for (const message of this.#session.end()) (message as Message).settle('dropped');
    this.emit('close');
  }

  #attach(): void {
    this.#carries = true;
    this.#session.attach(this.#port!);
  }

  #opened(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const done = () => (clearTimeout(timer), resolve());
      this.once('open', done).once('close', done);
    });
  }

  #ready(verdict: 'new' | 'resumed' | 'reset', lost: BufferedMessage[]): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    // `close` waits for this too, and what was queued goes first
    this.emit('open');
    if (this.#renewed || verdict === 'reset') this.emit('reset', [...this.#lost.splice(0), ...lost]);
    this.#renewed = false;
    if (this.readyState !== 'closed') this.#flush();
  }

  #flush(): void {
    for (const message of this.#backlog.takeAll()) this.#session.send(message);
    this.#isHigh ||= this.bufferedAmount > this.bufferedAmountLowThreshold;
  }

  #tellLow(): void {
    if (!this.#isHigh || this.bufferedAmount > this.bufferedAmountLowThreshold) return;
    this.#isHigh = false;
    this.emit('bufferedAmountLow');
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
