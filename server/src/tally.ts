/** Counts the resources that each name holds, up to a limit: open sockets of a key or an address, bytes of requests. */
export class Tally {
  readonly #counts = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** @returns undefined if the name would exceed its limit, else an idempotent function that releases the amount */
  take(name: string, amount = 1): (() => void) | undefined {
    const count = this.#counts.get(name) ?? 0;
    if (count + amount > this.#max) return undefined;
    this.#counts.set(name, count + amount);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const left = this.#counts.get(name)! - amount;
      if (left) this.#counts.set(name, left);
      else this.#counts.delete(name);
    };
  }
}
