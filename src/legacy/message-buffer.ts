/** `MessageBuffer` with the API of the 0.20 client, built on the engine's buffer. */
import type { Writable } from '../base/writable.js';
import { MessageBuffer, type BufferedMessage, type MessageData, type MessageBufferOptions } from '../delivery/message-buffer.js';

let nextId = 0;

/** A queue of messages with a maximum length and a maximum age. Overflow drops the oldest. */
export class LegacyMessageBuffer extends MessageBuffer {
  readonly #options: MessageBufferOptions;

  /** @param options `maxAge` in ms; 0 or Infinity for no limit */
  constructor(options: MessageBufferOptions) {
    super(options);
    this.#options = options;
  }

  /** Adds data and returns the resulting message. */
  override add(data: MessageData): BufferedMessage;
  /** Adds a message; returns the oldest message if it was dropped to make room. */
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

  /** Returns the messages that have not expired. */
  getValid(): BufferedMessage[] {
    const { maxAge } = this.#options;
    // eslint-disable-next-line no-restricted-syntax -- the other time is wall-clock time
    return this.getAll().filter(({ timestamp }) => !maxAge || Date.now() - timestamp <= maxAge);
  }

  /** Removes and returns expired messages. */
  getExpired(): BufferedMessage[] {
    return this.takeExpired();
  }

  /** Removes and returns a message; returns null if there is no message with this id. */
  remove(id: string): BufferedMessage | null {
    let removed: BufferedMessage | null = null;
    for (const message of this.takeAll()) {
      if (message.id === id) removed = message;
      else this.#keep(message);
    }
    return removed;
  }

  /** Removes and returns all messages, oldest first. */
  clear(): BufferedMessage[] {
    return this.takeAll();
  }

  /** Increments the attempt count of a message; returns whether the message exists. */
  incrementAttempt(id: string): boolean {
    const message = this.getAll().find((one) => one.id === id);
    if (message) (message as Writable<BufferedMessage>).attempts++;
    return message !== undefined;
  }

  isEmpty(): boolean {
    return this.size === 0;
  }

  isFull(): boolean {
    return this.size >= this.#options.maxSize;
  }

  /** Adds a message whose age is measured from its `timestamp`, as in the 0.20 client, and not from the time it was added. */
  #keep(message: BufferedMessage): BufferedMessage | undefined {
    // eslint-disable-next-line no-restricted-syntax -- the other time is wall-clock time
    return super.add(message, performance.now() - (Date.now() - message.timestamp));
  }
}
