/**
 * What two of ours say on the data channel (id 101): HELLO and FIN as JSON text, messages as binary frames of one or more
 * records. Pure: it builds and takes apart; what the numbers mean is for src/delivery. docs/protocol.md, "Frames".
 */
import { ValidationError, quote } from '../errors.js';
import type { Bytes } from '../base/bytes.js';

/** First on every link, both ways. */
export interface Hello {
  /** The session, base64url of 16 bytes, made by the joiner. */
  sid: string;
  /** This side's end of the session; another one after a reload. */
  inst: string;
  /** The other side's end that `next` is about; null when none was heard yet. */
  known: string | null;
  /** The number that is expected from the other side, 1 or more. */
  next: number;
}

/** One message, or a part of one. */
export interface MessagePart {
  number: number;
  text: boolean;
  /** Bytes of the whole message; of use in its first part. */
  total: number;
  first: boolean;
  last: boolean;
  payload: Uint8Array;
}

const TEXT = 1;
const FIRST = 2;
const LAST = 4;
/** Head, two numbers and a length at their longest. */
export const MAX_RECORD_HEAD = 25;
/** Longest label of a further channel, in characters. */
export const MAX_LABEL = 256;

export const helloFrame = (hello: Hello): string => JSON.stringify({ hello });
/** FIN: nothing comes after; `next` is the number that the message after the last one would have. */
export const finFrame = (next: number): string => JSON.stringify({ fin: next });

/** @throws ValidationError for anything else than HELLO or FIN */
export function parseTextFrame(text: string): { hello: Hello } | { fin: number } {
  let frame: { hello?: Partial<Record<keyof Hello, unknown>>; fin?: unknown } = {};
  try {
    frame = (JSON.parse(text) as typeof frame | null) ?? frame;
  } catch {
    // said below
  }
  if (isNumber(frame.fin)) return { fin: frame.fin };
  const { sid, inst, known, next } = frame.hello ?? {};
  const isId = (value: unknown): value is string => typeof value === 'string' && /^[\w-]{1,64}$/.test(value);
  if (isId(sid) && isId(inst) && (known === null || isId(known)) && isNumber(next)) return { hello: { sid, inst, known, next } };
  throw new ValidationError(`a text frame must be HELLO or FIN, got ${quote(text)}`);
}

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

/** Writes records into one frame of at most `size` bytes. */
export class FrameWriter {
  readonly #bytes: Bytes;
  #length = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  /** Bytes of payload that still fit. */
  get room(): number {
    return this.#bytes.length - this.#length - MAX_RECORD_HEAD;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Adds `message[from, to)` as a record. */
  add(number: number, text: boolean, message: Uint8Array, from: number, to: number): void {
    const first = from === 0;
    const last = to === message.length;
    this.#bytes[this.#length++] = (text ? TEXT : 0) | (first ? FIRST : 0) | (last ? LAST : 0);
    this.#number(number);
    if (first && !last) this.#number(message.length);
    this.#number(to - from);
    this.#bytes.set(first && last ? message : message.subarray(from, to), this.#length);
    this.#length += to - from;
  }

  /** The frame so far. The writer is of no use afterwards. */
  finish(): Bytes {
    return this.#bytes.subarray(0, this.#length);
  }

  /** LEB128, seven bits a byte, lowest first. */
  #number(value: number): void {
    for (; value >= 128; value = Math.floor(value / 128)) this.#bytes[this.#length++] = (value % 128) | 128;
    this.#bytes[this.#length++] = value;
  }
}

/** What is said of a further channel on the control channel, after `open ` and `shut `. */
export interface ChannelWord {
  label: string;
  /** The stream of its data channel; NaN where none is told. */
  id: number;
  ordered: boolean;
  maxRetransmits: number | undefined;
}

/** @throws ValidationError */
export function parseChannelWord(json: string): ChannelWord {
  let word: Partial<Record<keyof ChannelWord, unknown>> = {};
  try {
    word = (JSON.parse(json) as typeof word | null) ?? word;
  } catch {
    // told below
  }
  const { label, id = NaN, ordered = true, maxRetransmits } = word;
  const isRight =
    typeof label === 'string' &&
    label.length <= MAX_LABEL &&
    typeof id === 'number' &&
    typeof ordered === 'boolean' &&
    (maxRetransmits === undefined || (Number.isInteger(maxRetransmits) && Number(maxRetransmits) >= 0));
  if (!isRight) throw new ValidationError(`a channel must have label, id, ordered and maxRetransmits, got ${quote(json)}`);
  return { label, id, ordered, maxRetransmits: maxRetransmits as number | undefined };
}

/** The records of a frame, one after the other. @throws ValidationError when it is none of ours */
export function* readFrame(frame: Uint8Array): Generator<MessagePart> {
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 49; factor *= 128) {
      const byte = frame[at++];
      if (byte === undefined) break;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new ValidationError(`a frame of ${frame.length} bytes ends within a number`);
  };
  while (at < frame.length) {
    const head = frame[at++]!;
    if (head > (TEXT | FIRST | LAST)) throw new ValidationError(`a record must begin with 0 to 7, got ${head}`);
    const [first, last] = [(head & FIRST) > 0, (head & LAST) > 0];
    const messageNumber = number();
    const total = first && !last ? number() : 0;
    const length = number();
    if (at + length > frame.length) throw new ValidationError(`a record of ${length} bytes is longer than its frame`);
    const payload = frame.subarray(at, at + length);
    at += length;
    yield { number: messageNumber, text: (head & TEXT) > 0, total: total || length, first, last, payload };
  }
}
