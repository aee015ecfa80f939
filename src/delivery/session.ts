/**
 * Session: the delivery state that two peers share over all their links. Sends HELLO on each new link, determines from the
 * peer's HELLO whether to resume or restart, acknowledges and replays messages, and respects the water marks of the channel. A
 * session uses only a `DeliveryPort`, not WebRTC or the server directly. See docs/delivery.md.
 */
import { randomId } from '../base/bytes.js';
import { asRondevuError, ConnectionError, RondevuError } from '../errors.js';
import { finFrame, helloFrame, parseTextFrame, type Hello } from '../protocol/frames.js';
import { Allowance } from './allowance.js';
import { Arrivals, MAX_ARRIVALS } from './arrivals.js';
import { Inbox, MissingMessageError } from './inbox.js';
import { HIGH_WATER, LOW_WATER, type DeliveryPort } from './delivery-port.js';
import { composeMessage, exactLength, type BufferedMessage, type Message } from './message-buffer.js';
import { FRAME_SIZE, Outbox } from './outbox.js';
import { StallWatch } from './stall-watch.js';

export interface SessionHandlers {
  onMessage(data: string | ArrayBuffer): void;
  /** Whether the application listens for messages. */
  hasListener(): boolean;
  /** Called when a link starts to carry messages: `verdict` is `new` the first time; docs/delivery.md describes the other verdicts. */
  onReady(verdict: 'new' | 'resumed' | 'reset', lost: BufferedMessage[]): void;
  /**
   * Called when the session has finished with a message. The outcome is `delivered` if the peer's application has received the
   * message, `unknown` if it was handed to a link but its delivery cannot be confirmed, and `dropped` if it could not be sent.
   */
  onDone(message: BufferedMessage, outcome: 'delivered' | 'unknown' | 'dropped'): void;
  /** Called when a message was dropped before it was handed to a link. */
  onUnsent(message: BufferedMessage, error: RondevuError): void;
  /** Called when the peer ends the session. */
  onFin(): void;
  /** Called when the link has lost a message: the link can no longer be used, and the session continues on the next link. */
  onGap(reason: string): void;
  /** Called when the peer has violated the protocol. */
  onError(error: RondevuError): void;
}

/** Number of messages, number of bytes and time, in ms, after which an acknowledgement is sent. */
const ACK_MESSAGES = 64;
const ACK_BYTES = 262_144;
const ACK_DELAY = 100;
/**
 * Interval at which a closing side repeats its last acknowledgement, in ms: without repetition, its link would look stalled.
 */
const REFUSED_AGAIN = 5000;
/** Number of consecutive links that may lose messages before the peer is considered the cause. */
const MAX_GAPS = 3;
/** How long messages are held for a listener, in ms from the first message. */
const HOLD_TIME = 10_000;
/**
 * Maximum total size of the messages held for listeners on one connection with its channels, in bytes as computed by `sizeOf`.
 */
export const MAX_HELD = 8 * MAX_ARRIVALS;
/** Maximum number of partially received messages of `maxMessageSize` bytes on one connection with its channels. */
export const MAX_UNFINISHED = 4;
/** How long to wait for `bufferedamountlow` before checking the buffer, in ms. */
const POLL_INTERVAL = 250;

/** Limits of a session, in bytes. */
export interface SessionLimits {
  maxMessageSize: number;
  /** Maximum total size of accepted messages that are not acknowledged. */
  maxQueuedBytes: number;
}

/** Memory that a peer may use on one connection and its channels together. */
export interface Allowances {
  /** Memory for messages held for a listener. */
  held: Allowance;
  /** Memory for messages whose parts have not all arrived yet. */
  unfinished: Allowance;
}

export const createAllowances = ({ maxMessageSize }: SessionLimits): Allowances => ({
  held: new Allowance(MAX_HELD),
  unfinished: new Allowance(MAX_UNFINISHED * maxMessageSize),
});

export class Session {
  readonly #limits: SessionLimits;
  readonly #handlers: SessionHandlers;
  readonly #outbox = new Outbox();
  readonly #inbox: Inbox;
  /** Messages held until the application listens for messages. They are not acknowledged. */
  readonly #held: Arrivals;
  /** Number of held messages that have a message number; these are the most recent messages. */
  #heldNumbers = 0;
  /** Whether messages may be held; false if no listener was added in time. */
  #mayHold = true;
  #holdTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whether FIN has arrived but is not reported until a listener has received all earlier messages. */
  #isFinHeld = false;
  #sid: string;
  #inst = randomId(8);
  /** The peer's id in the session, as received in HELLO. */
  #known: string | null = null;
  #port: DeliveryPort | undefined;
  /** Whether messages may be sent on the port. */
  #sending = false;
  /** Whether the peer has sent HELLO on this port. */
  #greeted = false;
  #attached = 0;
  /** Whether the port is the first port of the session. */
  #isFirst = false;
  #pumping = false;
  #pollTimer: ReturnType<typeof setTimeout> | undefined;
  #scheduled = false;
  /** Number of bytes accepted since data was last passed to the channel. */
  #batched = 0;
  #reading = false;
  #unackedMessages = 0;
  #unackedBytes = 0;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #ackedAt = -ACK_DELAY;
  readonly #watch = new StallWatch(
    () => (this.#port && this.#outbox.isAwaited ? { isAlive: this.#port.isAlive, left: this.#port.bufferedAmount } : undefined),
    (reason) => this.#handlers.onGap(reason),
  );
  readonly #waiters = new Set<() => void>();
  #ended = false;
  #nextId = 1;
  /** Number of consecutive gaps. */
  #gaps = 0;
  #finishing = false;
  /** Whether the peer has violated the protocol. */
  #isBroken = false;
  #onFinAck: (() => void) | undefined;

  constructor(sid: string, limits: SessionLimits, handlers: SessionHandlers, allowances = createAllowances(limits)) {
    this.#sid = sid;
    this.#limits = limits;
    this.#inbox = new Inbox(limits.maxMessageSize, allowances.unfinished);
    this.#held = new Arrivals(allowances.held);
    this.#handlers = handlers;
  }

  get sid(): string {
    return this.#sid;
  }

  /** The attached port, even if it does not carry messages yet. */
  get port(): DeliveryPort | undefined {
    return this.#port;
  }

  /** Number of bytes accepted but not yet acknowledged. */
  get keptBytes(): number {
    return this.#outbox.bytes;
  }

  /** Number of bytes accepted but not yet acknowledged; if the peer does not use frames, number of bytes not yet sent. */
  get bufferedAmount(): number {
    return this.#outbox.bytes + (this.#port?.framed ? 0 : (this.#port?.bufferedAmount ?? 0));
  }

  /**
   * Starts a new session with the peer, because its page was reloaded or the peer is an older client. Returns the
   * unacknowledged messages. Messages without a number are kept and sent in the new session.
   */
  renew(sid: string): BufferedMessage[] {
    this.#sid = sid;
    this.#inst = randomId(8);
    this.#known = null;
    this.#attached = 0;
    this.#forgetHeld();
    this.#inbox.reset();
    return this.#reportUnknown(this.#outbox.reset());
  }

  /** Attaches a link that is up: sends HELLO immediately, and messages as soon as possible. */
  attach(port: DeliveryPort): void {
    this.detach();
    this.#port = port;
    // held messages are requested again, because only messages received on this link may be acknowledged on it
    this.#forgetHeld();
    port.onLow = () => this.#pump();
    this.#attached++;
    this.#isFirst = false;
    if (!port.framed) {
      this.#sending = this.#greeted = true;
      this.#handlers.onReady(this.#attached === 1 ? 'new' : 'resumed', []);
      return this.#pump();
    }
    this.#sendNow(helloFrame({ sid: this.#sid, inst: this.#inst, known: this.#known, next: this.#inbox.next }));
    // a first link has nothing to resume, so it does not wait for the peer's HELLO
    this.#isFirst = this.#attached === 1 && this.#outbox.next === 1;
    if (!this.#isFirst) return;
    this.#sending = true;
    this.#handlers.onReady('new', []);
    this.#pump();
  }

  /** Stops using the link, because it is gone or must no longer be used. */
  detach(): void {
    if (this.#port) this.#port.onLow = undefined;
    this.#port = undefined;
    this.#sending = this.#greeted = false;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#pollTimer);
    this.#watch.stop();
    this.#ackTimer = this.#pollTimer = undefined;
    this.#unackedMessages = this.#unackedBytes = 0;
    this.#resolveDrained();
    if (!this.#isFinHeld || this.#ended) return;
    // without a link, the peer no longer waits for a listener on this side
    this.#isFinHeld = false;
    this.#handlers.onFin();
  }

  /** Resumes sending on a detached link that has recovered; nothing has to be resent. */
  reattach(port: DeliveryPort): void {
    this.#port = port;
    port.onLow = () => this.#pump();
    this.#sending = true;
    // if the first link fell silent before the peer's HELLO arrived, HELLO is still required
    this.#greeted = this.#known !== null;
    this.#handlers.onReady('resumed', []);
    this.#acknowledge();
    this.#watch.start();
    this.#pump();
  }

  /** Handles data from a port; data from a replaced port is ignored. */
  receive(data: string | ArrayBuffer, port: DeliveryPort): void {
    // a closing side neither accepts nor acknowledges further messages
    if (!this.#port || port !== this.#port || this.#ended || this.#isBroken) return;
    if (this.#finishing && typeof data !== 'string') return this.#acknowledgeIn(REFUSED_AGAIN);
    if (!this.#port.framed) return this.#deliver(data, 0);
    try {
      if (typeof data !== 'string') return this.#records(new Uint8Array(data));
      const frame = parseTextFrame(data);
      if ('hello' in frame) this.#hello(frame.hello);
      else this.#fin();
    } catch (error) {
      // if messages are lost repeatedly, the link is not the cause
      if (error instanceof MissingMessageError && ++this.#gaps <= MAX_GAPS) this.#handlers.onGap(error.message);
      else this.#fail(error);
    }
  }

  /** Handles a protocol violation: further data from the peer is ignored. */
  #fail(error: unknown): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.#handlers.onError(asRondevuError(error, 'cannot handle data from the peer'));
  }

  /** Called when the application has added a message listener. */
  listened(): void {
    // messages are released in a microtask, so that the code that adds the listener finishes first
    if (this.#held.count) queueMicrotask(() => this.#release());
  }

  /** Handles a text from the control channel of a port; returns false if the text does not concern delivery. */
  control(text: string, port: DeliveryPort): boolean {
    if (port !== this.#port) return /^(finack$|ack )/.test(text);
    if (text === 'finack') this.#onFinAck?.();
    else if (/^ack \d{1,16}$/.test(text)) this.#acknowledged(Number(text.slice(4)));
    else return false;
    return true;
  }

  /**
   * Creates a message from the argument of `send`, if there is room for it.
   * @throws ConnectionError `too-large` or `queue-full`; ValidationError if `data` is neither text nor binary data
   */
  compose(data: unknown): Message {
    const { maxMessageSize, maxQueuedBytes } = this.#limits;
    const limit = this.#port?.isOpen && !this.#port.framed ? Math.min(maxMessageSize, this.#port.maxMessageSize) : maxMessageSize;
    const limits = { maxMessageSize: limit, maxQueuedBytes };
    const message = composeMessage(`${this.#nextId}`, data, limits, this.keptBytes);
    this.#nextId++;
    return message;
  }

  send(message: BufferedMessage, onSent?: () => void): void {
    this.#batched += this.#outbox.push(message, onSent);
    // messages sent in the same turn share frames, but a large amount of data does not wait for the end of the turn
    if (this.#batched >= FRAME_SIZE) this.#pump();
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /**
   * Resolves when all messages have been handed over and the channel is at or below the low-water mark, or when nothing more
   * will be sent.
   */
  drained(): Promise<void> {
    this.#pump();
    if (this.#isDrained()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add(resolve));
  }

  /** Sends the queued messages and FIN, then waits at most `ms` milliseconds for the peer to confirm. */
  async finish(ms: number): Promise<void> {
    if (!this.#port || !this.#sending) return;
    this.#finishing = true;
    await this.drained();
    const port = this.#port as DeliveryPort | undefined; // the port is undefined if the link was lost in the meantime
    if (!port?.framed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onFinAck = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#sendNow(finFrame(this.#outbox.next));
    });
  }

  /** Removes and returns messages that were never handed to a link. */
  discard(): BufferedMessage[] {
    return this.#outbox.discard();
  }

  /**
   * Ends the session. Returns messages that were never handed to a link; the outcome of unacknowledged messages is `unknown`.
   */
  end(): BufferedMessage[] {
    this.#ended = true;
    this.detach();
    clearTimeout(this.#holdTimer);
    this.#held.takeAll();
    this.#inbox.restart();
    this.#reportUnknown(this.#outbox.reset());
    this.#resolveDrained();
    return this.#outbox.discard();
  }

  #hello({ sid, inst, known, next }: Hello): void {
    if (this.#greeted) return;
    if (sid !== this.#sid) throw new RondevuError('bad-request', `got HELLO of session ${sid} in session ${this.#sid}`);
    this.#greeted = true;
    const isNewPeer = this.#known !== inst;
    const hadPeer = this.#known !== null;
    if (isNewPeer) this.#inbox.reset();
    // from now on, this link is used; messages that were partially received on another link are resent
    else this.#inbox.restart();
    this.#known = inst;
    // a first link is already sending, because there was nothing to resume
    if (this.#isFirst) return;
    // continues at the number that the peer expects; a peer that has no state of this session is sent all messages, if they
    // are all still stored
    const from = known === this.#inst ? next : this.#outbox.isWhole ? 1 : 0;
    const arrived = isNewPeer && hadPeer ? undefined : this.#outbox.resume(from);
    if (arrived?.length) this.#watch.arrived();
    for (const message of arrived ?? []) this.#handlers.onDone(message, 'delivered');
    this.#sending = true;
    if (arrived) this.#handlers.onReady('resumed', []);
    else this.#handlers.onReady('reset', this.#reportUnknown(this.#outbox.reset()));
    this.#pump();
  }

  #records(frame: Uint8Array): void {
    if (!this.#greeted) throw new RondevuError('bad-request', 'got a message before HELLO');
    const port = this.#port;
    const before = this.#ackable;
    this.#inbox.accept(frame, (data) => {
      this.#deliver(data, 1);
      // a listener may have closed the session or removed the link
      return !this.#ended && this.#port === port;
    });
    this.#gaps = 0;
    if (this.#port !== port) return;
    this.#unackedMessages += this.#ackable - before;
    this.#unackedBytes += frame.length;
    // single messages are acknowledged immediately
    const isDue = performance.now() - this.#ackedAt > ACK_DELAY;
    if (isDue || this.#unackedMessages >= ACK_MESSAGES || this.#unackedBytes >= ACK_BYTES) this.#acknowledge();
    else this.#acknowledgeIn(ACK_DELAY);
  }

  /** The number after the last message that the application received. */
  get #ackable(): number {
    return this.#inbox.next - this.#heldNumbers;
  }

  /**
   * Passes a message to the application, or holds it until there is a listener.
   * @param numbers 1 if the message has a number, otherwise 0
   */
  #deliver(data: string | ArrayBuffer, numbers: 0 | 1): void {
    if (this.#mayHold && (this.#held.count > 0 || !this.#handlers.hasListener())) {
      if (this.#held.add(data)) {
        this.#heldNumbers += numbers;
        this.#holdTimer ??= setTimeout(() => this.#stopHolding(), HOLD_TIME);
        return;
      }
      this.#stopHolding();
    }
    if (!this.#ended) this.#handlers.onMessage(data);
  }

  /**
   * Stops holding messages, because no listener was added in time: held and later messages are delivered immediately, and are
   * lost if there is no listener.
   */
  #stopHolding(): void {
    this.#mayHold = false;
    console.warn(
      `rondevu: at least ${this.#held.count} messages were lost because there was no 'message' listener: add one ` +
        `within ${HOLD_TIME / 1000} s after the connection or channel is announced`,
    );
    this.#release();
  }

  /** Delivers the held messages for as long as there is a listener. */
  #release(): void {
    while (this.#held.count && !this.#ended && !this.#finishing && (!this.#mayHold || this.#handlers.hasListener())) {
      const data = this.#held.take()!;
      this.#heldNumbers = Math.min(this.#heldNumbers, this.#held.count);
      this.#handlers.onMessage(data);
    }
    if (this.#held.count || this.#ended) return; // a `once` listener takes only one message
    clearTimeout(this.#holdTimer);
    this.#holdTimer = undefined;
    if (this.#port?.framed && this.#greeted) this.#acknowledge();
    if (!this.#isFinHeld) return;
    this.#isFinHeld = false;
    this.#fin();
  }

  #forgetHeld(): void {
    this.#held.forget(this.#heldNumbers);
    this.#inbox.next -= this.#heldNumbers;
    this.#heldNumbers = 0;
    if (!this.#held.count) {
      clearTimeout(this.#holdTimer);
      this.#holdTimer = undefined;
    }
  }

  #acknowledgeIn(ms: number): void {
    this.#ackTimer ??= setTimeout(() => {
      this.#acknowledge();
      if (this.#finishing) this.#acknowledgeIn(REFUSED_AGAIN);
    }, ms);
  }

  #acknowledge(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#ackedAt = performance.now();
    this.#unackedMessages = this.#unackedBytes = 0;
    this.#port?.control(`ack ${this.#ackable}`);
  }

  #acknowledged(next: number): void {
    // on a first link, an acknowledgement may arrive before the peer's HELLO, which uses another channel
    if (!this.#greeted && !this.#sending) return;
    try {
      const arrived = this.#outbox.acknowledge(next);
      this.#watch.received();
      if (arrived.length) this.#watch.arrived();
      for (const message of arrived) this.#handlers.onDone(message, 'delivered');
    } catch (error) {
      this.#fail(error);
    }
    this.#resolveDrained();
  }

  #fin(): void {
    this.#isFinHeld = this.#held.count > 0 && !this.#finishing;
    if (this.#isFinHeld) return;
    // reports which messages have arrived, because a side that closes at the same time accepts no further messages
    this.#acknowledge();
    this.#port?.control('finack');
    this.#handlers.onFin();
  }

  #reportUnknown(messages: BufferedMessage[]): BufferedMessage[] {
    for (const message of messages) this.#handlers.onDone(message, 'unknown');
    return messages;
  }

  #isDrained(): boolean {
    return (
      this.#ended ||
      (this.#finishing && !this.#port) ||
      (this.#outbox.isAllSent && (this.#port?.bufferedAmount ?? 0) <= LOW_WATER)
    );
  }

  #resolveDrained(): void {
    if (!this.#waiters.size || !this.#isDrained()) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const resolve of waiters) resolve();
  }

  #pump(): void {
    if (this.#pumping || this.#reading) return;
    this.#batched = 0;
    this.#pumping = true;
    try {
      while (this.#port?.isOpen && this.#sending && this.#port.bufferedAmount < HIGH_WATER) {
        const { blob } = this.#outbox;
        if (blob) return void this.#read(blob);
        if (!(this.#port.framed ? this.#pumpFrame(this.#port) : this.#pumpRaw(this.#port))) break;
      }
    } finally {
      this.#pumping = false;
    }
    this.#resolveDrained();
    // some platforms do not always report that the buffer is low again
    if (this.#port?.isOpen && this.#sending && (!this.#outbox.isAllSent || this.#waiters.size)) this.#pumpLater();
  }

  #pumpLater(): void {
    this.#pollTimer ??= setTimeout(() => {
      this.#pollTimer = undefined;
      this.#pump();
    }, POLL_INTERVAL);
  }

  #pumpFrame(port: DeliveryPort): boolean {
    const frame = this.#outbox.takeFrame(port.maxMessageSize);
    // a link that does not accept the frame is about to be reported as lost; the next link continues where the peer expects
    if (!frame) return false;
    this.#watch.start();
    return this.#trySend(port, frame);
  }

  #pumpRaw(port: DeliveryPort): boolean {
    const message = this.#outbox.takeRaw();
    if (!message) return false;
    const size = exactLength(message, port.maxMessageSize);
    const fits = size <= port.maxMessageSize;
    if (!fits) {
      const text = `a message of ${size} bytes was not sent: this peer takes at most ${port.maxMessageSize}`;
      console.error(new RondevuError('too-large', text));
    }
    const taken = !fits || this.#trySend(port, message.data as string | ArrayBuffer);
    if (taken) this.#handlers.onDone(message, 'unknown');
    else this.#outbox.returnRaw(message);
    return taken;
  }

  #trySend(port: DeliveryPort, data: string | ArrayBuffer | Uint8Array): boolean {
    try {
      // sending on a closed channel throws, and in wrtc it crashes the process
      if (!port.isOpen) throw new ConnectionError('closed', 'the channel is closed');
      port.send(data);
      return true;
    } catch {
      this.#sending = false;
      return false;
    }
  }

  #sendNow(text: string): void {
    if (this.#port) this.#trySend(this.#port, text);
  }

  /**
   * Replaces a Blob with its bytes. A Blob that cannot be read (for example, because its file is gone) is skipped and reported.
   */
  async #read(blob: Blob): Promise<void> {
    this.#reading = true;
    let data: ArrayBuffer | undefined;
    let error: RondevuError | undefined;
    try {
      data = await blob.arrayBuffer();
    } catch (cause) {
      const text = `a Blob of ${blob.size} bytes could not be read and was not sent; did its file change?`;
      console.error((error = new RondevuError('bad-request', text, { cause })));
    }
    this.#reading = false;
    if (this.#outbox.blob === blob) {
      const message = this.#outbox.replaceBlob(data);
      if (error) {
        this.#handlers.onDone(message, 'dropped');
        this.#handlers.onUnsent(message, error);
      }
    }
    this.#pump();
  }
}
