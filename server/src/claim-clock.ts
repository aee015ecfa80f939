/**
 * The time by which claims expire. A clock that jumps, because it was set wrong for a while or was wrong when the process started,
 * would free names and delete them for good, so a jump is believed only after it has lasted.
 */
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** How far the clock may jump and still be believed, in ms. */
const MAX_JUMP = DAY;
/** How long after the last use of a claim the clock is still believed at the start, in ms: the server may have been stopped. */
const MAX_AWAY = 30 * DAY;
/** How long a new time must hold to be believed, in ms of uptime. */
const DOUBTED_FOR = DAY;

export class ClaimClock {
  /** The last time that was believed, and the monotonic time at that moment. */
  #believed: number;
  #at: number;
  #doubtedSince: number | undefined;
  readonly #monotonic: () => number;
  readonly #onDoubt: (jump: number) => void;

  /**
   * @param lastUse time at which any claim was last used, in ms; undefined if nothing is claimed
   * @param onDoubt called with the size of the jump, in ms, when the clock is first doubted
   */
  constructor(lastUse: number | undefined, now: number, onDoubt: (jump: number) => void, monotonic = () => performance.now()) {
    // restarts with a wrong clock must not add up, so a doubted clock adds nothing to the last use
    const isBelieved = lastUse === undefined || (now >= lastUse && now <= lastUse + MAX_AWAY);
    this.#believed = Math.round(isBelieved ? now : lastUse);
    this.#monotonic = monotonic;
    this.#at = monotonic();
    this.#onDoubt = onDoubt;
  }

  /** @param now time by the clock, in ms @returns the time to believe, in whole ms: stores keep integers */
  at(now: number): number {
    const monotonic = this.#monotonic();
    const expected = Math.round(this.#believed + monotonic - this.#at);
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
