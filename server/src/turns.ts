/**
 * Shares the event loop between addresses: an address that has spent its points for one turn of the loop waits for the end of that
 * turn, when the addresses that wait are served in rounds, for a bounded time. Otherwise, calls that arrive together would all run
 * before anybody else's.
 */

/**
 * Points that one address may spend as its calls arrive in one turn of the event loop, and then in each round. A point takes at most
 * 2 ms, and usually far less than 1 ms.
 */
export const POINTS_A_TURN = 8;
/** Time after which no further round begins in one turn of the event loop, in ms. Calls of one turn share a write to the disk. */
export const ROUNDS_FOR = 10;

interface Queue {
  /** Points spent in this turn or round. */
  spent: number;
  waiting: { points: number; start: () => void }[];
  /** The first entry that has not started: removing entries from the front of an array costs its length. */
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
   * @param points cost of the work; if it exceeds POINTS_A_TURN, the work gets a round of its own
   * @returns undefined when the work may begin now, else a promise that resolves when it may
   */
  take(address: string, points: number): Promise<void> | undefined {
    let queue = this.#queues.get(address);
    if (!queue) this.#queues.set(address, (queue = { spent: 0, waiting: [], next: 0 }));
    this.#schedule();
    if (queue.next === queue.waiting.length && queue.spent < POINTS_A_TURN) {
      queue.spent += points;
      return undefined;
    }
    return new Promise((start) => queue.waiting.push({ points, start }));
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#rounds(this.#clock() + ROUNDS_FOR));
  }

  #rounds(end: number): void {
    let waits = false;
    for (const [address, queue] of this.#queues) {
      queue.spent = 0;
      while (queue.next < queue.waiting.length && queue.spent < POINTS_A_TURN) {
        const { points, start } = queue.waiting[queue.next++]!;
        queue.spent += points;
        start();
      }
      if (queue.next < queue.waiting.length) waits = true;
      else if (queue.spent === 0) this.#queues.delete(address);
      else [queue.waiting, queue.next] = [[], 0];
    }
    // once the calls that began in this round have run as far as they can
    if (waits) queueMicrotask(() => process.nextTick(() => (this.#clock() < end ? this.#rounds(end) : this.#again())));
    else this.#again();
  }

  #again(): void {
    this.#isScheduled = false;
    if (this.#queues.size) this.#schedule();
  }
}
