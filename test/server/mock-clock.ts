/** Mocked clock for tests of behaviour that takes seconds: timers, Date and performance.now() advance only with `tick`. */
import type { TestContext } from 'node:test';

type Timers = Record<
  'setTimeout' | 'setInterval',
  (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => object
> &
  Record<'clearTimeout' | 'clearInterval', (timer?: object) => void>;

/** Mocks setTimeout, setInterval, Date and performance.now() for the rest of the test; `until` and sockets use real time. */
export function mockClock(t: TestContext): { tick(ms: number): Promise<void> } {
  const timers = globalThis as unknown as Timers;
  const real = { setTimeout: timers.setTimeout, clearTimeout: timers.clearTimeout, clearInterval: timers.clearInterval };
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
  // performance.now() follows the mocked Date
  const [date, began, start] = [Date.now.bind(Date), Date.now(), performance.now()];
  t.mock.method(performance, 'now', () => start + date() - began);
  // In Node 20, clearing a timer that has fired, or that another test's mock created, removes a different timer from the queue.
  // This wrapper passes only queued timers to the mocked functions, and all other timers to the real functions.
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
      // advances second by second and runs the triggered work in between, like a real clock
      for (let left = ms; left > 0; left -= 1000) {
        t.mock.timers.tick(Math.min(left, 1000));
        for (let i = 0; i < 5; i++) await new Promise(setImmediate);
        // Redis is a separate process and needs real time
        if (process.env['RONDEVU_TEST_REDIS']) await new Promise((resolve) => real.setTimeout(resolve, 10));
      }
    },
  };
}
