/** MessageBuffer as the client 0.20 exports it, on the buffer of the engine. */
import { MessageBuffer, type BufferedMessage, type MessageData, type MessageBufferOptions } from '../delivery/message-buffer.js';

let nextId = 0;

/** Messages that wait, bounded in number and age. Overflow drops the oldest. */
export class LegacyMessageBuffer extends MessageBuffer {
  readonly #options: MessageBufferOptions;

  /** @param options `maxAge` in ms; 0 or Infinity for ever */
  constructor(options: MessageBufferOptions) {
    super(options);
    this.#options = options;
  }

  /** Keeps data; returns the message that it became. */
  override add(data: MessageData): BufferedMessage;
  /** Keeps a message; returns the oldest one if it had to go for it. */
  override add(message: BufferedMessage): BufferedMessage | undefined;
  override add(data: MessageData | BufferedMessage): BufferedMessage | undefined {
    if (typeof data === 'object' && 'timestamp' in data) return this.#keep(data);
    const timestamp = Date.now();
    const message = { id: `msg_${timestamp}_${nextId++}`, data, timestamp, attempts: 0 };
    this.#keep(message);
    return message;
  }

  /** All messages, oldest first. */
  getAll(): BufferedMessage[] {
    const messages = this.takeAll();
    for (const message of messages) this.#keep(message);
    return messages;
  }

  /** Messages that are not too old. */
  getValid(): BufferedMessage[] {
    const { maxAge } = this.#options;
    // eslint-disable-next-line no-restricted-syntax -- the other time is one of the wall clock
    return this.getAll().filter(({ timestamp }) => !maxAge || Date.now() - timestamp <= maxAge);
  }

  /** Takes out what is too old. */
  getExpired(): BufferedMessage[] {
    return this.takeExpired();
  }

  /** Takes one message out; null when it is not there. */
  remove(id: string): BufferedMessage | null {
    let removed: BufferedMessage | null = null;
    for (const message of this.takeAll()) {
      if (message.id === id) removed = message;
      else this.#keep(message);
    }
    return removed;
  }

  /** Takes everything out, oldest first. */
  clear(): BufferedMessage[] {
    return this.takeAll();
  }

  /** Counts an attempt to send a message; returns whether it is there. */
  incrementAttempt(id: string): boolean {
    const message = this.getAll().find((one) => one.id === id);
    if (message) message.attempts++;
    return message !== undefined;
  }

  isEmpty(): boolean {
    return this.size === 0;
  }

  isFull(): boolean {
    return this.size >= this.#options.maxSize;
  }

  /** A message may be older than its place in this buffer: its age counts from its `timestamp`, as in the client 0.20. */
  #keep(message: BufferedMessage): BufferedMessage | undefined {
    // eslint-disable-next-line no-restricted-syntax -- the other time is one of the wall clock
    return super.add(message, performance.now() - (Date.now() - message.timestamp));
  }
}
