/**
 * Hands a page's events to a client as hints. Reads `globalThis` only, so it loads and does nothing in Node.
 */

/** `hide`: the page goes, perhaps for good. The others: look at once. */
export type Hint = 'hide' | 'show' | 'online' | 'visible' | 'resume';

const EVENTS: Record<string, Hint> = {
  pagehide: 'hide',
  pageshow: 'show',
  online: 'online',
  visibilitychange: 'visible',
  resume: 'resume',
};

/** Follows page events until the returned function is called. */
export function watchPage(client: { hint(kind: Hint): void }): () => void {
  const { addEventListener, removeEventListener } = globalThis;
  if (typeof addEventListener !== 'function') return () => undefined;
  const listen = (event: Event) => {
    const kind = EVENTS[event.type]!;
    // pageshow comes after every load; only a page that was kept has something to catch up with
    if (kind === 'show' && !(event as PageTransitionEvent).persisted) return;
    client.hint(kind);
  };
  for (const type of Object.keys(EVENTS)) addEventListener(type, listen);
  return () => {
    for (const type of Object.keys(EVENTS)) removeEventListener(type, listen);
  };
}
