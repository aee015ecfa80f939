/**
 * Endpoint: one end of a message stream that outlives its links. Owns the session with the peer, the queue of messages sent while
 * no link carries messages, and the messages lost by a replaced session. A connection has one, and so has each of its channels.
 * Independent of WebRTC and the server. docs/delivery.md.
 */
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
  /** The link carries messages. Queued messages are sent after `onResumed` and `onReset`. */
  onOpen(): void;
  /** The session continues on a new link. Called after `onOpen`. */
  onResumed?(): void;
  /** The peer started a new session: these messages may or may not have arrived. Called after `onOpen`. */
  onReset(lost: BufferedMessage[]): void;
  onQueued?(message: Message): void;
  /** A queued message was handed to a link. */
  onReplayed?(message: Message): void;
  /** The peer's application has the message. */
  onDelivered?(message: Message): void;
  /** `bufferedAmount` fell to `bufferedAmountLowThreshold` or below. */
  onBufferedAmountLow?(): void;
}

/** How long `finish` waits for the peer to confirm, in ms. */
export const FIN_TIMEOUT = 2000;

export class Endpoint {
  /** Bytes at which `onBufferedAmountLow` is called. */
  bufferedAmountLowThreshold = 0;
  readonly #handlers: EndpointHandlers;
  readonly #session: Session;
  readonly #queue: Backlog;
  /** A link carries messages. */
  #isOpen = false;
  #hasEnded = false;
  /** A new session waits for its first link; `#lost` holds the messages that the previous session lost. */
  #isRenewed = false;
  #lost: BufferedMessage[] = [];
  #isAboveThreshold = false;

  /** @param allowances memory that the peer may use, shared by the endpoints of a connection */
  constructor(
    sid: string,
    options: EndpointOptions,
    handlers: EndpointHandlers,
    allowances: Allowances = createAllowances(options),
  ) {
    this.#handlers = handlers;
    this.#queue = new Backlog({ maxSize: options.maxQueueSize, maxAge: options.maxMessageAge }, handlers);
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

  /** The port that carries messages, or is about to. */
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
   * Bytes accepted but not yet acknowledged, excluding queued messages; if the peer does not use frames, bytes not yet
   * sent.
   */
  get bufferedAmount(): number {
    return this.#session.bufferedAmount;
  }

  /**
   * Sends a message, or queues it while no link carries messages.
   * @throws ConnectionError `too-large`, `queue-full`; ValidationError for anything but text or bytes
   */
  send(data: unknown): Message {
    const message = this.#session.compose(data);
    if (this.#isOpen) {
      this.flush(); // a listener called by onOpen may send before the queued messages are sent
      this.#session.send(message);
    } else this.#queue.add(message, () => this.#handlers.onQueued?.(message));
    this.#raise();
    return message;
  }

  /** Queues a message that was composed elsewhere. */
  queue(message: Message): void {
    this.#queue.add(message);
  }

  /** Sends queued messages, if a link carries messages. */
  flush(): void {
    if (!this.#isOpen) return;
    for (const message of this.#queue.takeAll()) this.#session.send(message, () => this.#handlers.onReplayed?.(message));
    this.#raise();
  }

  /** Removes and returns the queued messages, oldest first. Their outcome is `dropped`. */
  takeQueue(): Message[] {
    return settleDropped(this.#queue.takeAll()) as Message[];
  }

  /** Resolves when nearly all accepted data has been handed to the network, or nothing will be sent any more. */
  drained(): Promise<void> {
    return this.#session.drained();
  }

  /** The application added a listener for messages. */
  listened(): void {
    this.#session.listened();
  }

  /** A link is up: messages are sent as soon as the peer's HELLO allows. */
  attach(port: DeliveryPort): void {
    this.#session.attach(port);
  }

  /** The detached link has recovered and is used again. */
  reattach(port: DeliveryPort): void {
    this.#session.reattach(port);
  }

  /** The link is gone, or must not be used any more. */
  detach(): void {
    this.#isOpen = false;
    this.#session.detach();
  }

  /** Data arrived on a port; data of a replaced port is ignored. */
  receive(data: string | ArrayBuffer, port: DeliveryPort): void {
    this.#session.receive(data, port);
  }

  /** A text arrived on the control channel of a port; false if it is not for delivery. */
  control(text: string, port: DeliveryPort): boolean {
    return this.#session.control(text, port);
  }

  /**
   * Starts a new session with the peer. Messages lost by the previous session are reported with `onReset` on the next link.
   * @param isOther whether this is a different peer, which must not get messages meant for the previous one: those are lost too
   */
  renew(sid: string, isOther = false): void {
    this.#lost.push(...this.#session.renew(sid));
    if (isOther) this.#lost.push(...this.discard(), ...this.takeQueue());
    this.#isRenewed = true;
  }

  /** Removes messages that were never handed to a link. Their outcome is `dropped`. */
  discard(): BufferedMessage[] {
    return settleDropped(this.#session.discard());
  }

  /** Sends everything and FIN, then waits until the peer confirms, at most `FIN_TIMEOUT`. */
  finish(): Promise<void> {
    this.flush();
    return this.#session.finish(FIN_TIMEOUT);
  }

  /** Stops the timer of the queue. Queued messages can still be taken. */
  stopQueue(): void {
    this.#queue.stop();
  }

  /**
   * Ends the session: the outcome of messages is `dropped` if they were never handed to a link, otherwise `unknown`. The queue
   * stays.
   */
  end(): void {
    this.#hasEnded = true;
    this.#isOpen = false;
    settleDropped(this.#session.end());
  }

  /** The session can use the attached link. */
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
