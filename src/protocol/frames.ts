/**
 * Encodes and decodes the frames that two peers of this version exchange on the data channel (id 101): HELLO and FIN as JSON
 * text, messages as binary frames of one or more records. This module is pure; src/delivery interprets the sequence numbers.
 * See docs/protocol.md, "Frames".
 */
import { ValidationError, quote } from '../errors.js';
import type { Bytes } from '../base/bytes.js';

/** The first frame on every link, in both directions. */
export interface Hello {
  /** Session id, base64url of 16 bytes, chosen by the joiner. */
  sid: string;
  /** Id of the sender within the session; changes after a reload. */
  inst: string;
  /** Id of the peer to which `next` refers; null if unknown. */
  known: string | null;
  /** Next sequence number expected from the peer, at least 1. */
  next: number;
}

/** A message or part of a message. */
export interface MessagePart {
  number: number;
  text: boolean;
  /** Size of the whole message in bytes; used only in the first part. */
  total: number;
  first: boolean;
  last: boolean;
  /** Payload bytes; empty only in an empty message. */
  payload: Uint8Array;
}

const TEXT = 1;
const FIRST = 2;
const LAST = 4;
/** Maximum size of a record's header in bytes: head byte, two numbers and a length. */
export const MAX_RECORD_HEAD = 25;
/** Maximum length of the label of an additional channel, in characters. */
export const MAX_LABEL = 256;
/** Maximum length of an accepted HELLO or FIN, in characters; frames of this version have at most 250. */
const MAX_TEXT_FRAME = 1024;
/**
 * Maximum length of an accepted `open {…}` or `shut {…}`, in characters; JSON may use six characters for each character of the
 * label.
 */
const MAX_CHANNEL_WORD = 2048;
/** RTCDataChannelInit.maxRetransmits is an unsigned short. */
const MAX_RETRANSMITS = 65_535;

export const helloFrame = (hello: Hello): string => JSON.stringify({ hello });
/** Builds a FIN frame: no message follows, and `next` is the sequence number after the last message. */
export const finFrame = (next: number): string => JSON.stringify({ fin: next });

/** @throws ValidationError if the text is not a HELLO or FIN frame */
export function parseTextFrame(text: string): { hello: Hello } | { fin: number } {
  const frame = parseObject<{ hello: Partial<Record<keyof Hello, unknown>> | null; fin: unknown }>(text, MAX_TEXT_FRAME);
  if (isNumber(frame.fin)) return { fin: frame.fin };
  const { sid, inst, known, next } = frame.hello ?? {};
  const isId = (value: unknown): value is string => typeof value === 'string' && /^[\w-]{1,64}$/.test(value);
  if (isId(sid) && isId(inst) && (known === null || isId(known)) && isNumber(next)) return { hello: { sid, inst, known, next } };
  throw new ValidationError(`a text frame must be HELLO or FIN, got ${quote(text)}`);
}

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

/** Parses a JSON object; returns an object without properties if the text is too long or not a JSON object. */
function parseObject<T>(json: string, maxLength: number): Partial<T> {
  try {
    return (json.length <= maxLength && (JSON.parse(json) as Partial<T> | null)) || {};
  } catch {
    return {};
  }
}

/** Writes records into one frame of at most `size` bytes. */
export class FrameWriter {
  readonly #bytes: Bytes;
  #length = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  /** Number of payload bytes that still fit in the frame. */
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

  /** The finished frame. The writer must not be used after this call. */
  finish(): Bytes {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Writes a number as LEB128: seven bits per byte, least significant bits first. */
  #number(value: number): void {
    for (; value >= 128; value = Math.floor(value / 128)) this.#bytes[this.#length++] = (value % 128) | 128;
    this.#bytes[this.#length++] = value;
  }
}

/** Parameters of `open ` and `shut ` on the control channel. */
export interface ChannelWord {
  label: string;
  /** Stream id of the data channel; NaN if absent. */
  id: number;
  ordered: boolean;
  maxRetransmits: number | undefined;
}

/** @throws ValidationError */
export function parseChannelWord(json: string): ChannelWord {
  const word = parseObject<Record<keyof ChannelWord, unknown>>(json, MAX_CHANNEL_WORD);
  const { label, id = NaN, ordered = true, maxRetransmits } = word;
  const isValid =
    typeof label === 'string' &&
    label.length <= MAX_LABEL &&
    (Number.isNaN(id) || Number.isInteger(id)) &&
    typeof ordered === 'boolean' &&
    (maxRetransmits === undefined || (Number.isInteger(maxRetransmits) && inRange(Number(maxRetransmits), 0, MAX_RETRANSMITS)));
  if (!isValid) throw new ValidationError(`a channel must have label, id, ordered and maxRetransmits, got ${quote(json)}`);
  return { label, id: id as number, ordered, maxRetransmits: maxRetransmits as number | undefined };
}

const inRange = (value: number, least: number, most: number): boolean => value >= least && value <= most;

/**
 * Reads the records of a frame. Each number must have its shortest encoding and no part may be empty, so that the cost of
 * parsing is bounded by the size of the frame.
 * @throws ValidationError for anything that FrameWriter would not write
 */
export function* readFrame(frame: Uint8Array): Generator<MessagePart> {
  let at = 0;
  const refuse = (what: string): never => {
    throw new ValidationError(`a frame of ${frame.length} bytes is malformed at byte ${at}: ${what}`);
  };
  const number = (least: number): number => {
    let value = 0;
    for (let factor = 1; at < frame.length; factor *= 128) {
      const byte = frame[at++]!;
      value += (byte & 127) * factor;
      if (value > Number.MAX_SAFE_INTEGER) refuse('a number must be below 2^53');
      if (byte >= 128) continue;
      if (byte === 0 && factor > 1) refuse('a number must not end with a zero byte');
      return value >= least ? value : refuse(`expected a number of ${least} or more, got ${value}`);
    }
    return refuse('it ends within a number');
  };
  while (at < frame.length) {
    const head = frame[at++]!;
    if (head > (TEXT | FIRST | LAST)) refuse(`a record must begin with 0 to 7, got ${head}`);
    const [first, last] = [(head & FIRST) > 0, (head & LAST) > 0];
    const messageNumber = number(1);
    const isWhole = first && last;
    const announced = first && !last ? number(1) : 0;
    const length = number(isWhole ? 0 : 1);
    if (at + length > frame.length) refuse(`a record of ${length} bytes is longer than its frame`);
    const payload = frame.subarray(at, at + length);
    at += length;
    yield { number: messageNumber, text: (head & TEXT) > 0, total: announced || length, first, last, payload };
  }
}
