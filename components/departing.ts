/**
 * Removed elements whose grace period has not ended. A new element first ends all removed elements with the same attributes:
 * libraries that swap the page body insert the new body before the old element has ended. All bundles on a page share the
 * registry.
 */
const REGISTRY = Symbol.for('rondevu.departing/1');

type Leave = () => Promise<unknown>;

function departing(): Map<object, { key: string; leave: Leave }> {
  const page = globalThis as { [REGISTRY]?: Map<object, { key: string; leave: Leave }> };
  return (page[REGISTRY] ??= new Map());
}

/** @param leave ends the element immediately; resolves when its service name is free */
export function addDeparting(element: object, key: string, leave: Leave): void {
  departing().set(element, { key, leave });
}

export function removeDeparting(element: object): void {
  departing().delete(element);
}

/** Ends all removed elements with the given key. Returns undefined if there is no such element. */
export function endDeparting(key: string): Promise<unknown> | undefined {
  const leaving = [...departing().values()].filter((entry) => entry.key === key);
  return leaving.length ? Promise.allSettled(leaving.map(({ leave }) => leave())) : undefined;
}
