/** How many of something each name has, up to a limit: open sockets of a key or an address. */
export class Tally {
  readonly #counts = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** @returns undefined when the name has as many as it may, else how to give the place back; idempotent */
  take(name: string): (() => void) | undefined {
    const count = this.#counts.get(name) ?? 0;
    if (count >= this.#max) return undefined;
    this.#counts.set(name, count + 1);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const left = this.#counts.get(name)! - 1;
      if (left) this.#counts.set(name, left);
      else this.#counts.delete(name);
    };
  }
}
