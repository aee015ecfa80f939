/**
 * Backlog: the queue of messages sent while no link is up, with the timer that expires them. Expiry is reported when it
 * happens, not on the next call.
 */
import { MessageBuffer, type Message, type MessageBufferOptions } from './message-buffer.js';

export interface BacklogHandlers {
  onExpired(message: Message): void;
  onOverflow(discarded: Message): void;
  /** Called when the number of messages has changed, before the event that reports the reason. */
  onQueueSize?(size: number): void;
}

/** Maximum interval between two checks for expired messages, in ms. */
const EXPIRY_INTERVAL = 1000;

export class Backlog {
  readonly #buffer: MessageBuffer<Message>;
  readonly #maxAge: number;
  readonly #handlers: BacklogHandlers;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: MessageBufferOptions, handlers: BacklogHandlers) {
    this.#buffer = new MessageBuffer<Message>(options);
    this.#maxAge = options.maxAge;
    this.#handlers = handlers;
  }

  get size(): number {
    return this.#buffer.size;
  }

  /** Adds a message; removes the oldest message if the queue is full. */
  add(message: Message, onAdded?: () => void): void {
    this.#expire();
    const discarded = this.#buffer.add(message);
    this.#handlers.onQueueSize?.(this.size);
    onAdded?.();
    if (discarded) {
      discarded.settle('dropped');
      this.#handlers.onOverflow(discarded);
    }
    this.#schedule();
  }

  /** Removes and returns the messages that have not expired, oldest first. */
  takeAll(): Message[] {
    this.#expire();
    clearTimeout(this.#timer);
    const messages = this.#buffer.takeAll();
    if (messages.length) this.#handlers.onQueueSize?.(0);
    return messages;
  }

  /** Stops the expiry timer; queued messages can still be taken. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #expire(): void {
    const expired = this.#buffer.takeExpired();
    if (expired.length) this.#handlers.onQueueSize?.(this.size);
    for (const message of expired) {
      message.settle('expired');
      this.#handlers.onExpired(message);
    }
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#buffer.size || !this.#maxAge || this.#maxAge > 2 ** 31 - 1) return;
    const check = () => (this.#expire(), this.#schedule());
    this.#timer = setTimeout(check, Math.min(this.#maxAge + 1, EXPIRY_INTERVAL));
  }
}
