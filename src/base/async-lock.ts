/**
 * A lock for asynchronous sections: one runs at a time, in the order of the calls. Not re-entrant.
 */
export class AsyncLock {
  #tail: Promise<unknown> = Promise.resolve();
  #pending = 0;

  /** Runs `section` after all earlier ones have finished; resolves or rejects like `section`. */
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
