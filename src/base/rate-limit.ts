/** A token bucket: bounds how often something may happen, whoever asks for it. Measured on the monotonic clock. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #at = performance.now();

  /** @param burst how often at once, after a while without any */
  constructor(burst: number, perSecond: number) {
    this.#burst = this.#tokens = burst;
    this.#perSecond = perSecond;
  }

  /** Whether it may happen now; counts it if so. */
  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
