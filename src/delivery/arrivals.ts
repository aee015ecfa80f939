/**
 * Ordered messages that arrived before they could be delivered; their total size is limited so that a peer cannot exhaust the
 * memory.
 */

import { Allowance } from './allowance.js';

/** Maximum total size of the messages held for a listener, in bytes as computed by `sizeOf`. */
export const MAX_ARRIVALS = 1_048_576;
/** Number of bytes counted per message in addition to its content, because empty messages need memory too. */
const OVERHEAD = 64;

const sizeOf = (data: string | ArrayBuffer): number => (typeof data === 'string' ? data.length * 2 : data.byteLength) + OVERHEAD;

export class Arrivals {
  #messages: (string | ArrayBuffer)[] = [];
  #bytes = 0;
  readonly #allowance: Allowance;

  /** @param allowance memory allowance that other instances may share; not shared by default */
  constructor(allowance = new Allowance(MAX_ARRIVALS)) {
    this.#allowance = allowance;
  }

  get count(): number {
    return this.#messages.length;
  }

  /** Adds a message. @returns false, without adding the message, if there is no room */
  add(data: string | ArrayBuffer): boolean {
    const size = sizeOf(data);
    if (this.#bytes + size > MAX_ARRIVALS || !this.#allowance.take(size)) return false;
    this.#bytes += size;
    this.#messages.push(data);
    return true;
  }

  /** Removes and returns the oldest message. */
  take(): string | ArrayBuffer | undefined {
    const data = this.#messages.shift();
    if (data !== undefined) this.#free(sizeOf(data));
    return data;
  }

  /** Removes the newest `count` messages. */
  forget(count: number): void {
    for (const data of count ? this.#messages.splice(-count) : []) this.#free(sizeOf(data));
  }

  /** Removes and returns all messages, oldest first. */
  takeAll(): (string | ArrayBuffer)[] {
    this.#free(this.#bytes);
    return this.#messages.splice(0);
  }

  #free(bytes: number): void {
    this.#bytes -= bytes;
    this.#allowance.giveBack(bytes);
  }
}
