/**
 * Census: number of peer connections of this page that were created and not yet garbage-collected. Chromium refuses new ones
 * beyond 500 and counts closed ones until they are collected, which may take minutes in an idle page.
 */

/** Above this number, garbage collection is provoked. */
const GC_THRESHOLD = 300;
/** Size of an allocation that makes Chromium collect at once, in bytes. The memory is never touched, so it costs nothing. */
const GC_PRESSURE = 100_000_000;

let uncollected = 0;
let nextCollection = GC_THRESHOLD;
const registry = globalThis.FinalizationRegistry && new FinalizationRegistry<null>(() => uncollected--);

/** Counts a new peer connection. */
export function count<T extends object>(pc: T): T {
  if (!registry) return pc;
  registry.register(pc, null);
  if (++uncollected < nextCollection) {
    if (uncollected < GC_THRESHOLD) nextCollection = GC_THRESHOLD;
    return pc;
  }
  nextCollection = uncollected + 20;
  try {
    void new ArrayBuffer(GC_PRESSURE);
  } catch {
    // too little memory: then the platform collects by itself
  }
  return pc;
}
