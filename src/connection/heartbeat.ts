/**
 * Heartbeat: knows how long nothing came from the other side, asks after a while, and tells when that is too long. Life is
 * anything that was received. It is the truth about a path; ICE states, seconds behind, are hints. docs/delivery.md.
 */

export interface HeartbeatTimes {
  /** Silence after which the other side is asked, in ms. */
  interval: number;
  /** Silence after which the path is suspect, in ms. */
  suspectAfter: number;
  /** Silence after which the link is given up, in ms. */
  deadAfter: number;
}

/** What is known of the other side by what came from it. */
export type Health = 'alive' | 'suspect' | 'dead';

export interface HeartbeatHandlers {
  ping(): void;
  onSuspect(): void;
  onDead(): void;
  /** Life again after `onSuspect` or `onDead`. */
  onAlive(): void;
}

/** A timer that is this late was not late: the page was frozen, or the machine slept. In ms. */
const ASLEEP = 1500;

export class Heartbeat {
  readonly #times: HeartbeatTimes;
  readonly #handlers: HeartbeatHandlers;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #tick: number;
  #lastLife = performance.now();
  #lastTick = this.#lastLife;
  #lastPing = 0;
  /** The deadline is put off until then. */
  #patience = 0;
  #state: Health = 'alive';

  constructor(times: HeartbeatTimes, handlers: HeartbeatHandlers) {
    this.#times = times;
    this.#handlers = handlers;
    this.#tick = Math.max(20, Math.min(500, times.interval / 2, times.suspectAfter / 4));
    this.#timer = setInterval(() => this.#check(), this.#tick);
  }

  get health(): Health {
    return this.#state;
  }

  /** Something came. */
  life(): void {
    this.#lastLife = performance.now();
    if (this.#state === 'alive') return;
    this.#state = 'alive';
    this.#handlers.onAlive();
  }

  /** Asks at once, and gives the other side as long as a fresh doubt would. */
  checkNow(): void {
    const { suspectAfter, deadAfter, interval } = this.#times;
    const now = performance.now();
    if (this.#state !== 'alive' || now - this.#lastLife < interval) return;
    this.#lastLife = Math.max(this.#lastLife, now - suspectAfter);
    this.#patience = Math.max(this.#patience, now + deadAfter - suspectAfter);
    this.#ping(now);
  }

  /** What was just tried may help: nothing is given up for another `ms`. */
  wait(ms: number): void {
    this.#patience = performance.now() + ms;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const now = performance.now();
    const { interval, suspectAfter, deadAfter } = this.#times;
    const slept = now - this.#lastTick > this.#tick + ASLEEP;
    this.#lastTick = now;
    // what came meanwhile waits behind this timer: nobody can be called dead yet
    if (slept) return this.checkNow();
    const silence = now - this.#lastLife;
    if (silence >= interval && now - this.#lastPing >= interval) this.#ping(now);
    if (silence >= suspectAfter && this.#state === 'alive') {
      this.#state = 'suspect';
      this.#ping(now);
      this.#handlers.onSuspect();
    }
    if (silence >= deadAfter && now >= this.#patience && this.#state === 'suspect') {
      this.#state = 'dead';
      this.#handlers.onDead();
    }
  }

  #ping(now: number): void {
    this.#lastPing = now;
    this.#handlers.ping();
  }
}
