/**
 * Heartbeat: measures how long nothing has been received from the peer, pings it after a while, and reports when the silence is
 * too long. Anything received proves that the path works; ICE states lag by seconds and are only hints. docs/delivery.md.
 */

export interface HeartbeatTimes {
  /** Silence after which the peer is pinged, in ms. */
  interval: number;
  /** Silence after which the path is suspect, in ms. */
  suspectAfter: number;
  /** Silence after which the link is given up, in ms. */
  deadAfter: number;
}

/** State of the peer, judged by the data received from it. */
export type Health = 'alive' | 'suspect' | 'dead';

export interface HeartbeatHandlers {
  ping(): void;
  onSuspect(): void;
  onDead(): void;
  /** Something was received again after `onSuspect` or `onDead`. */
  onAlive(): void;
}

/** Delay of a timer, in ms, above which the page must have been frozen or the machine asleep. */
const SLEEP_THRESHOLD = 1500;

export class Heartbeat {
  readonly #times: HeartbeatTimes;
  readonly #handlers: HeartbeatHandlers;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #tick: number;
  #lastSeen = performance.now();
  #lastTick = this.#lastSeen;
  #lastPing = 0;
  /** Time before which the link is not given up. */
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

  /** Pings at once, and gives the peer as much time to answer as after a new `onSuspect`. */
  checkNow(): void {
    const { suspectAfter, deadAfter, interval } = this.#times;
    const now = performance.now();
    if (this.#state !== 'alive' || now - this.#lastSeen < interval) return;
    this.#lastSeen = Math.max(this.#lastSeen, now - suspectAfter);
    this.#graceUntil = Math.max(this.#graceUntil, now + deadAfter - suspectAfter);
    this.#ping(now);
  }

  /** A recovery is in progress: does not give up the link for another `ms`. */
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
    // received data may still be queued behind this timer: too early to declare the link dead
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
