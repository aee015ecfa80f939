/**
 * Outbox: messages accepted for sending, in order. Numbers a message when it is first handed to a link, keeps it until it is
 * acknowledged, and hands it over again on the next link. This module is pure: it uses neither a clock nor a channel. See
 * docs/delivery.md.
 */
import type { Writable } from '../base/writable.js';
import { utf8 } from '../base/bytes.js';
import { Queue } from '../base/queue.js';
import { ValidationError } from '../errors.js';
import { FrameWriter, MAX_RECORD_HEAD } from '../protocol/frames.js';
import { byteLength, isBlob, type BufferedMessage } from './message-buffer.js';

/**
 * Maximum size of a frame, in bytes: room for four messages of 16 KiB. Smaller frames are slower; larger frames are no faster.
 */
export const FRAME_SIZE = 66_560;

interface Entry {
  readonly message: BufferedMessage;
  /** Size of the message, in bytes, as counted towards the limit. */
  readonly size: number;
  /** Called when the message is first handed to a link. */
  readonly onSent: (() => void) | undefined;
}

export class Outbox {
  /** Messages that are numbered but not acknowledged; the first message has the number `#base`. */
  readonly #sent = new Queue<Entry>();
  #base = 1;
  /** Messages without a number yet. */
  readonly #queue = new Queue<Entry>();
  /** Index in `#sent` of the next message to hand over, and the number of its bytes that were already handed over. */
  #position = 0;
  #offset = 0;
  /** The encoded message that is being split into parts. */
  #cutting: Uint8Array | undefined;
  #bytes = 0;

  /** Total size of all stored messages, in bytes; for text, an upper bound. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether all messages have been handed to the link. */
  get isAllSent(): boolean {
    return this.#position === this.#sent.length && !this.#queue.length;
  }

  /** Whether a message was handed to the link and is not yet acknowledged. */
  get isAwaited(): boolean {
    return this.#position > 0 || this.#offset > 0;
  }

  /** Number of the next new message. */
  get next(): number {
    return this.#base + this.#sent.length;
  }

  /** Whether no message has been acknowledged since the numbering began. */
  get isWhole(): boolean {
    return this.#base === 1;
  }

  /** Adds a message. Returns the size of the message, in bytes, as counted towards the limit. */
  push(message: BufferedMessage, onSent?: () => void): number {
    const size = byteLength(message);
    this.#bytes += size;
    this.#queue.push({ message, size, onSent });
    return size;
  }

  /** The Blob that must be read before anything else can be handed over; pass its bytes to `replaceBlob`. */
  get blob(): Blob | undefined {
    const entry = this.#position < this.#sent.length ? undefined : this.#queue.at(0);
    const data = entry?.message.data;
    return data !== undefined && isBlob(data) ? data : undefined;
  }

  /**
   * Replaces the Blob at the head of the queue with its bytes; removes the message if `data` is undefined. Returns the message.
   */
  replaceBlob(data: ArrayBuffer | undefined): BufferedMessage {
    const entry = this.#queue.at(0)!;
    if (data) this.#queue.replaceFirst({ ...entry, message: Object.assign(entry.message, { data }) });
    else this.#queue.shift();
    if (!data) this.#bytes -= entry.size;
    return entry.message;
  }

  /**
   * Returns the next frame, which contains part of a message or several short messages; undefined if nothing can be handed
   * over.
   * @param limit maximum message size of the channel, in bytes
   */
  takeFrame(limit = FRAME_SIZE): Uint8Array | undefined {
    if (this.isAllSent || this.blob) return undefined;
    const only = this.#sent.length - this.#position + this.#queue.length === 1;
    const size = Math.min(limit, FRAME_SIZE);
    const writer = new FrameWriter(only ? Math.min(size, this.#peek.size + MAX_RECORD_HEAD) : size);
    while (!this.isAllSent && !this.blob) {
      const entry = this.#peek;
      // a message that cannot fit into this frame is not encoded yet
      if (!writer.isEmpty && entry.size > size * 3) break;
      const encoded = (this.#cutting ??= encode(entry.message));
      if (!writer.isEmpty && encoded.length > writer.room) break;
      if (this.#position === this.#sent.length) this.#sent.push(this.#queue.shift()!);
      if (this.#offset === 0 && (entry.message as Writable<BufferedMessage>).attempts++ === 0) entry.onSent?.();
      const end = Math.min(encoded.length, this.#offset + writer.room);
      writer.add(this.#base + this.#position, typeof entry.message.data === 'string', encoded, this.#offset, end);
      if (end < encoded.length) {
        this.#offset = end;
        break;
      }
      this.#offset = 0;
      this.#cutting = undefined;
      this.#position++;
    }
    return writer.finish();
  }

  /** Removes and returns the next message, without numbering or storing it, for an unframed channel. */
  takeRaw(): BufferedMessage | undefined {
    if (this.blob) return undefined;
    const entry = this.#queue.shift();
    if (!entry) return undefined;
    this.#bytes -= entry.size;
    if ((entry.message as Writable<BufferedMessage>).attempts++ === 0) entry.onSent?.();
    return entry.message;
  }

  /** Puts a message that the channel did not accept back at the head of the queue. */
  returnRaw(message: BufferedMessage): void {
    const size = byteLength(message);
    this.#bytes += size;
    this.#queue.unshift({ message, size, onSent: undefined });
  }

  /**
   * Acknowledges all messages with numbers below `next`, the number that the peer expects next. Returns the newly acknowledged
   * messages.
   * @throws ValidationError if the peer acknowledges a message that was never handed over
   */
  acknowledge(next: number): BufferedMessage[] {
    const sent = this.#base + this.#position;
    if (next > sent) throw new ValidationError(`the peer acknowledged message ${next - 1}, but only ${sent - 1} were sent`);
    const count = next - this.#base;
    if (count <= 0) return [];
    this.#base = next;
    this.#position -= count;
    return this.#drop(this.#sent.take(count));
  }

  /**
   * Continues on a new link from the number that the peer expects. Returns the newly acknowledged messages, or undefined if
   * messages from the expected number on are no longer available; the caller must then call `reset`.
   */
  resume(next: number): BufferedMessage[] | undefined {
    if (next < this.#base || next > this.next) return undefined;
    this.#position = this.#sent.length;
    const arrived = this.acknowledge(next);
    this.#restart();
    return arrived;
  }

  /**
   * Restarts the numbering at 1, because the peer has lost the state of the session. Removes and returns numbered messages that
   * are not acknowledged.
   */
  reset(): BufferedMessage[] {
    this.#restart();
    this.#base = 1;
    return this.#drop(this.#sent.take());
  }

  /** Removes and returns messages that have no number yet. */
  discard(): BufferedMessage[] {
    return this.#drop(this.#queue.take());
  }

  /** The next message to hand over; the caller must have checked that one exists. */
  get #peek(): Entry {
    return this.#sent.at(this.#position) ?? this.#queue.at(0)!;
  }

  #restart(): void {
    this.#position = this.#offset = 0;
    this.#cutting = undefined;
  }

  #drop(entries: Entry[]): BufferedMessage[] {
    for (const { size } of entries) this.#bytes -= size;
    return entries.map(({ message }) => message);
  }
}

const encode = ({ data }: BufferedMessage): Uint8Array =>
  typeof data === 'string' ? utf8(data) : new Uint8Array(data as ArrayBuffer);
