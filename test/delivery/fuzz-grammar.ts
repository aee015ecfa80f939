/**
 * Generates input that a hostile peer may send on a message or control channel: mutated valid frames and control messages, and
 * random noise.
 */
import type { Random } from '../support/random.js';

/** Operations that a hostile peer performs on a link. */
export interface RawLink {
  send(data: string | ArrayBuffer): void;
  control(text: string): void;
}

/**
 * Sends one hostile input, on the message channel or the control channel.
 * @param due next sequence number that the peer expects
 */
export function sendHostile(link: RawLink, random: Random, grammar: Grammar, due: number): void {
  const kind = random.next();
  if (kind < 0.6) link.send(grammar.frame(due));
  else if (kind < 0.75) link.send(grammar.text());
  else link.control(grammar.control());
}

export class Grammar {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  #one<T>(...items: T[]): T {
    return items[this.#random.between(0, items.length - 1)]!;
  }

  #number(): number {
    const next = this.#random;
    return this.#one(
      0,
      1,
      1,
      1,
      2,
      3,
      next.between(0, 300),
      next.between(0, 2 ** 26),
      2 ** 31,
      2 ** 32,
      2 ** 53 - 1,
      2 ** 53,
      2 ** 60,
    );
  }

  #leb(value: number): number[] {
    const bytes: number[] = [];
    for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
    // sometimes longer than necessary
    return this.#random.next() < 0.02 ? [...bytes, value | 128, 0] : [...bytes, value];
  }

  #record(due: number): number[] {
    const head = this.#one(7, 7, 6, 2, 0, 4, 1, 3, 5, this.#random.between(0, 255));
    const number = this.#random.next() < 0.7 ? due : this.#number();
    const payload = Array.from({ length: this.#random.between(0, 12) }, () => this.#random.between(0, 255));
    const length = this.#random.next() < 0.9 ? payload.length : this.#number();
    const total = (head & 2) > 0 && (head & 4) === 0 ? this.#leb(this.#one(length + 1, length, this.#number())) : [];
    return [head, ...this.#leb(number), ...total, ...this.#leb(length), ...payload];
  }

  /** @param due next sequence number that the peer expects */
  frame(due: number): ArrayBuffer {
    const records = Array.from({ length: this.#random.between(1, 6) }, (_, i) =>
      this.#record(due + (this.#random.next() < 0.8 ? i : 0)),
    );
    const bytes = Uint8Array.from(records.flat());
    for (let i = this.#one(0, 0, 0, 1, 3); i > 0 && bytes.length; i--)
      bytes[this.#random.between(0, bytes.length - 1)] = this.#random.between(0, 255);
    return bytes.slice(0, this.#random.next() < 0.9 ? bytes.length : this.#random.between(0, bytes.length)).buffer;
  }

  #value(depth = 0): unknown {
    return this.#one<() => unknown>(
      () => this.#number(),
      () => -1.5,
      () => null,
      () => true,
      () => 'sid',
      () => 'x'.repeat(this.#random.between(0, 400)),
      () => (depth > 3 ? [] : [this.#value(depth + 1)]),
      () => (depth > 3 ? {} : Object.fromEntries([[this.#key(), this.#value(depth + 1)]])),
    )();
  }

  #key(): string {
    return this.#one('hello', 'fin', 'sid', 'inst', 'known', 'next', 'label', 'id', '__proto__', 'constructor', 'toJSON');
  }

  #json(): string {
    const text = JSON.stringify(
      Object.fromEntries(Array.from({ length: this.#random.between(0, 4) }, () => [this.#key(), this.#value()])),
    );
    return this.#random.next() < 0.9 ? text : text.slice(0, this.#random.between(0, text.length));
  }

  text(): string {
    const hello = {
      sid: this.#one('sid', 'sid', 'other'),
      inst: this.#one<string | number>('a', 'b', 5),
      known: this.#one<string | null>(null, 'x'),
      next: this.#number(),
    };
    return this.#one<() => string>(
      () => JSON.stringify({ hello }),
      () => JSON.stringify({ fin: this.#value() }),
      () => this.#json(),
      () => `{"__proto__":${this.#json()}}`,
      () => '['.repeat(this.#random.between(1, 3000)),
      () => '',
    )();
  }

  control(): string {
    return this.#one<() => string>(
      () => `ack ${this.#number()}`,
      () => `ack ${'9'.repeat(this.#random.between(1, 30))}`,
      () => 'finack',
      () => 'ack',
      () => this.#json(),
      () => `${this.#one('open', 'opened', 'shut', 'ch', 'sdp')} ${this.#json()}`,
    )();
  }
}
