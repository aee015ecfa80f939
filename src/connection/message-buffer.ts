/**
 * MessageBuffer: what was sent while no link was up, bounded in number and age. Pure but for the clock.
 */

/** What `send` takes, after views were reduced to their bytes. */
export type MessageData = string | Blob | ArrayBuffer;

export interface BufferedMessage {
  readonly id: string;
  readonly data: MessageData;
  /** When it was sent, in ms. */
  readonly timestamp: number;
  /** How often it was handed to a link. */
  attempts: number;
}

export interface MessageBufferOptions {
  /** Most messages. */
  maxSize: number;
  /** Longest time kept in ms; 0 or Infinity for ever. */
  maxAge: number;
}

export class MessageBuffer {
  readonly #options: MessageBufferOptions;
  #messages: BufferedMessage[] = [];

  constructor(options: MessageBufferOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#messages.length;
  }

  /** Keeps a message; returns the oldest one if it had to go for it. */
  add(message: BufferedMessage): BufferedMessage | undefined {
    this.#messages.push(message);
    return this.#messages.length > this.#options.maxSize ? this.#messages.shift() : undefined;
  }

  /** Takes out what is too old. */
  takeExpired(now = Date.now()): BufferedMessage[] {
    const { maxAge } = this.#options;
    if (!maxAge) return [];
    const expired = this.#messages.filter(({ timestamp }) => now - timestamp > maxAge);
    this.#messages = this.#messages.filter(({ timestamp }) => now - timestamp <= maxAge);
    return expired;
  }

  /** Takes everything out, oldest first. */
  takeAll(): BufferedMessage[] {
    return this.#messages.splice(0);
  }
}
