/**
 * The joiners waiting with the same query, in the order in which they are served: round-robin by address, then by key, then
 * first come, first served. Adding, removing and selecting a joiner take logarithmic time. Used by the matchmaker.
 */
import type { Asker, Fairness } from './fairness.js';

interface Entry<T> {
  item: T;
  rank: number;
  order: number;
}

/** Maximum number of entries that a heap may hold in addition to twice the number of its live items, before it is compacted. */
const STALE = 32;

/** A binary heap. The rank of an item may grow while it is in the heap; the item then sinks when it reaches the top. */
export class Heap<T> {
  readonly #entries: Entry<T>[] = [];
  #pushed = 0;

  push(item: T, rank: number): void {
    this.#entries.push({ item, rank, order: this.#pushed++ });
    let index = this.#entries.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(index, parent)) break;
      this.#swap(index, parent);
      index = parent;
    }
  }

  /**
   * Returns the item with the lowest rank; among items of equal rank, the item that was pushed first.
   * @param rankOf returns the current rank of an item, or undefined to remove the item
   */
  first(rankOf: (item: T) => number | undefined): T | undefined {
    for (let top = this.#entries[0]; top; top = this.#entries[0]) {
      const rank = rankOf(top.item);
      if (rank !== undefined && rank <= top.rank) return top.item;
      if (rank === undefined) {
        const last = this.#entries.pop()!;
        if (this.#entries.length) this.#entries[0] = last;
      } else top.rank = rank;
      this.#sink();
    }
    return undefined;
  }

  /** Rebuilds the heap with one entry per live item, if most of its entries are stale. */
  compact(wanted: number, shouldKeep: (item: T) => boolean): void {
    if (this.#entries.length <= 2 * wanted + STALE) return;
    const kept = new Map<T, Entry<T>>();
    // a sorted array is a heap
    const entries = this.#entries.splice(0).sort((a, b) => a.rank - b.rank || a.order - b.order);
    for (const entry of entries) if (shouldKeep(entry.item) && !kept.has(entry.item)) kept.set(entry.item, entry);
    this.#entries.push(...kept.values());
  }

  #sink(): void {
    for (let index = 0; ;) {
      const [left, right] = [2 * index + 1, 2 * index + 2];
      let least = index;
      if (left < this.#entries.length && this.#isBefore(left, least)) least = left;
      if (right < this.#entries.length && this.#isBefore(right, least)) least = right;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#entries[a]!, this.#entries[b]!];
    return one.rank < other.rank || (one.rank === other.rank && one.order < other.order);
  }

  #swap(a: number, b: number): void {
    [this.#entries[a], this.#entries[b]] = [this.#entries[b]!, this.#entries[a]!];
  }
}

/** The waiting joiners of one key at one address. */
interface KeyQueue<T> {
  asker: Asker;
  items: Set<T>;
  isHeld: boolean;
}

interface AddressQueue<T> {
  keys: Map<string, KeyQueue<T>>;
  order: Heap<KeyQueue<T>>;
  /** Rank of this address in the heap of addresses; Infinity while the address is not in the heap. */
  rank: number;
}

export class FairQueue<T> {
  readonly #fairness: Fairness;
  readonly #addresses = new Map<string, AddressQueue<T>>();
  readonly #order = new Heap<AddressQueue<T>>();
  #size = 0;

  constructor(fairness: Fairness) {
    this.#fairness = fairness;
  }

  get size(): number {
    return this.#size;
  }

  add(item: T, { publicKey, address }: Asker, now: number): void {
    let place = this.#addresses.get(address);
    if (!place) this.#addresses.set(address, (place = { keys: new Map(), order: new Heap(), rank: Infinity }));
    let queue = place.keys.get(publicKey);
    if (!queue) {
      queue = { asker: { publicKey, address }, items: new Set([item]), isHeld: false };
      place.keys.set(publicKey, queue);
      this.#enter(place, queue, now);
    }
    queue.items.add(item);
    this.#size++;
  }

  delete(item: T, { publicKey, address }: Asker): void {
    const place = this.#addresses.get(address);
    const queue = place?.keys.get(publicKey);
    if (!place || !queue?.items.delete(item)) return;
    this.#size--;
    if (queue.items.size) return;
    place.keys.delete(publicKey);
    place.order.compact(place.keys.size, (each) => each.items.size > 0);
    if (place.keys.size) return;
    this.#addresses.delete(address);
    this.#order.compact(this.#addresses.size, (each) => each.keys.size > 0);
  }

  /** Returns the next joiner that is not on hold, with its rank across all queues. */
  first(now: number): { item: T; asker: Asker; rank: number } | undefined {
    const place = this.#order.first((each) => {
      const rank = this.#rankOfAddress(each, now);
      each.rank = rank ?? Infinity;
      return rank;
    });
    const queue = place && this.#firstKey(place, now);
    if (!place || !queue) return undefined;
    const [item] = queue.items;
    return { item: item!, asker: queue.asker, rank: this.#fairness.rank(queue.asker, queue.asker.address, now) };
  }

  /** Returns all waiting calls of one joiner, in order of arrival. */
  of({ publicKey, address }: Asker): T[] {
    return [...(this.#addresses.get(address)?.keys.get(publicKey)?.items ?? [])];
  }

  /** Skips a joiner until `release` is called for it. */
  hold({ publicKey, address }: Asker): void {
    const queue = this.#addresses.get(address)?.keys.get(publicKey);
    if (queue) queue.isHeld = true;
  }

  release({ publicKey, address }: Asker, now: number): void {
    const place = this.#addresses.get(address);
    const queue = place?.keys.get(publicKey);
    if (!place || !queue?.isHeld) return;
    queue.isHeld = false;
    this.#enter(place, queue, now);
  }

  #enter(place: AddressQueue<T>, queue: KeyQueue<T>, now: number): void {
    place.order.push(queue, this.#fairness.rank(queue.asker, queue.asker.publicKey, now));
    place.order.compact(place.keys.size, (each) => each.items.size > 0);
    const rank = this.#rankOfAddress(place, now);
    // pushing an address again leaves two heap entries for it; the entry with the higher rank is redundant
    if (rank === undefined || place.rank <= rank) return;
    place.rank = rank;
    this.#order.push(place, rank);
    this.#order.compact(this.#addresses.size, (each) => each.keys.size > 0);
  }

  #rankOfKey({ asker, items, isHeld }: KeyQueue<T>, now: number): number | undefined {
    return isHeld || !items.size ? undefined : this.#fairness.rank(asker, asker.publicKey, now);
  }

  #rankOfAddress(place: AddressQueue<T>, now: number): number | undefined {
    const queue = this.#firstKey(place, now);
    return queue && this.#fairness.rank(queue.asker, queue.asker.address, now);
  }

  #firstKey(place: AddressQueue<T>, now: number): KeyQueue<T> | undefined {
    return place.order.first((queue) => this.#rankOfKey(queue, now));
  }
}
