/** Counts the resources in use by name, up to a limit: for example, open sockets per key or address, or bytes of requests. */
export class Tally {
  readonly #counts = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** @returns undefined if the name would exceed its limit, otherwise an idempotent function that releases the amount */
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
