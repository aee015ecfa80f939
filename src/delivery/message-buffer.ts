/**
 * MessageBuffer: messages sent while no link was up, limited in number and age. This module is pure except for its use of the
 * clock.
 */

import { ConnectionError, ValidationError, quote } from '../errors.js';

/** The argument of `send`. */
export type Sendable = string | Blob | ArrayBuffer | ArrayBufferView;

/** The argument of `send`, with views converted to ArrayBuffers. */
export type MessageData = string | Blob | ArrayBuffer;

export interface BufferedMessage {
  readonly id: string;
  readonly data: MessageData;
  /** Time at which `send` was called, in ms since the epoch. */
  readonly timestamp: number;
  /** Number of times that the message was handed to a link. */
  readonly attempts: number;
}

/** Outcome of a message; see docs/delivery.md. */
export type Outcome = 'delivered' | 'expired' | 'dropped' | 'unknown';

/** Returned by `send`. */
export interface SendHandle {
  /** Unique within the connection. */
  readonly id: string;
  /**
   * Outcome of the message: `delivered` after the peer's listeners have run, `expired` or `dropped` if it was never sent,
   * `unknown` if it may or may not have arrived. Never rejects.
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
    // the promise is created on demand, because most senders never use it
    return (this.#promise ??= new Promise((resolve) => {
      if (this.#outcome) resolve(this.#outcome);
      else this.#resolve = resolve;
    }));
  }

  /** The first call decides. */
  settle(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#resolve?.(this.#outcome);
  }
}

/** A message of a connection, with the handle that `send` returns. */
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
  /** Maximum number of messages. */
  maxSize: number;
  /** Maximum age in ms; 0 or Infinity for no limit. */
  maxAge: number;
}

export class MessageBuffer<M extends BufferedMessage = BufferedMessage> {
  readonly #options: MessageBufferOptions;
  /** Messages with their times on a monotonic clock, because the wall clock may change. */
  #messages: { message: M; at: number }[] = [];

  constructor(options: MessageBufferOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#messages.length;
  }

  /** Adds a message; returns the oldest message if it was removed to make room. */
  add(message: M, now = performance.now()): M | undefined {
    this.#messages.push({ message, at: now });
    return this.#messages.length > this.#options.maxSize ? this.#messages.shift()!.message : undefined;
  }

  /** Removes and returns messages that are too old. */
  takeExpired(now = performance.now()): M[] {
    const { maxAge } = this.#options;
    if (!maxAge) return [];
    const expired = this.#messages.filter(({ at }) => now - at > maxAge);
    this.#messages = this.#messages.filter(({ at }) => now - at <= maxAge);
    return expired.map(({ message }) => message);
  }

  /** Removes and returns all messages, oldest first. */
  takeAll(): M[] {
    return this.#messages.splice(0).map(({ message }) => message);
  }
}

/**
 * Creates a message from the argument of `send`, if there is room for it.
 * @param limits maximum sizes, in bytes
 * @param kept number of bytes already queued
 * @throws ConnectionError `too-large` or `queue-full`; ValidationError if `data` is neither text nor binary data
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

/**
 * Returns the type of an object, even from another realm (a frame, Electron's preload script, jsdom), where `instanceof` fails.
 */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

export const isBlob = (data: MessageData): data is Blob => typeof data !== 'string' && /^(Blob|File)$/.test(kindOf(data));

/** Copies buffers and views, because the caller may change them later. @throws ValidationError */
export function toData(data: unknown): MessageData {
  if (typeof data === 'string') return data;
  if (kindOf(data) === 'ArrayBuffer') return new Uint8Array(data as ArrayBuffer).slice().buffer;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer;
  if (isBlob(data as MessageData)) return data as Blob;
  throw new ValidationError(`send takes a string, Blob, ArrayBuffer or view, got ${quote(data)}`);
}

/** Returns the exact size of a message, in bytes, if the message may exceed the limit; otherwise, an upper bound. */
export function exactLength(message: { data: BufferedMessage['data'] }, limit: number): number {
  const upper = byteLength(message);
  return upper > limit && typeof message.data === 'string' ? new Blob([message.data]).size : upper;
}

/** Size of a message on the wire, in bytes; for text, an upper bound that needs no encoding. */
export function byteLength({ data }: { data: BufferedMessage['data'] }): number {
  if (typeof data === 'string') return data.length * 3;
  return isBlob(data) ? data.size : data.byteLength;
}
