/**
 * Endpoint: one end of a message stream that outlives its links. Owns the session with the peer, the queue of messages sent
 * while no link carries messages, and the messages lost by a replaced session. A connection has its own endpoint, and so does
 * each of its channels. Endpoints are independent of WebRTC and of the server. See docs/delivery.md.
 */
import { Queue } from '../base/queue.js';
import { Backlog, type BacklogHandlers } from './backlog.js';
import type { DeliveryPort } from './delivery-port.js';
import type { BufferedMessage, Message } from './message-buffer.js';
import { Session, createAllowances, type Allowances, type SessionHandlers, type SessionLimits } from './session.js';

export interface EndpointOptions extends SessionLimits {
  /** Maximum number of queued messages. */
  maxQueueSize: number;
  /** Maximum age of a queued message, in ms; 0 or Infinity for no limit. */
  maxMessageAge: number;
}

export interface EndpointHandlers extends BacklogHandlers, Omit<SessionHandlers, 'onReady' | 'onDone'> {
  /** Called when a link starts to carry messages. Queued messages are sent after `onResumed` and `onReset`. */
  onOpen(): void;
  /** Called after `onOpen` if the session continues on a new link. */
  onResumed?(): void;
  /** Called after `onOpen` if the peer has started a new session: the messages in `lost` may or may not have arrived. */
  onReset(lost: BufferedMessage[]): void;
  onQueued?(message: Message): void;
  /** Called when a queued message has been handed to a link. */
  onReplayed?(message: Message): void;
  /** Called when the peer's application has received the message. */
  onDelivered?(message: Message): void;
  /** Called when `bufferedAmount` has fallen to `bufferedAmountLowThreshold` or below. */
  onBufferedAmountLow?(): void;
}

/** How long `finish` waits for the peer to confirm FIN, in ms. */
export const FIN_TIMEOUT = 2000;

export class Endpoint {
  /** Value of `bufferedAmount`, in bytes, at or below which `onBufferedAmountLow` is called. */
  bufferedAmountLowThreshold = 0;
  readonly #handlers: EndpointHandlers;
  readonly #session: Session;
  readonly #queue: Backlog;
  /** Messages that `flush` has taken from the queue and not yet passed to the session. */
  readonly #taken = new Queue<Message>();
  /** Whether `flush` is taking messages from the queue. In the meantime, no listener may be called, because it could send. */
  #isTaking = false;
  /** Whether a link carries messages. */
  #isOpen = false;
  #hasEnded = false;
  /** Whether a new session is waiting for its first link; `#lost` then contains the messages that the previous session lost. */
  #isRenewed = false;
  #lost: BufferedMessage[] = [];
  #isAboveThreshold = false;

  /** @param allowances memory that the peer may use; shared by all endpoints of a connection */
  constructor(
    sid: string,
    options: EndpointOptions,
    handlers: EndpointHandlers,
    allowances: Allowances = createAllowances(options),
  ) {
    this.#handlers = handlers;
    const onQueueSize = (size: number) => void (this.#isTaking || handlers.onQueueSize?.(size));
    this.#queue = new Backlog({ maxSize: options.maxQueueSize, maxAge: options.maxMessageAge }, { ...handlers, onQueueSize });
    const onReady: SessionHandlers['onReady'] = (verdict, lost) => this.ready(verdict, lost);
    const onDone: SessionHandlers['onDone'] = (message, outcome) => {
      (message as Message).settle(outcome);
      if (outcome === 'delivered') handlers.onDelivered?.(message as Message);
      this.#checkThreshold();
    };
    this.#session = new Session(sid, options, { ...handlers, onReady, onDone }, allowances);
  }

  /** Session id shared by both peers. */
  get sid(): string {
    return this.#session.sid;
  }

  /** The attached port, even if it does not carry messages yet. */
  protected get port(): DeliveryPort | undefined {
    return this.#session.port;
  }

  /** Whether a link carries messages. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Number of messages queued until a link carries messages. */
  get queued(): number {
    return this.#queue.size;
  }

  /**
   * Number of bytes accepted but not yet acknowledged, excluding queued messages; if the peer does not use frames, number of
   * bytes not yet sent.
   */
  get bufferedAmount(): number {
    return this.#session.bufferedAmount;
  }

  /**
   * Sends a message, or queues it while no link carries messages.
   * @throws ConnectionError `too-large` or `queue-full`; ValidationError if `data` is neither text nor binary data
   */
  send(data: unknown): Message {
    const message = this.#session.compose(data);
    if (this.#isOpen) {
      this.flush(); // a listener may send before the queued messages are sent
      this.#session.send(message);
    } else this.#queue.add(message, () => this.#handlers.onQueued?.(message));
    this.#raise();
    return message;
  }

  /** Queues a message that was composed elsewhere. */
  queue(message: Message): void {
    this.#queue.add(message);
  }

  /** Sends the queued messages if a link carries messages. */
  flush(): void {
    if (!this.#isOpen) return;
    if (this.queued) {
      this.#isTaking = true;
      for (const message of this.#queue.takeAll()) this.#taken.push(message);
      this.#isTaking = false;
      this.#handlers.onQueueSize?.(0);
    }
    // if a listener sends a message, `send` calls `flush`, which passes on the remaining messages first
    while (this.#taken.length) {
      const message = this.#taken.shift()!;
      this.#session.send(message, () => this.#handlers.onReplayed?.(message));
    }
    this.#raise();
  }

  /** Removes and returns the queued messages, oldest first. Their outcome is `dropped`. */
  takeQueue(): Message[] {
    return settleDropped(this.#queue.takeAll()) as Message[];
  }

  /** Resolves when nearly all accepted data has been handed to the network, or when nothing more will be sent. */
  drained(): Promise<void> {
    return this.#session.drained();
  }

  /** Called when the application has added a message listener. */
  listened(): void {
    this.#session.listened();
  }

  /** Attaches a link that is up: messages are sent as soon as the peer's HELLO permits. */
  attach(port: DeliveryPort): void {
    this.#session.attach(port);
  }

  /** Resumes sending on a detached link that has recovered. */
  reattach(port: DeliveryPort): void {
    this.#session.reattach(port);
  }

  /** Stops using the link, because it is gone or must no longer be used. */
  detach(): void {
    this.#isOpen = false;
    this.#session.detach();
  }

  /** Handles data from a port; data from a replaced port is ignored. */
  receive(data: string | ArrayBuffer, port: DeliveryPort): void {
    this.#session.receive(data, port);
  }

  /** Handles a text from the control channel of a port; returns false if the text does not concern delivery. */
  control(text: string, port: DeliveryPort): boolean {
    return this.#session.control(text, port);
  }

  /**
   * Starts a new session with the peer. Messages lost by the previous session are reported with `onReset` on the next link.
   * @param isOther whether this is a different peer, which must not receive messages meant for the previous peer: those
   *   messages are lost too
   */
  renew(sid: string, isOther = false): void {
    this.#lost.push(...this.#session.renew(sid));
    if (isOther) this.#lost.push(...this.discard(), ...this.takeQueue());
    this.#isRenewed = true;
  }

  /** Removes messages that were never handed to a link. Their outcome is `dropped`. */
  discard(): BufferedMessage[] {
    return settleDropped([...this.#session.discard(), ...this.#taken.take()]);
  }

  /** Sends all messages and FIN, then waits at most `FIN_TIMEOUT` for the peer to confirm. */
  finish(): Promise<void> {
    this.flush();
    return this.#session.finish(FIN_TIMEOUT);
  }

  /** Stops the expiry timer of the queue. Queued messages can still be taken. */
  stopQueue(): void {
    this.#queue.stop();
  }

  /**
   * Ends the session: the outcome of a pending message is `dropped` if it was never handed to a link, otherwise `unknown`. The
   * queue is kept.
   */
  end(): void {
    this.#hasEnded = true;
    this.#isOpen = false;
    settleDropped(this.#session.end());
    this.discard();
  }

  /** Called when the session can use the attached link. */
  protected ready(verdict: 'new' | 'resumed' | 'reset', lost: BufferedMessage[]): void {
    if (this.#hasEnded) return;
    this.#isOpen = true;
    this.#handlers.onOpen();
    const isReset = this.#isRenewed || verdict === 'reset';
    this.#isRenewed = false;
    if (isReset) this.#handlers.onReset([...this.#lost.splice(0), ...lost]);
    else if (verdict === 'resumed') this.#handlers.onResumed?.();
    this.flush();
  }

  #raise(): void {
    this.#isAboveThreshold ||= this.bufferedAmount > this.bufferedAmountLowThreshold;
  }

  #checkThreshold(): void {
    if (!this.#isAboveThreshold || this.bufferedAmount > this.bufferedAmountLowThreshold) return;
    this.#isAboveThreshold = false;
    this.#handlers.onBufferedAmountLow?.();
  }
}

function settleDropped(messages: BufferedMessage[]): BufferedMessage[] {
  for (const message of messages) (message as Message).settle('dropped');
  return messages;
}
