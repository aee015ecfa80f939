/**
 * Census: how many peer connections of this page were made and not collected. Chromium refuses new ones past 500 and counts
 * closed ones until they are collected, which an idle page may not do for minutes.
 */

/** Past this many, collection is helped along. */
const MANY = 300;
/** What an allocation needs to be for Chromium to collect at once, in bytes. It is never touched, so it costs nothing. */
const PRESSURE = 100_000_000;

let uncollected = 0;
let nextNudge = MANY;
const registry = globalThis.FinalizationRegistry && new FinalizationRegistry<null>(() => uncollected--);

/** Counts a new peer connection. */
export function count<T extends object>(pc: T): T {
  if (!registry) return pc;
  registry.register(pc, null);
  if (++uncollected < nextNudge) {
    if (uncollected < MANY) nextNudge = MANY;
    return pc;
  }
  nextNudge = uncollected + 20;
  try {
    void new ArrayBuffer(PRESSURE);
  } catch {
    // no memory for it: then the platform collects by itself
  }
  return pc;
}
