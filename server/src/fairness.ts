/**
 * Who is served next, and who is served last: remembers which leases were left unanswered, by key and by address, for a
 * minute. One greedy key, or one address that makes up keys, must not close a service to others.
 */

/** Who asks for an offer. */
export interface Asker {
  publicKey: string;
  address: string;
}

const MEMORY = 60_000;
const MAX_UNANSWERED = 3;
/** Leases of one key at once: whoever answers needs each for a moment only, and who does not must not empty a pool. */
const MAX_HELD = 10;

interface Record {
  /** Times at which a lease ended without an answer. */
  unanswered: number[];
  /** Times at which a lease was answered. */
  answered: number[];
  outstanding: number;
  lastServed: number;
}

export class Fairness {
  readonly #records = new Map<string, Record>();
  #served = 0;

  leased({ publicKey, address }: Asker): void {
    this.#served++;
    for (const name of [publicKey, address]) {
      const record = this.#record(name);
      record.outstanding++;
      record.lastServed = this.#served;
    }
  }

  /** Counts a lease that is being looked for, so that calls at the same time see each other. Each needs its release. */
  reserve(asker: Asker): void {
    this.#count(asker, 1);
  }

  release(asker: Asker): void {
    this.#count(asker, -1);
  }

  /** The end of a lease: by an answer, by time, or (undefined) because the offer was withdrawn. */
  ended({ publicKey, address }: Asker, answered: boolean | undefined, now: number): void {
    for (const name of [publicKey, address]) {
      const record = this.#record(name);
      record.outstanding--;
      if (answered !== undefined) (answered ? record.answered : record.unanswered).push(now);
    }
  }

  /** Whether this asker is served after everyone else. An address counts as bad only if most of its leases went to waste: a class behind one address is not its worst pupil. */
  isLast({ publicKey, address }: Asker, now: number): boolean {
    const [key, place] = [this.#recent(publicKey, now), this.#recent(address, now)];
    return (
      key.unanswered.length >= MAX_UNANSWERED ||
      (place.unanswered.length >= MAX_UNANSWERED && place.unanswered.length > place.answered.length)
    );
  }

  /** Nobody holds more than MAX_HELD leases; who is served last holds one at a time. */
  mayLease(asker: Asker, now: number): boolean {
    if (this.#record(asker.publicKey).outstanding >= MAX_HELD) return false;
    if (!this.isLast(asker, now)) return true;
    const held = this.#recent(asker.publicKey, now).unanswered.length >= MAX_UNANSWERED ? asker.publicKey : asker.address;
    return this.#record(held).outstanding === 0;
  }

  /** Sorts askers: the well-behaved first, then round-robin by address, then by key. */
  compare(a: Asker, b: Asker, now: number): number {
    return (
      Number(this.isLast(a, now)) - Number(this.isLast(b, now)) ||
      this.#lastServed(a.address) - this.#lastServed(b.address) ||
      this.#lastServed(a.publicKey) - this.#lastServed(b.publicKey)
    );
  }

  /** Forgets who has not been seen for a minute. */
  sweep(now: number): void {
    for (const [name, record] of this.#records) {
      this.#recent(name, now);
      if (!record.outstanding && !record.unanswered.length && !record.answered.length) this.#records.delete(name);
    }
  }

  #count({ publicKey, address }: Asker, by: 1 | -1): void {
    for (const name of [publicKey, address]) this.#record(name).outstanding += by;
  }

  #lastServed(name: string): number {
    return this.#records.get(name)?.lastServed ?? 0;
  }

  #recent(name: string, now: number): Record {
    const record = this.#record(name);
    while (record.unanswered[0]! <= now - MEMORY) record.unanswered.shift();
    while (record.answered[0]! <= now - MEMORY) record.answered.shift();
    return record;
  }

  #record(name: string): Record {
    let record = this.#records.get(name);
    if (!record) this.#records.set(name, (record = { unanswered: [], answered: [], outstanding: 0, lastServed: 0 }));
    return record;
  }
}
