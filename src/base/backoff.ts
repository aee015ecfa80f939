/**
 * Exponential backoff with jitter. Pure except for Math.random.
 */
import { invalidValue } from '../errors.js';

export interface BackoffOptions {
  /** First delay in ms. Default 1000. */
  base?: number;
  /** Maximum delay in ms, before jitter. Default 30 000. */
  max?: number;
  /** Maximum jitter as a fraction of the delay, in either direction, 0 to 1. Default 0.1. */
  jitter?: number;
}

/** Exponential backoff: the n-th delay is `min(base · 2ⁿ, max) · (1 ± jitter)`, with n counted from 0. */
export class ExponentialBackoff {
  readonly base: number;
  readonly max: number;
  readonly jitter: number;
  #attempt = 0;

  /** @throws ValidationError if an option is negative or not a number, or if the jitter exceeds 1 */
  constructor({ base = 1000, max = 30_000, jitter = 0.1 }: BackoffOptions = {}) {
    for (const [name, value] of Object.entries({ base, max, jitter })) {
      if (!(value >= 0)) throw invalidValue(`backoff ${name}`, 'a number of 0 or more', value);
    }
    if (jitter > 1) throw invalidValue('backoff jitter', '0 to 1', jitter);
    this.base = base;
    this.max = max;
    this.jitter = jitter;
  }

  /** Number of delays returned by `next()` since the last reset. */
  getAttempt(): number {
    return this.#attempt;
  }

  /** Returns the next delay in ms, without jitter and without counting an attempt. */
  peek(): number {
    return Math.min(this.base * 2 ** this.#attempt, this.max);
  }

  /** Returns the next delay in ms and counts an attempt. */
  next(): number {
    const plain = this.peek();
    this.#attempt++;
    return Math.round(plain * (1 + this.jitter * (2 * Math.random() - 1)));
  }

  reset(): void {
    this.#attempt = 0;
  }
}
