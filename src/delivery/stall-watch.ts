/**
 * StallWatch: finds a link that is alive but makes no progress. The loss of a message is detected when the next message
 * arrives; without this class, the acknowledgement of a lost last message would be awaited indefinitely. See docs/delivery.md.
 */

/**
 * Check interval, in ms: a stalled link is abandoned after one to two intervals. The interval doubles with each consecutive
 * stall, up to the maximum.
 */
const CHECK_INTERVAL = 30_000;
const MAX_CHECK_INTERVAL = 240_000;
/**
 * Timer delay, in ms, above which the page must have been frozen or the machine asleep, so that received data may still be
 * queued behind the timer.
 */
const SLEEP_THRESHOLD = 1500;

/** State of a link with unacknowledged messages. */
export interface Waiting {
  /** Whether the link is alive; the heartbeat handles a silent link. */
  isAlive: boolean;
  /** Number of bytes in the send buffer. */
  left: number;
}

export class StallWatch {
  readonly #waiting: () => Waiting | undefined;
  readonly #onStall: (reason: string) => void;
  #interval = CHECK_INTERVAL;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = 0;
  /** Whether an acknowledgement, new or repeated, has arrived since the last check. */
  #received = false;
  /** State of the link at the last check. */
  #last: Waiting | undefined;

  /** @param waiting returns the state of the link; undefined if all messages handed to the link are acknowledged */
  constructor(waiting: () => Waiting | undefined, onStall: (reason: string) => void) {
    this.#waiting = waiting;
    this.#onStall = onStall;
  }

  /** Starts the checks, because there may be unacknowledged messages. */
  start(): void {
    if (!this.#timer) this.#arm();
  }

  /** Records an acknowledgement; even a repeated acknowledgement shows that the peer is receiving. */
  received(): void {
    this.#received = true;
  }

  /** Records that a message was newly acknowledged. */
  arrived(): void {
    this.#received = true;
    this.#interval = CHECK_INTERVAL;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#last = undefined;
  }

  #arm(): void {
    this.#due = performance.now() + this.#interval;
    this.#timer = setTimeout(() => this.#check(), this.#interval);
  }

  #check(): void {
    this.#timer = undefined;
    const last = this.#last;
    const now = this.#waiting();
    const isExcused = this.#received || performance.now() > this.#due + SLEEP_THRESHOLD;
    this.#last = now;
    this.#received = false;
    if (!now) return;
    if (isExcused || !now.isAlive || now.left !== last?.left) return this.#arm();
    const reason = `nothing was acknowledged for ${this.#interval / 1000} s`;
    this.#interval = Math.min(this.#interval * 2, MAX_CHECK_INTERVAL);
    this.#onStall(reason);
  }
}
