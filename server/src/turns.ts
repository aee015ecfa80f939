/**
 * Shares the event loop between addresses: an address that has spent its points for one turn of the loop waits for the next turn.
 * Otherwise, calls that arrive together would all run before anybody else's.
 */

/** Points that one address may spend in one turn of the event loop. A point takes at most 2 ms, and usually far less than 1 ms. */
export const POINTS_A_TURN = 8;

interface Queue {
  /** Points spent in this turn. */
  spent: number;
  waiting: { points: number; start: () => void }[];
  /** The first entry that has not started: removing entries from the front of an array costs its length. */
  next: number;
}

export class Turns {
  readonly #queues = new Map<string, Queue>();
  #isScheduled = false;

  /**
   * @param points cost of the work; if it exceeds POINTS_A_TURN, the work gets a turn of its own
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
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isScheduled = false;
    for (const [address, queue] of this.#queues) {
      queue.spent = 0;
      while (queue.next < queue.waiting.length && queue.spent < POINTS_A_TURN) {
        const { points, start } = queue.waiting[queue.next++]!;
        queue.spent += points;
        start();
      }
      if (queue.next === queue.waiting.length && queue.spent === 0) this.#queues.delete(address);
      else if (queue.next === queue.waiting.length) [queue.waiting, queue.next] = [[], 0];
    }
    if (this.#queues.size) this.#schedule();
  }
}
