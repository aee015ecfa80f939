/**
 * Removed elements whose grace period has not ended. A replacement with the same attributes (a page swapper inserts the new
 * body before the old element has ended) finds them here and ends them first. Shared by all bundles of a page.
 */
const REGISTRY = Symbol.for('rondevu.departing/1');

type Leave = () => Promise<unknown>;

function departing(): Map<object, { key: string; leave: Leave }> {
  const page = globalThis as { [REGISTRY]?: Map<object, { key: string; leave: Leave }> };
  return (page[REGISTRY] ??= new Map());
}

/** @param leave ends the element at once; resolves when its service name is free */
export function addDeparting(element: object, key: string, leave: Leave): void {
  departing().set(element, { key, leave });
}

export function removeDeparting(element: object): void {
  departing().delete(element);
}

/** Ends the removed elements with this key. Returns undefined if there are none. */
export function endDeparting(key: string): Promise<unknown> | undefined {
  const leaving = [...departing().values()].filter((entry) => entry.key === key);
  return leaving.length ? Promise.allSettled(leaving.map(({ leave }) => leave())) : undefined;
}
