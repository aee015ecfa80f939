/** A mocked clock for tests of rules that take seconds: timers, Date and performance.now() stand still until `tick`. */
import type { TestContext } from 'node:test';

type Timers = Record<
  'setTimeout' | 'setInterval',
  (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => object
> &
  Record<'clearTimeout' | 'clearInterval', (timer?: object) => void>;

/** Mocks setTimeout, setInterval, Date and performance.now() from now on; `until` and sockets still use real time. */
export function mockClock(t: TestContext): { tick(ms: number): Promise<void> } {
  const timers = globalThis as unknown as Timers;
  const real = { setTimeout: timers.setTimeout, clearTimeout: timers.clearTimeout, clearInterval: timers.clearInterval };
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
  // durations follow the same clock
  const [date, began, start] = [Date.now.bind(Date), Date.now(), performance.now()];
  t.mock.method(performance, 'now', () => start + date() - began);
  // To clear a timer that has fired or belongs to another test's mock, Node 20 removes whichever timer has its position in the
  // queue; so only timers that are in this queue are passed to it.
  const queued = new WeakSet<object>();
  for (const kind of ['Timeout', 'Interval'] as const) {
    const [set, clear] = [timers[`set${kind}`], timers[`clear${kind}`]];
    timers[`set${kind}`] = (callback, ms, ...args) => {
      const timer = set(
        (...given) => {
          if (kind === 'Timeout') queued.delete(timer);
          callback(...given);
        },
        ms,
        ...args,
      );
      queued.add(timer);
      return timer;
    };
    timers[`clear${kind}`] = (timer) => {
      if (timer && queued.delete(timer)) clear(timer);
      else real[`clear${kind}`](timer);
    };
  }
  return {
    async tick(ms: number) {
      // second by second, running the triggered work in between, as with a real clock
      for (let left = ms; left > 0; left -= 1000) {
        t.mock.timers.tick(Math.min(left, 1000));
        for (let i = 0; i < 5; i++) await new Promise(setImmediate);
        // Redis is a separate process and needs real time
        if (process.env['RONDEVU_TEST_REDIS']) await new Promise((resolve) => real.setTimeout(resolve, 10));
      }
    },
  };
}
