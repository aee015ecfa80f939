/**
 * StallWatch: finds a link that shows life and carries nothing on. What a link loses is found by the message after it; what it loses at
 * its end has none, and would be waited for for ever. docs/delivery.md.
 */

/** How often it is looked, in ms: a link is left after one to two of these. Twice as seldom after each in a row, up to the last. */
const LOOK_EVERY = 30_000;
const LOOK_AT_LEAST_EVERY = 240_000;
/** A look that is this late was not late: the page was frozen, or the machine slept, and what came meanwhile waits behind it. In ms. */
const ASLEEP = 1500;

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
  #due = 0;
  /** The other side acknowledged since the last look, be it what it had acknowledged before. */
  #heard = false;
  /** As it was at the last look. */
  #last: Waiting | undefined;

  /** @param waiting undefined when all that the link was given is acknowledged */
  constructor(waiting: () => Waiting | undefined, onStall: (reason: string) => void) {
    this.#waiting = waiting;
    this.#onStall = onStall;
  }

  /** There is something to wait for, or may be. */
  start(): void {
    if (!this.#timer) this.#arm();
  }

  /** An acknowledgement came; one that is not new says that the other side is at it. */
  heard(): void {
    this.#heard = true;
  }

  /** Something arrived. */
  arrived(): void {
    this.#heard = true;
    this.#every = LOOK_EVERY;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#last = undefined;
  }

  #arm(): void {
    this.#due = performance.now() + this.#every;
    this.#timer = setTimeout(() => this.#look(), this.#every);
  }

  #look(): void {
    this.#timer = undefined;
    const last = this.#last;
    const now = this.#waiting();
    const excused = this.#heard || performance.now() > this.#due + ASLEEP;
    this.#last = now;
    this.#heard = false;
    if (!now) return;
    if (excused || !now.isAlive || now.left !== last?.left) return this.#arm();
    const reason = `nothing was acknowledged for ${this.#every / 1000} s`;
    this.#every = Math.min(this.#every * 2, LOOK_AT_LEAST_EVERY);
    this.#onStall(reason);
  }
}
