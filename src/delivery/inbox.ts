/**
 * Inbox: takes frames, puts messages together and gives out each once, in order: only the next number is taken, older ones are
 * dropped. Pure. docs/delivery.md.
 */
import { ConnectionError, ValidationError } from '../errors.js';
import { readFrame } from '../protocol/frames.js';

/** The link has lost something, which an ordered channel does not: Firefox may, in the last moments of a page. */
export class MissingMessageError extends ValidationError {}

const decoder = new TextDecoder();

export class Inbox {
  /** The number that is expected next; all before it were given out. */
  next = 1;
  readonly #maxMessageSize: number;
  /** The message that is being put together. */
  #partial: { bytes: Uint8Array<ArrayBuffer>; filled: number } | undefined;

  constructor(maxMessageSize: number) {
    this.#maxMessageSize = maxMessageSize;
  }

  /**
   * @param deliver called with each message that is due; `next` moves on when it has returned. It says whether to go on.
   * @throws ConnectionError `too-large`; ValidationError for a frame that is none of ours, or a hole in the numbers
   */
  accept(frame: Uint8Array, deliver: (data: string | ArrayBuffer) => boolean): void {
    for (const { number, text, total, first, last, payload } of readFrame(frame)) {
      if (number < this.next) continue; // it came on an earlier link, and its acknowledgement was lost
      if (number > this.next) throw new MissingMessageError(`message ${this.next} was expected, ${number} came`);
      if (total > this.#maxMessageSize) {
        throw new ConnectionError('too-large', `a message of ${total} bytes came, maxMessageSize is ${this.#maxMessageSize}`);
      }
      let whole: Uint8Array = payload;
      if (first) this.#partial = last ? undefined : { bytes: new Uint8Array(total), filled: 0 };
      if (!(first && last)) {
        const { bytes, filled } = this.#partial ?? { bytes: new Uint8Array(0), filled: 0 };
        if (filled + payload.length > bytes.length || (last && filled + payload.length < bytes.length))
          throw new ValidationError(`the parts of message ${number} do not fit together`);
        bytes.set(payload, filled);
        this.#partial!.filled += payload.length;
        whole = bytes;
      }
      if (!last) continue;
      this.#partial = undefined;
      const goOn = deliver(text ? decoder.decode(whole) : bufferOf(whole));
      this.next++;
      if (!goOn) break;
    }
  }

  /** A new link: what was begun comes again from its start. */
  restart(): void {
    this.#partial = undefined;
  }

  /** The other side's numbers begin again. */
  reset(): void {
    this.#partial = undefined;
    this.next = 1;
  }
}

/** The bytes as a buffer of their own. */
function bufferOf(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteOffset === 0 && byteLength === buffer.byteLength) return buffer as ArrayBuffer;
  return bytes.slice().buffer as ArrayBuffer;
}
