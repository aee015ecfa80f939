/**
 * Heartbeat: measures how long nothing has been received from the peer, pings a silent peer, and reports prolonged silence. Any
 * received data proves that the path works; ICE states lag by seconds and are only hints. See docs/delivery.md.
 */

export interface HeartbeatTimes {
  /** Time without incoming data after which the peer is pinged, in ms. */
  interval: number;
  /** Time without incoming data after which the path is suspect, in ms. */
  suspectAfter: number;
  /** Time without incoming data after which the link is abandoned, in ms. */
  deadAfter: number;
}

/** Health of the link, based on the time since data was last received. */
export type Health = 'alive' | 'suspect' | 'dead';

export interface HeartbeatHandlers {
  ping(): void;
  onSuspect(): void;
  onDead(): void;
  /** Called when data is received again after `onSuspect` or `onDead`. */
  onAlive(): void;
}

/** Timer delay, in ms, above which the page must have been frozen or the machine asleep. */
const SLEEP_THRESHOLD = 1500;

export class Heartbeat {
  readonly #times: HeartbeatTimes;
  readonly #handlers: HeartbeatHandlers;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #tick: number;
  #lastSeen = performance.now();
  #lastTick = this.#lastSeen;
  #lastPing = 0;
  /** Time before which the link is not reported as dead. */
  #graceUntil = 0;
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

  /** Something was received. */
  touch(): void {
    this.#lastSeen = performance.now();
    if (this.#state === 'alive') return;
    this.#state = 'alive';
    this.#handlers.onAlive();
  }

  /** Pings the peer immediately, and gives it as much time to reply as after `onSuspect`. */
  checkNow(): void {
    const { suspectAfter, deadAfter, interval } = this.#times;
    const now = performance.now();
    if (this.#state !== 'alive' || now - this.#lastSeen < interval) return;
    this.#lastSeen = Math.max(this.#lastSeen, now - suspectAfter);
    this.#graceUntil = Math.max(this.#graceUntil, now + deadAfter - suspectAfter);
    this.#ping(now);
  }

  /** Suppresses `onDead` for the next `ms` milliseconds, while a recovery is in progress. */
  wait(ms: number): void {
    this.#graceUntil = performance.now() + ms;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const now = performance.now();
    const { interval, suspectAfter, deadAfter } = this.#times;
    const slept = now - this.#lastTick > this.#tick + SLEEP_THRESHOLD;
    this.#lastTick = now;
    // received data may still be queued behind this timer, so it is too early to report the link as dead
    if (slept) return this.checkNow();
    const silence = now - this.#lastSeen;
    if (silence >= interval && now - this.#lastPing >= interval) this.#ping(now);
    if (silence >= suspectAfter && this.#state === 'alive') {
      this.#state = 'suspect';
      this.#ping(now);
      this.#handlers.onSuspect();
    }
    if (silence >= deadAfter && now >= this.#graceUntil && this.#state === 'suspect') {
      this.#state = 'dead';
      this.#handlers.onDead();
    }
  }

  #ping(now: number): void {
    this.#lastPing = now;
    this.#handlers.ping();
  }
}
