/** Timer delays, and a sleep that can be ended early. */

/**
 * Longest delay of a timer, in ms (24 days): a timer with a longer delay fires immediately (HTML: a delay is a signed 32-bit
 * `long`).
 */
const MAX_DELAY = 2 ** 31 - 1;

/** Limits a delay, in ms, to the maximum that timers support. */
export const timerDelay = (ms: number): number => Math.min(ms, MAX_DELAY);

/**
 * Resolves after `ms`; rejects with the abort reason if `signal` is aborted first.
 * @param onStart called with a function that ends the wait early
 */
export function sleep(ms: number, signal: AbortSignal, onStart?: (wake: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const end = () => (clearTimeout(timer), signal.removeEventListener('abort', onAbort));
    const onAbort = () => (end(), reject(signal.reason));
    const wake = () => (end(), resolve());
    const timer = setTimeout(wake, timerDelay(ms));
    signal.addEventListener('abort', onAbort);
    onStart?.(wake);
  });
}
