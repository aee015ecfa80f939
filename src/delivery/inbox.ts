/**
 * Inbox: assembles messages from frames and delivers each message once, in order. An inbox accepts only the next message number
 * and drops lower numbers. This module is pure. See docs/delivery.md.
 */
import { ConnectionError, ValidationError } from '../errors.js';
import { readFrame, type MessagePart } from '../protocol/frames.js';
import type { Allowance } from './allowance.js';

/**
 * Thrown when the link has lost a message. Ordered channels must not lose messages, but Firefox may do so while a page is
 * closing.
 */
export class MissingMessageError extends ValidationError {}

// a leading U+FEFF is part of the message
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
/** Minimum memory allocated for a multi-part message, in bytes. */
const MIN_CAPACITY = 65_536;

/** A message whose parts have not all arrived yet. */
interface Assembly {
  readonly text: boolean;
  /** Size of the whole message, in bytes, as announced by the peer. */
  readonly total: number;
  /** Buffer that contains the bytes received so far, with room for more. */
  bytes: Uint8Array<ArrayBuffer>;
  filled: number;
}

export class Inbox {
  /** The next expected message number; all messages with lower numbers were delivered. */
  next = 1;
  readonly #maxMessageSize: number;
  readonly #allowance: Allowance;
  #partial: Assembly | undefined;

  /** @param allowance memory for messages whose parts have not all arrived yet */
  constructor(maxMessageSize: number, allowance: Allowance) {
    this.#maxMessageSize = maxMessageSize;
    this.#allowance = allowance;
  }

  /**
   * @param deliver called with each completed message, before `next` is increased; returns whether to continue
   * @throws ConnectionError `too-large`; ValidationError for an invalid frame; MissingMessageError for a gap in the numbers
   */
  accept(frame: Uint8Array, deliver: (data: string | ArrayBuffer) => boolean): void {
    for (const part of readFrame(frame)) {
      const { number, text, total } = part;
      if (number < this.next) continue; // the message arrived on an earlier link, but its acknowledgement was lost
      if (number > this.next) throw new MissingMessageError(`expected message ${this.next}, got ${number}`);
      if (total > this.#maxMessageSize) {
        throw new ConnectionError('too-large', `got a message of ${total} bytes, maxMessageSize is ${this.#maxMessageSize}`);
      }
      const whole = this.#join(part);
      if (!whole) continue;
      const shouldContinue = deliver(text ? decoder.decode(whole) : bufferOf(whole));
      this.next++;
      if (!shouldContinue) break;
    }
  }

  /**
   * Returns the message that the part completes; undefined while parts are missing.
   * @throws ValidationError for a part that does not match the previous parts
   */
  #join({ number, text, total, first, last, payload }: MessagePart): Uint8Array | undefined {
    const begun = this.#partial;
    if (first === (begun !== undefined)) {
      throw new ValidationError(`message ${number}: ${first ? 'unexpected first part' : 'the first part is missing'}`);
    }
    if (first && last) return payload;
    const partial = (this.#partial = begun ?? { text, total, bytes: new Uint8Array(0), filled: 0 });
    const filled = partial.filled + payload.length;
    if (text !== partial.text || filled > partial.total || last !== (filled === partial.total))
      throw new ValidationError(`the parts of message ${number} are inconsistent`);
    if (filled > partial.bytes.length) {
      // memory grows with the bytes received, because the announced total cannot be trusted
      const size = Math.min(partial.total, Math.max(filled, partial.bytes.length * 2, MIN_CAPACITY));
      if (!this.#allowance.take(size - partial.bytes.length))
        throw new ConnectionError('too-large', 'too many large messages at once on the channels of this connection');
      const bytes = new Uint8Array(size);
      bytes.set(partial.bytes);
      partial.bytes = bytes;
    }
    partial.bytes.set(payload, partial.filled);
    partial.filled = filled;
    if (!last) return undefined;
    this.restart();
    return partial.bytes;
  }

  /** Discards the partial message, because messages are resent from their start on a new link. */
  restart(): void {
    this.#allowance.giveBack(this.#partial?.bytes.length ?? 0);
    this.#partial = undefined;
  }

  /** Resets the next expected number to 1, because the peer restarts its numbering. */
  reset(): void {
    this.restart();
    this.next = 1;
  }
}

/** Returns an ArrayBuffer that contains exactly these bytes. */
function bufferOf(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteOffset === 0 && byteLength === buffer.byteLength) return buffer as ArrayBuffer;
  return bytes.slice().buffer as ArrayBuffer;
}
