/**
 * The clock by which claims expire. The system clock may jump, because it is wrong for a while or was wrong when the process
 * started. A jump would free names and delete them for good, so it is trusted only after the new time has held for a day.
 */
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** How far the clock may jump and still be trusted, in ms. */
const MAX_JUMP = DAY;
/**
 * How far past the last use of a claim the clock may be at the start and still be trusted, in ms: the server may have been
 * stopped.
 */
const MAX_DOWNTIME = 30 * DAY;
/** How long a new time must hold to be trusted, in ms of uptime. */
const CONFIRM_AFTER = DAY;

export class ClaimClock {
  /** The last trusted time, and the monotonic time at that moment. */
  #trustedTime: number;
  #trustedAt: number;
  #jumpedAt: number | undefined;
  readonly #monotonic: () => number;
  readonly #onJump: (jump: number) => void;

  /**
   * @param lastUse time at which any claim was last used, in ms; undefined if nothing is claimed
   * @param onJump called with the size of the jump, in ms, when it is first seen
   */
  constructor(lastUse: number | undefined, now: number, onJump: (jump: number) => void, monotonic = () => performance.now()) {
    // restarts with a wrong clock must not add up, so a distrusted clock adds nothing to the last use
    const isTrusted = lastUse === undefined || (now >= lastUse && now <= lastUse + MAX_DOWNTIME);
    this.#trustedTime = Math.round(isTrusted ? now : lastUse);
    this.#monotonic = monotonic;
    this.#trustedAt = monotonic();
    this.#onJump = onJump;
  }

  /** @param now time of the system clock, in ms @returns the trusted time, in whole ms: stores keep integers */
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
