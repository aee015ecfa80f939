/**
 * Shares the event loop between addresses: an address that has spent its points of one turn of the loop waits for the next turn.
 * Calls that arrive together would otherwise run one after the other, and everybody else would wait for all of them.
 */

/** Points of one address in one turn of the event loop. A point costs 2 ms at the most, and well below 1 ms as a rule. */
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
   * @param points what the work costs; more than a turn has is done in a turn of its own
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
