/**
 * Who is served next, and who is served last: remembers which leases were left unanswered, by key and by address, for a
 * minute. One greedy key, or one address that makes up keys, must not close a service to others, and nobody improves its
 * standing by answering offers of its own.
 */

/** Who asks for an offer. */
export interface Asker {
  publicKey: string;
  /** The network address as client-address.ts counts it. */
  address: string;
}

/** Whose offer it is: the key that published it, and the address it was published from, where that is known. */
export interface Publisher {
  publicKey: string;
  address?: string | undefined;
}

/**
 * How a lease ended: by an answer of its holder, without one, or through somebody else (it was withdrawn, or another joiner
 * was faster), which counts neither for its holder nor against it.
 */
export type LeaseEnd = 'answered' | 'unanswered' | 'excused';

/** How long an unanswered lease counts, in ms. */
const MEMORY = 60_000;
const MAX_UNANSWERED = 3;
/** Leases that one key holds at once: a joiner that answers needs each for a moment only, one that does not must not empty a pool. */
export const MAX_LEASES_PER_KEY = 10;
/** What the rank of a joiner that is served last exceeds all others by. */
const LAST = 2 ** 52;

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

  /**
   * The end of a lease. A lease of one's own offer proves nothing: one of the same key does not count at all, one that was
   * published from the same address counts for or against the key alone, as a class and its teacher may share an address.
   */
  ended({ publicKey, address }: Asker, end: LeaseEnd, publisher: Publisher, now: number): void {
    for (const name of [publicKey, address]) {
      const record = this.#record(name);
      record.outstanding--;
      const isOwn = publisher.publicKey === publicKey || (name === address && publisher.address === address);
      if (end !== 'excused' && !isOwn) record[end].push(now);
    }
  }

  /** Whether this asker is served after everyone else. An address counts as bad only if most of its leases went to waste: a class behind one address is not its worst pupil. */
  isLast({ publicKey, address }: Asker, now: number): boolean {
    const key = this.#recent(publicKey, now);
    if (key && key.unanswered.length >= MAX_UNANSWERED) return true;
    const place = this.#recent(address, now);
    return place !== undefined && place.unanswered.length >= MAX_UNANSWERED && place.unanswered.length > place.answered.length;
  }

  /** Nobody holds more than MAX_LEASES_PER_KEY leases; a joiner that is served last holds one at a time. */
  mayLease(asker: Asker, now: number): boolean {
    const held = this.#records.get(asker.publicKey)?.outstanding ?? 0;
    if (held >= MAX_LEASES_PER_KEY) return false;
    if (!this.isLast(asker, now)) return true;
    const isKeyBad = (this.#recent(asker.publicKey, now)?.unanswered.length ?? 0) >= MAX_UNANSWERED;
    return (isKeyBad ? held : (this.#records.get(asker.address)?.outstanding ?? 0)) === 0;
  }

  /** Sorts askers: the well-behaved first, then round-robin by address, then by key. */
  compare(a: Asker, b: Asker, now: number): number {
    return (
      this.rank(a, a.address, now) - this.rank(b, b.address, now) || this.#lastServed(a.publicKey) - this.#lastServed(b.publicKey)
    );
  }

  /**
   * The turn of an asker by when its key or its address was served last; the least comes first. Grows with each lease.
   * @param name the asker's key or address
   */
  rank(asker: Asker, name: string, now: number): number {
    return (this.isLast(asker, now) ? LAST : 0) + this.#lastServed(name);
  }

  /** Forgets askers that have not been seen for a minute. */
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

  #recent(name: string, now: number): Record | undefined {
    const record = this.#records.get(name);
    if (!record) return undefined;
    for (const times of [record.unanswered, record.answered]) {
      const current = times.findIndex((time) => time > now - MEMORY);
      if (current !== 0 && times.length) times.splice(0, current < 0 ? times.length : current);
    }
    return record;
  }

  #record(name: string): Record {
    let record = this.#records.get(name);
    if (!record) this.#records.set(name, (record = { unanswered: [], answered: [], outstanding: 0, lastServed: 0 }));
    return record;
  }
}
