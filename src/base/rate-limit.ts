/** A token bucket: limits how often something may happen, for all callers together. Uses the monotonic clock. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #at = performance.now();

  /** @param burst maximum number at once, when the bucket is full */
  constructor(burst: number, perSecond: number) {
    this.#burst = this.#tokens = burst;
    this.#perSecond = perSecond;
  }

  /** Takes a token if there is one. Returns whether the action may happen now. */
  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
