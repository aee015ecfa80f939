/** A token bucket that limits the rate of an action across all callers. Uses the monotonic clock. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #at = performance.now();

  /** @param burst capacity of the bucket: maximum number of actions in a burst */
  constructor(burst: number, perSecond: number) {
    this.#burst = this.#tokens = burst;
    this.#perSecond = perSecond;
  }

  /** Takes a token if one is available. Returns whether the action is allowed now. */
  take(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
