/**
 * A mocked clock for tests of the rules that take seconds: timers, Date and performance.now() stand still until `tick`.
 */
import type { TestContext } from 'node:test';

type Timers = Record<
  'setTimeout' | 'setInterval',
  (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => object
> &
  Record<'clearTimeout' | 'clearInterval', (timer?: object) => void>;

/** Mocks setTimeout, setInterval, Date and performance.now() from the present on; `until` and sockets go on as they are. */
export function mockClock(t: TestContext): { tick(ms: number): Promise<void> } {
  const timers = globalThis as unknown as Timers;
  const real = { setTimeout: timers.setTimeout, clearTimeout: timers.clearTimeout, clearInterval: timers.clearInterval };
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
  // durations go with the same clock
  const [date, began, start] = [Date.now.bind(Date), Date.now(), performance.now()];
  t.mock.method(performance, 'now', () => start + date() - began);
  // node 20 takes whatever timer stands at the same place out of its queue when one is cleared that has fired, or that is of
  // another test's mock; so only timers that are in this queue get there
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
      // second by second, and letting what was set off happen, as a real clock would
      for (let left = ms; left > 0; left -= 1000) {
        t.mock.timers.tick(Math.min(left, 1000));
        for (let i = 0; i < 5; i++) await new Promise(setImmediate);
        // another process has its part in what happens
        if (process.env['RONDEVU_TEST_REDIS']) await new Promise((resolve) => real.setTimeout(resolve, 10));
      }
    },
  };
}
