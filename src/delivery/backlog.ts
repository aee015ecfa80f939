/**
 * Backlog: what was sent while no link was up, with the clock that makes it expire. Expiry is told when it happens, not when
 * somebody looks.
 */
import { MessageBuffer, type Message, type MessageBufferOptions } from './message-buffer.js';

export interface BacklogHandlers {
  onExpired(message: Message): void;
  onOverflow(discarded: Message): void;
}

/** How often is looked at the most, in ms. */
const LOOK_EVERY = 1000;

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

  /** Keeps a message; the oldest goes when there are too many. */
  add(message: Message, onKept: () => void): void {
    this.#tellExpired();
    const discarded = this.#buffer.add(message);
    onKept();
    if (discarded) {
      discarded.settle('dropped');
      this.#handlers.onOverflow(discarded);
    }
    this.#watch();
  }

  /** Takes out what has not expired, oldest first. */
  takeAll(): Message[] {
    this.#tellExpired();
    clearTimeout(this.#timer);
    return this.#buffer.takeAll();
  }

  /** Nobody waits for expiry any more; what is kept can still be taken. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #tellExpired(): void {
    for (const message of this.#buffer.takeExpired()) {
      message.settle('expired');
      this.#handlers.onExpired(message);
    }
  }

  #watch(): void {
    clearTimeout(this.#timer);
    if (!this.#buffer.size || !this.#maxAge || this.#maxAge > 2 ** 31 - 1) return;
    const look = () => (this.#tellExpired(), this.#watch());
    this.#timer = setTimeout(look, Math.min(this.#maxAge + 1, LOOK_EVERY));
  }
}
