/** Limits the number of concurrent tasks that need a lot of memory, per address and in total. Addresses take turns. */

/** Maximum number of service pages and poll results assembled concurrently per address; each needs a few megabytes at most. */
export const LARGE_CALLS_PER_ADDRESS = 4;
/** Maximum number of service pages and poll results assembled concurrently in total. */
export const LARGE_CALLS = 16;

interface Queue {
  running: number;
  waiting: Set<() => void>;
}

export class Slots {
  readonly #perName: number;
  readonly #total: number;
  readonly #queues = new Map<string, Queue>();
  /** Names that have waiting work and a free slot, in the order of their turns. */
  readonly #next = new Set<string>();
  #running = 0;

  constructor(perName: number, total: number) {
    this.#perName = perName;
    this.#total = total;
  }

  /** Runs `work` when a slot is free; `hasWaited` is true if the work was queued. */
  async run<T>(name: string, work: (hasWaited: boolean) => Promise<T>): Promise<T> {
    let queue = this.#queues.get(name);
    if (!queue) this.#queues.set(name, (queue = { running: 0, waiting: new Set() }));
    const isQueued = queue.waiting.size > 0 || queue.running >= this.#perName || this.#running >= this.#total;
    if (isQueued) {
      await new Promise<void>((start) => {
        queue.waiting.add(start);
        if (queue.running < this.#perName) this.#next.add(name);
      });
    } else this.#begin(queue);
    try {
      return await work(isQueued);
    } finally {
      queue.running--;
      this.#running--;
      if (queue.waiting.size) this.#next.add(name);
      else if (!queue.running) this.#queues.delete(name);
      this.#startNext();
    }
  }

  #begin(queue: Queue): void {
    queue.running++;
    this.#running++;
  }

  #startNext(): void {
    for (const name of this.#next) {
      if (this.#running >= this.#total) return;
      const queue = this.#queues.get(name)!;
      const [start] = queue.waiting;
      // a name with more waiting work goes to the end of the queue
      this.#next.delete(name);
      queue.waiting.delete(start!);
      this.#begin(queue);
      if (queue.waiting.size && queue.running < this.#perName) this.#next.add(name);
      start!();
    }
  }
}
