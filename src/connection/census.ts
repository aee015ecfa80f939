/**
 * Census: counts the peer connections that the page has created and the browser has not yet garbage-collected. Chromium allows
 * at most 500 peer connections per page and counts closed ones until they are garbage-collected, which may take minutes on an
 * idle page.
 */

/** Number of uncollected peer connections above which garbage collection is triggered. */
const GC_THRESHOLD = 300;
/**
 * Size, in bytes, of an allocation that makes Chromium collect garbage immediately. The memory is never accessed, so the
 * allocation costs nothing.
 */
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
    // out of memory, so the platform collects garbage anyway
  }
  return pc;
}
