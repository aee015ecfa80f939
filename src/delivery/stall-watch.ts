/**
 * StallWatch: finds a link that is alive but makes no progress. A lost message is detected by the next message; if the last
 * message is lost, none follows, and its acknowledgement would be awaited without a limit. docs/delivery.md.
 */

/** Check interval in ms: a link is given up after one to two intervals. Doubles with each stall in a row, up to the maximum. */
const CHECK_INTERVAL = 30_000;
const MAX_CHECK_INTERVAL = 240_000;
/**
 * Delay of a check, in ms, above which the page was frozen or the machine asleep: received data may be queued behind the timer.
 */
const SLEEP_THRESHOLD = 1500;

/** State of a link with unacknowledged messages. */
export interface Waiting {
  /** Whether the peer is alive; the heartbeat handles its silence. */
  isAlive: boolean;
  /** Bytes in the send buffer. */
  left: number;
}

export class StallWatch {
  readonly #waiting: () => Waiting | undefined;
  readonly #onStall: (reason: string) => void;
  #interval = CHECK_INTERVAL;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = 0;
  /** An acknowledgement arrived since the last check, even if it repeats an earlier one. */
  #received = false;
  /** State at the last check. */
  #last: Waiting | undefined;

  /** @param waiting returns undefined if everything that was handed to the link is acknowledged */
  constructor(waiting: () => Waiting | undefined, onStall: (reason: string) => void) {
    this.#waiting = waiting;
    this.#onStall = onStall;
  }

  /** Starts the checks: there may be unacknowledged messages. */
  start(): void {
    if (!this.#timer) this.#arm();
  }

  /** An acknowledgement arrived; even a repeated one shows that the peer is receiving. */
  received(): void {
    this.#received = true;
  }

  /** A message was newly acknowledged. */
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
