/**
 * StallWatch: finds a link that shows life and carries nothing on. What a link loses is found by the message after it; what it loses at
 * its end has none, and would be waited for for ever. docs/delivery.md.
 */

/** How often it is looked, in ms; twice as seldom after each link in a row that is given up. */
const LOOK_EVERY = 15_000;

/** What is waited for on a link. */
export interface Waiting {
  /** The other side shows life; its silence is found elsewhere. */
  isAlive: boolean;
  /** Bytes that have not left yet. */
  left: number;
}

export class StallWatch {
  readonly #waiting: () => Waiting | undefined;
  readonly #onStall: (reason: string) => void;
  #every = LOOK_EVERY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Something was handed to the link or acknowledged since the last look. */
  #moved = false;
  /** As it was at the last look. */
  #left = 0;

  /** @param waiting undefined when all that the link was given is acknowledged */
  constructor(waiting: () => Waiting | undefined, onStall: (reason: string) => void) {
    this.#waiting = waiting;
    this.#onStall = onStall;
  }

  /** Something was handed to the link, or may be under way on it. */
  handed(): void {
    this.#moved = true;
    this.#timer ??= setTimeout(() => this.#look(), this.#every);
  }

  /** Something arrived. */
  acknowledged(): void {
    this.#moved = true;
    this.#every = LOOK_EVERY;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer = undefined;
    const waiting = this.#waiting();
    if (!waiting) return;
    const moved = this.#moved || waiting.left !== this.#left || !waiting.isAlive;
    this.#left = waiting.left;
    this.#moved = false;
    if (moved) {
      this.#timer = setTimeout(() => this.#look(), this.#every);
      return;
    }
    const reason = `nothing was acknowledged for ${this.#every / 1000} s`;
    this.#every *= 2;
    this.#onStall(reason);
  }
}
