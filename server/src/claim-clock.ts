/**
 * Clock that determines when claims expire. The system clock may jump because it is temporarily wrong, or because it was wrong
 * when the process started. A jump could make claims expire and be deleted permanently, so a new time is trusted only after it
 * has been stable for a day.
 */
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Maximum clock jump that is trusted immediately, in ms. */
const MAX_JUMP = DAY;
/**
 * How far ahead of the last use of a claim the clock may be at startup and still be trusted, in ms: the server may have been
 * stopped for that long.
 */
const MAX_DOWNTIME = 30 * DAY;
/** How long the clock must be stable after a jump before it is trusted, in ms of uptime. */
const CONFIRM_AFTER = DAY;

export class ClaimClock {
  /** The last trusted time, and the monotonic time at which it was read. */
  #trustedTime: number;
  #trustedAt: number;
  #jumpedAt: number | undefined;
  readonly #monotonic: () => number;
  readonly #onJump: (jump: number) => void;

  /**
   * @param lastUse time at which a claim was last used, in ms; undefined if there are no claims
   * @param onJump called with the size of a jump, in ms, when the jump is detected
   */
  constructor(lastUse: number | undefined, now: number, onJump: (jump: number) => void, monotonic = () => performance.now()) {
    // if the clock is not trusted, the time of the last use is used instead, so that errors do not accumulate over restarts
    const isTrusted = lastUse === undefined || (now >= lastUse && now <= lastUse + MAX_DOWNTIME);
    this.#trustedTime = Math.round(isTrusted ? now : lastUse);
    this.#monotonic = monotonic;
    this.#trustedAt = monotonic();
    this.#onJump = onJump;
  }

  /** @param now time of the system clock, in ms @returns the trusted time, in whole ms because stores keep integers */
  at(now: number): number {
    const monotonic = this.#monotonic();
    const expected = Math.round(this.#trustedTime + monotonic - this.#trustedAt);
    const jump = now - expected;
    if (Math.abs(jump) > MAX_JUMP) {
      if (this.#jumpedAt === undefined) this.#onJump(jump);
      this.#jumpedAt ??= monotonic;
      if (monotonic - this.#jumpedAt < CONFIRM_AFTER) return expected;
    }
    this.#jumpedAt = undefined;
    this.#trustedTime = now;
    this.#trustedAt = monotonic;
    return now;
  }
}
