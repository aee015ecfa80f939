/**
 * Shares the event loop between addresses. An address that has spent its points for one turn of the loop is queued. At the end
 * of the turn, queued addresses are served in rounds, until MAX_ROUNDS or ROUNDS_TIME_LIMIT is reached. Without rounds, all
 * calls that arrive together from one address would run before the calls of any other address.
 */

/**
 * Maximum number of points that one address may spend on arriving calls in one turn of the event loop, and again in each round.
 * Work that costs one point takes at most 2 ms, and usually far less than 1 ms.
 */
export const POINTS_PER_TURN = 8;
/**
 * Time, in ms, after which no further round begins in the same turn of the event loop. The calls of one turn share one disk
 * write.
 */
export const ROUNDS_TIME_LIMIT = 20;
/**
 * Maximum number of rounds in one turn of the event loop: ROUNDS_TIME_LIMIT does not cover the work that calls do after waiting
 * for the storage.
 */
export const MAX_ROUNDS = 16;
/** Number of started entries above which a queue is compacted if they make up more than half of it. */
const COMPACT_FROM = 1024;

interface Queue {
  /** Points spent in the current turn or round. */
  spent: number;
  waiting: { points: number; start: () => void }[];
  /**
   * Index of the first entry that has not started: removing entries from the front of an array takes time in proportion to its
   * length.
   */
  next: number;
}

export class Turns {
  readonly #queues = new Map<string, Queue>();
  readonly #clock: () => number;
  #isScheduled = false;

  /** @param clock a monotonic clock, in ms */
  constructor(clock = (): number => performance.now()) {
    this.#clock = clock;
  }

  /**
   * @param points cost of the work; work that exceeds the remaining points still starts, as the last work of its address in
   *   that round
   * @returns undefined if the work may start now, otherwise a promise that resolves when it may start
   */
  take(address: string, points: number): Promise<void> | undefined {
    let queue = this.#queues.get(address);
    if (!queue) this.#queues.set(address, (queue = { spent: 0, waiting: [], next: 0 }));
    this.#schedule();
    if (queue.next === queue.waiting.length && queue.spent < POINTS_PER_TURN) {
      queue.spent += points;
      return undefined;
    }
    return new Promise((start) => queue.waiting.push({ points, start }));
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#round(1, this.#clock() + ROUNDS_TIME_LIMIT));
  }

  #round(number: number, end: number): void {
    let isWaiting = false;
    for (const [address, queue] of this.#queues) {
      queue.spent = 0;
      while (queue.next < queue.waiting.length && queue.spent < POINTS_PER_TURN) {
        const { points, start } = queue.waiting[queue.next++]!;
        queue.spent += points;
        start();
      }
      if (queue.next < queue.waiting.length) {
        isWaiting = true;
        if (queue.next > COMPACT_FROM && queue.next * 2 > queue.waiting.length)
          [queue.waiting, queue.next] = [queue.waiting.slice(queue.next), 0];
      } else if (queue.spent === 0) this.#queues.delete(address);
      else [queue.waiting, queue.next] = [[], 0];
    }
    if (!isWaiting || number === MAX_ROUNDS) return this.#reschedule();
    // the next round begins when the calls of this round have run up to their first wait for I/O
    queueMicrotask(() => process.nextTick(() => (this.#clock() < end ? this.#round(number + 1, end) : this.#reschedule())));
  }

  #reschedule(): void {
    this.#isScheduled = false;
    if (this.#queues.size) this.#schedule();
  }
}
