/**
 * MessageBuffer: what was sent while no link was up, bounded in number and age. Pure but for the clock.
 */

import { ConnectionError, ValidationError, quote } from '../errors.js';

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

/** What became of a message: see docs/delivery.md. */
export type Outcome = 'delivered' | 'expired' | 'dropped' | 'unknown';

/** What `send` returns. */
export interface SendHandle {
  /** Unique within the connection. */
  readonly id: string;
  /**
   * What became of the message: `delivered` when the peer's listeners have had it, `expired` or `dropped` when it was never sent,
   * `unknown` when it may or may not have arrived. Never rejects.
   */
  readonly delivered: Promise<Outcome>;
}

class Receipt implements SendHandle {
  readonly id: string;
  #outcome: Outcome | undefined;
  #promise: Promise<Outcome> | undefined;
  #resolve: ((outcome: Outcome) => void) | undefined;

  constructor(id: string) {
    this.id = id;
  }

  get delivered(): Promise<Outcome> {
    // made when somebody asks: most senders never do
    return (this.#promise ??= new Promise((resolve) => {
      if (this.#outcome) resolve(this.#outcome);
      else this.#resolve = resolve;
    }));
  }

  /** The first word counts. */
  settle(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#resolve?.(this.#outcome);
  }
}

/** A message of a connection, with the handle that its sender holds. */
export class Message implements BufferedMessage {
  readonly id: string;
  readonly data: MessageData;
  readonly timestamp = Date.now();
  attempts = 0;
  readonly #receipt: Receipt;

  constructor(id: string, data: MessageData) {
    this.id = id;
    this.data = data;
    this.#receipt = new Receipt(id);
  }

  settle(outcome: Outcome): void {
    this.#receipt.settle(outcome);
  }

  get handle(): SendHandle {
    return this.#receipt;
  }
}

export interface MessageBufferOptions {
  /** Most messages. */
  maxSize: number;
  /** Longest time kept in ms; 0 or Infinity for ever. */
  maxAge: number;
}

export class MessageBuffer<M extends BufferedMessage = BufferedMessage> {
  readonly #options: MessageBufferOptions;
  /** With the time of the monotonic clock: the wall clock may be set meanwhile. */
  #messages: { message: M; at: number }[] = [];

  constructor(options: MessageBufferOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#messages.length;
  }

  /** Keeps a message; returns the oldest one if it had to go for it. */
  add(message: M, now = performance.now()): M | undefined {
    this.#messages.push({ message, at: now });
    return this.#messages.length > this.#options.maxSize ? this.#messages.shift()!.message : undefined;
  }

  /** Takes out what is too old. */
  takeExpired(now = performance.now()): M[] {
    const { maxAge } = this.#options;
    if (!maxAge) return [];
    const expired = this.#messages.filter(({ at }) => now - at > maxAge);
    this.#messages = this.#messages.filter(({ at }) => now - at <= maxAge);
    return expired.map(({ message }) => message);
  }

  /** Takes everything out, oldest first. */
  takeAll(): M[] {
    return this.#messages.splice(0).map(({ message }) => message);
  }
}

/**
 * A message of what `send` was given, if there is room for it.
 * @param limits in bytes
 * @param kept bytes that wait already
 * @throws ConnectionError `too-large`, `queue-full`; ValidationError for anything but text or bytes
 */
export function composeMessage(
  id: string,
  data: unknown,
  { maxMessageSize, maxQueuedBytes }: { maxMessageSize: number; maxQueuedBytes: number },
  kept = 0,
): Message {
  const message = new Message(id, toData(data));
  const bytes = exactLength(message, maxMessageSize);
  if (bytes > maxMessageSize) {
    throw new ConnectionError('too-large', `send: a message must have at most ${maxMessageSize} bytes, got ${bytes}`);
  }
  if (kept + bytes > maxQueuedBytes) {
    const text = `send: ${kept} bytes are queued, maxQueuedBytes is ${maxQueuedBytes}; wait for drained()`;
    throw new ConnectionError('queue-full', text);
  }
  return message;
}

/** What kind of object it is, also if it was made in another realm (a frame, Electron's preload, jsdom): `instanceof` fails there. */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

export const isBlob = (data: MessageData): data is Blob => /^(Blob|File)$/.test(kindOf(data));

/** Bytes that the caller may change afterwards are copied. @throws ValidationError */
export function toData(data: unknown): MessageData {
  if (typeof data === 'string') return data;
  if (kindOf(data) === 'ArrayBuffer') return new Uint8Array(data as ArrayBuffer).slice().buffer;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer;
  if (isBlob(data as MessageData)) return data as Blob;
  throw new ValidationError(`send takes a string, Blob, ArrayBuffer or view, got ${quote(data)}`);
}

/** The size of a message in bytes where it matters whether it is within a limit; elsewhere an upper bound. */
export function exactLength(message: { data: BufferedMessage['data'] }, limit: number): number {
  const upper = byteLength(message);
  return upper > limit && typeof message.data === 'string' ? new Blob([message.data]).size : upper;
}

/** The size of a message on the wire, in bytes; of text an upper bound that needs no encoding. */
export function byteLength({ data }: { data: BufferedMessage['data'] }): number {
  if (typeof data === 'string') return data.length * 3;
  return isBlob(data) ? data.size : data.byteLength;
}
