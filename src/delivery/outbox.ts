/**
 * Outbox: messages accepted for sending, in order. Numbers a message when it is first handed to a link, keeps it until it is
 * acknowledged, and hands it to the next link again. Pure: no clock, no channel. docs/delivery.md.
 */
import type { Writable } from '../base/writable.js';
import { utf8 } from '../base/bytes.js';
import { Queue } from '../base/queue.js';
import { ValidationError } from '../errors.js';
import { FrameWriter, MAX_RECORD_HEAD } from '../protocol/frames.js';
import { byteLength, isBlob, type BufferedMessage } from './message-buffer.js';

/** Maximum size of a frame in bytes: four messages of 16 KiB. Smaller frames are slower; larger ones are no faster. */
export const FRAME_SIZE = 66_560;

interface Entry {
  readonly message: BufferedMessage;
  /** Bytes that count towards the limit. */
  readonly size: number;
  /** Called when the message is first handed to a link. */
  readonly onSent: (() => void) | undefined;
}

export class Outbox {
  /** Numbered and not acknowledged; the first one has the number `#base`. */
  readonly #sent = new Queue<Entry>();
  #base = 1;
  /** Not numbered yet. */
  readonly #queue = new Queue<Entry>();
  /** Index in `#sent` of the next message to hand over, and the bytes of it that were handed over already. */
  #position = 0;
  #offset = 0;
  /** The encoded message that is being cut into parts. */
  #cutting: Uint8Array | undefined;
  #bytes = 0;

  /** Total size of all messages kept, in bytes; for text, an upper bound. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether everything was handed to the link. */
  get isAllSent(): boolean {
    return this.#position === this.#sent.length && !this.#queue.length;
  }

  /** Whether a message was handed to the link and is not yet acknowledged. */
  get isAwaited(): boolean {
    return this.#position > 0 || this.#offset > 0;
  }

  /** The number that the next new message will get. */
  get next(): number {
    return this.#base + this.#sent.length;
  }

  /** Whether nothing has been acknowledged since numbering began. */
  get isWhole(): boolean {
    return this.#base === 1;
  }

  /** Adds a message. Returns its size in bytes, as it counts towards the limit. */
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

  /** Replaces the Blob at the head with its bytes; undefined removes the message. Returns the message. */
  replaceBlob(data: ArrayBuffer | undefined): BufferedMessage {
    const entry = this.#queue.at(0)!;
    if (data) this.#queue.replaceFirst({ ...entry, message: Object.assign(entry.message, { data }) });
    else this.#queue.shift();
    if (!data) this.#bytes -= entry.size;
    return entry.message;
  }

  /**
   * The next frame: a part of a message, or several short messages; undefined if nothing can be handed over.
   * @param limit maximum message size of the channel, in bytes
   */
  takeFrame(limit = FRAME_SIZE): Uint8Array | undefined {
    if (this.isAllSent || this.blob) return undefined;
    const only = this.#sent.length - this.#position + this.#queue.length === 1;
    const size = Math.min(limit, FRAME_SIZE);
    const writer = new FrameWriter(only ? Math.min(size, this.#peek.size + MAX_RECORD_HEAD) : size);
    while (!this.isAllSent && !this.blob) {
      const entry = this.#peek;
      // a message that cannot fit is not even encoded
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

  /** Removes and returns the next message, which is not numbered or kept: for a channel without frames. */
  takeRaw(): BufferedMessage | undefined {
    if (this.blob) return undefined;
    const entry = this.#queue.shift();
    if (!entry) return undefined;
    this.#bytes -= entry.size;
    if ((entry.message as Writable<BufferedMessage>).attempts++ === 0) entry.onSent?.();
    return entry.message;
  }

  /** Puts back a message that the channel did not accept. */
  returnRaw(message: BufferedMessage): void {
    const size = byteLength(message);
    this.#bytes += size;
    this.#queue.unshift({ message, size, onSent: undefined });
  }

  /**
   * The peer expects this number next: all lower ones have arrived. Returns the newly acknowledged messages.
   * @throws ValidationError for a number that was never handed over
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
   * Continues on a new link from the number that the peer expects. Returns the newly acknowledged messages, or
   * undefined if it cannot continue from that number; in that case, call `reset`.
   */
  resume(next: number): BufferedMessage[] | undefined {
    if (next < this.#base || next > this.next) return undefined;
    this.#position = this.#sent.length;
    const arrived = this.acknowledge(next);
    this.#restart();
    return arrived;
  }

  /** The peer does not know the numbers: restarts them at 1. Removes and returns numbered messages that are not acknowledged. */
  reset(): BufferedMessage[] {
    this.#restart();
    this.#base = 1;
    return this.#drop(this.#sent.take());
  }

  /** Removes and returns messages that have no number yet. */
  discard(): BufferedMessage[] {
    return this.#drop(this.#queue.take());
  }

  /** The next message to hand over; must exist. */
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
