/**
 * The time by which claims end. A clock that jumps, because it was set wrong for a moment or was wrong when the process started,
 * would give names away and delete them for good: a jump is believed only after it has lasted.
 */
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** How far the clock may jump without being doubted, in ms. */
const MAX_JUMP = DAY;
/** How long the server may have been away without its clock being doubted at the start, in ms. */
const MAX_AWAY = 30 * DAY;
/** How long a doubted clock must stay as it is to be believed, in ms of uptime. */
const DOUBTED_FOR = DAY;

export class ClaimClock {
  /** A time that was believed, and the monotonic time then. */
  #believed: number;
  #at: number;
  #doubtedSince: number | undefined;
  readonly #monotonic: () => number;
  readonly #onDoubt: (jump: number) => void;

  /**
   * @param lastUse when a claim was used last, in ms; undefined if nothing is claimed
   * @param onDoubt called with how far the clock is away, in ms, when it is doubted first
   */
  constructor(lastUse: number | undefined, now: number, onDoubt: (jump: number) => void, monotonic = () => performance.now()) {
    this.#believed = lastUse === undefined ? now : Math.min(Math.max(now, lastUse), lastUse + MAX_AWAY);
    this.#monotonic = monotonic;
    this.#at = monotonic();
    this.#onDoubt = onDoubt;
  }

  /** @param now what the clock says, in ms @returns what is believed, in ms */
  at(now: number): number {
    const monotonic = this.#monotonic();
    const expected = this.#believed + monotonic - this.#at;
    const jump = now - expected;
    if (Math.abs(jump) > MAX_JUMP) {
      if (this.#doubtedSince === undefined) this.#onDoubt(jump);
      this.#doubtedSince ??= monotonic;
      if (monotonic - this.#doubtedSince < DOUBTED_FOR) return expected;
    }
    this.#doubtedSince = undefined;
    this.#believed = now;
    this.#at = monotonic;
    return now;
  }
}
