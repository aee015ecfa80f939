/**
 * Outbox: what was accepted for sending, in order. Numbers a message when it is first handed to a link, keeps it until it is
 * acknowledged, and hands it again on the next link. Pure: no clock, no channel. docs/delivery.md.
 */
import { utf8 } from '../base/bytes.js';
import { Queue } from '../base/queue.js';
import { ValidationError } from '../errors.js';
import { FrameWriter, MAX_RECORD_HEAD } from '../protocol/frames.js';
import { byteLength, isBlob, type BufferedMessage } from './message-buffer.js';

/** Maximum size of a frame in bytes: four messages of 16 KiB. Smaller frames are slower, larger ones not faster. */
export const FRAME_SIZE = 66_560;

interface Entry {
  readonly message: BufferedMessage;
  /** As it is counted against the limit. */
  readonly size: number;
  /** Called when it is first handed to a link. */
  readonly onHanded: (() => void) | undefined;
}

export class Outbox {
  /** Numbered and not acknowledged; the first one has the number `#base`. */
  readonly #sent = new Queue<Entry>();
  #base = 1;
  /** Not numbered yet. */
  readonly #queue = new Queue<Entry>();
  /** The place in `#sent` to go on from, and the bytes of that message that were handed already. */
  #position = 0;
  #offset = 0;
  /** The message that is being cut into parts, encoded. */
  #cutting: Uint8Array | undefined;
  #bytes = 0;

  /** Bytes of all that is kept, text by an upper bound. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether everything was handed to the link. */
  get isHanded(): boolean {
    return this.#position === this.#sent.length && !this.#queue.length;
  }

  /** Whether the link was given something that is not acknowledged. */
  get isAwaited(): boolean {
    return this.#position > 0 || this.#offset > 0;
  }

  /** The number that the next new message will get. */
  get next(): number {
    return this.#base + this.#sent.length;
  }

  /** Whether nothing was acknowledged since the numbers began. */
  get isWhole(): boolean {
    return this.#base === 1;
  }

  /** Returns the bytes that it counts. */
  push(message: BufferedMessage, onHanded?: () => void): number {
    const size = byteLength(message);
    this.#bytes += size;
    this.#queue.push({ message, size, onHanded });
    return size;
  }

  /** The Blob that must be read before anything else can be handed; its bytes are given back with `replaceBlob`. */
  get blob(): Blob | undefined {
    const entry = this.#position < this.#sent.length ? undefined : this.#queue.at(0);
    const data = entry?.message.data;
    return data !== undefined && isBlob(data) ? data : undefined;
  }

  /** Puts the bytes of the Blob at the head in its place; undefined leaves it out. Returns the message. */
  replaceBlob(data: ArrayBuffer | undefined): BufferedMessage {
    const entry = this.#queue.at(0)!;
    if (data) this.#queue.replaceFirst({ ...entry, message: Object.assign(entry.message, { data }) });
    else this.#queue.shift();
    if (!data) this.#bytes -= entry.size;
    return entry.message;
  }

  /**
   * The next frame: a part of a message, or several short ones; undefined when nothing can be handed.
   * @param limit what the channel carries in one piece, in bytes
   */
  takeFrame(limit = FRAME_SIZE): Uint8Array | undefined {
    if (this.isHanded || this.blob) return undefined;
    const only = this.#sent.length - this.#position + this.#queue.length === 1;
    const size = Math.min(limit, FRAME_SIZE);
    const writer = new FrameWriter(only ? Math.min(size, this.#peek.size + MAX_RECORD_HEAD) : size);
    while (!this.isHanded && !this.blob) {
      const entry = this.#peek;
      // what surely does not fit any more is not even encoded
      if (!writer.isEmpty && entry.size > size * 3) break;
      const encoded = (this.#cutting ??= encode(entry.message));
      if (!writer.isEmpty && encoded.length > writer.room) break;
      if (this.#position === this.#sent.length) this.#sent.push(this.#queue.shift()!);
      if (this.#offset === 0 && entry.message.attempts++ === 0) entry.onHanded?.();
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

  /** The next message whole, forgotten at once: for a channel without frames. */
  takeRaw(): BufferedMessage | undefined {
    if (this.blob) return undefined;
    const entry = this.#queue.shift();
    if (!entry) return undefined;
    this.#bytes -= entry.size;
    if (entry.message.attempts++ === 0) entry.onHanded?.();
    return entry.message;
  }

  /** Puts back what a channel did not take after all. */
  untakeRaw(message: BufferedMessage): void {
    const size = byteLength(message);
    this.#bytes += size;
    this.#queue.unshift({ message, size, onHanded: undefined });
  }

  /**
   * The other side expects this number next: everything before it has arrived. Returns what that is news of.
   * @throws ValidationError for a number that was never handed
   */
  acknowledge(next: number): BufferedMessage[] {
    const handed = this.#base + this.#position;
    if (next > handed) throw new ValidationError(`the peer acknowledges up to ${next - 1}, and ${handed - 1} were sent`);
    const count = next - this.#base;
    if (count <= 0) return [];
    this.#base = next;
    this.#position -= count;
    return this.#drop(this.#sent.take(count));
  }

  /**
   * Goes on on a new link from the number that the other side expects. Returns what is now known to have arrived, undefined
   * when it expects something that is not kept any more: then `reset`.
   */
  resume(next: number): BufferedMessage[] | undefined {
    if (next < this.#base || next > this.next) return undefined;
    this.#position = this.#sent.length;
    const arrived = this.acknowledge(next);
    this.#restart();
    return arrived;
  }

  /** The other side knows nothing of the numbers: they begin again. Returns what was numbered and not acknowledged. */
  reset(): BufferedMessage[] {
    this.#restart();
    this.#base = 1;
    return this.#drop(this.#sent.take());
  }

  /** Takes out what has no number yet. */
  discard(): BufferedMessage[] {
    return this.#drop(this.#queue.take());
  }

  /** The next one to hand; asked only when there is one. */
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
