/** Waits for conditions in real time, even if a test mocks timers. */
import assert from 'node:assert/strict';

// captured before a test can mock the clock and the timers
const monotonic = performance.now.bind(performance);
const { setTimeout } = globalThis;

/** Polling intervals for synchronous and asynchronous conditions, in ms: an asynchronous check often makes a request. */
const POLL_INTERVAL = 1;
const ASYNC_POLL_INTERVAL = 20;

/**
 * Waits until a condition is true.
 * @param name name of the condition, for the error message
 * @throws AssertionError if the condition is still false after `ms` milliseconds
 */
export async function until(condition: () => unknown, name = 'the condition', ms = 60_000): Promise<void> {
  const deadline = monotonic() + ms;
  for (;;) {
    const result = condition();
    const isAsync = result instanceof Promise;
    if (isAsync ? await result : result) return;
    assert.ok(monotonic() < deadline, `timed out after ${ms} ms waiting for ${name}`);
    await new Promise((resolve) => setTimeout(resolve, isAsync ? ASYNC_POLL_INTERVAL : POLL_INTERVAL));
  }
}
