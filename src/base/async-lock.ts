/**
 * A lock for asynchronous sections, which run one at a time in call order. Not re-entrant.
 */
export class AsyncLock {
  #tail: Promise<unknown> = Promise.resolve();
  #pending = 0;

  /** Runs `section` once all earlier sections have settled, and returns its result. */
  run<T>(section: () => T | Promise<T>): Promise<T> {
    this.#pending++;
    const result = this.#tail.then(section);
    this.#tail = result
      .catch(() => undefined)
      .then(() => {
        this.#pending--;
      });
    return result;
  }

  isLocked(): boolean {
    return this.#pending > 0;
  }
}
