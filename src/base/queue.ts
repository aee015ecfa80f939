/**
 * A FIFO queue that removes items from the front in amortized constant time. `Array.prototype.shift` may move all remaining
 * items, which is slow for long arrays.
 */

/** Minimum number of removed items for compaction; they must also make up more than half of the array. */
const COMPACT_FROM = 1024;

export class Queue<T> {
  #items: (T | undefined)[] = [];
  /** Index of the first item in the array. */
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  at(index: number): T | undefined {
    return this.#items[this.#first + index];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Adds an item to the front. */
  unshift(item: T): void {
    if (this.#first) this.#items[--this.#first] = item;
    else this.#items.unshift(item);
  }

  /** Replaces the first item; the queue must not be empty. */
  replaceFirst(item: T): void {
    this.#items[this.#first] = item;
  }

  /** Removes and returns the first item. */
  shift(): T | undefined {
    return this.take(1)[0];
  }

  /** Removes and returns the first `count` items; by default, all items. */
  take(count = this.length): T[] {
    const end = this.#first + Math.min(count, this.length);
    const taken = this.#items.slice(this.#first, end) as T[];
    this.#items.fill(undefined, this.#first, end);
    this.#first = end;
    if (end === this.#items.length) [this.#items, this.#first] = [[], 0];
    else if (end >= COMPACT_FROM && end * 2 > this.#items.length) [this.#items, this.#first] = [this.#items.slice(end), 0];
    return taken;
  }
}
