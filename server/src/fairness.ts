/**
 * Decides the order in which joiners are served. Remembers for a minute, by key and by address, which leases were left
 * unanswered. A greedy key, or an address that generates many keys, must not block a service for others, and nobody may improve
 * their rank by answering their own offers.
 */

/** A joiner that asks for an offer. */
export interface Asker {
  publicKey: string;
  /** Network address in the form used by client-address.ts. */
  address: string;
}

/** Public key of the publisher of an offer, and the address from which the offer was published, if known. */
export interface Publisher {
  publicKey: string;
  address?: string | undefined;
}

/**
 * How a lease ended: with an answer from its holder, without an answer, or through no fault of the holder (the offer was
 * withdrawn, or another joiner was faster). An excused lease counts neither for nor against its holder.
 */
export type LeaseEnd = 'answered' | 'unanswered' | 'excused';

/** How long an ended lease counts for or against its holder, in ms. */
const RECORD_TTL = 60_000;
const MAX_UNANSWERED = 3;
/**
 * Maximum number of leases that one key may hold at a time. A joiner that answers needs each lease only briefly; a joiner that
 * never answers must not exhaust an offer pool.
 */
export const MAX_LEASES_PER_KEY = 10;
/** Added to the rank of joiners that are served last; larger than any other rank. */
const LAST_RANK = 2 ** 52;

interface Record {
  /** Times at which leases ended without an answer. */
  unanswered: number[];
  /** Times at which leases ended with an answer. */
  answered: number[];
  outstanding: number;
  lastServed: number;
}

export class Fairness {
  readonly #records = new Map<string, Record>();
  #served = 0;

  startLease({ publicKey, address }: Asker): void {
    this.#served++;
    for (const name of [publicKey, address]) {
      const record = this.#record(name);
      record.outstanding++;
      record.lastServed = this.#served;
    }
  }

  /**
   * Counts a lease that is being acquired, so that concurrent calls take it into account. Call `release` once for each call to
   * `reserve`.
   */
  reserve(asker: Asker): void {
    this.#count(asker, 1);
  }

  release(asker: Asker): void {
    this.#count(asker, -1);
  }

  /**
   * Records the end of a lease. A lease does not count if its holder and the publisher have the same key, because answering
   * one's own offer proves nothing. If the holder and the publisher share only an address, as a school class and its teacher
   * may, the lease counts for the key but not for the address.
   */
  endLease({ publicKey, address }: Asker, end: LeaseEnd, publisher: Publisher, now: number): void {
    for (const name of [publicKey, address]) {
      const record = this.#record(name);
      record.outstanding--;
      const isOwn = publisher.publicKey === publicKey || (name === address && publisher.address === address);
      if (end !== 'excused' && !isOwn) record[end].push(now);
    }
  }

  /**
   * Whether this joiner is served after all other joiners. An address is penalized only if most of its leases went unanswered,
   * because many users, such as a school class, may share an address.
   */
  isLast({ publicKey, address }: Asker, now: number): boolean {
    const key = this.#recent(publicKey, now);
    if (key && key.unanswered.length >= MAX_UNANSWERED) return true;
    const place = this.#recent(address, now);
    return place !== undefined && place.unanswered.length >= MAX_UNANSWERED && place.unanswered.length > place.answered.length;
  }

  /**
   * Whether the joiner may hold one more lease: at most MAX_LEASES_PER_KEY at a time, or only one if the joiner is served last.
   */
  mayLease(asker: Asker, now: number): boolean {
    const held = this.#records.get(asker.publicKey)?.outstanding ?? 0;
    if (held >= MAX_LEASES_PER_KEY) return false;
    if (!this.isLast(asker, now)) return true;
    const isKeyPenalized = (this.#recent(asker.publicKey, now)?.unanswered.length ?? 0) >= MAX_UNANSWERED;
    return (isKeyPenalized ? held : (this.#records.get(asker.address)?.outstanding ?? 0)) === 0;
  }

  /** Compares joiners for sorting: well-behaved joiners first, then round-robin by address, then by key. */
  compare(a: Asker, b: Asker, now: number): number {
    return (
      this.rank(a, a.address, now) - this.rank(b, b.address, now) || this.#lastServed(a.publicKey) - this.#lastServed(b.publicKey)
    );
  }

  /**
   * Rank of a joiner, based on when its key or address was last served; the lowest rank is served first. Grows with each lease.
   * @param name the joiner's public key or address
   */
  rank(asker: Asker, name: string, now: number): number {
    return (this.isLast(asker, now) ? LAST_RANK : 0) + this.#lastServed(name);
  }

  /** Deletes the records of joiners that have neither an open lease nor a lease that still counts. */
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
      const current = times.findIndex((time) => time > now - RECORD_TTL);
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
