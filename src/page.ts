/**
 * Passes page events to a client as hints. Uses only `globalThis`, so that the module can be loaded in Node, where it does
 * nothing.
 */

/**
 * `hide`: the page is being unloaded, or stored in the back/forward cache. All other hints: check links and signaling
 * immediately.
 */
export type Hint = 'hide' | 'show' | 'online' | 'visible' | 'resume';

const EVENTS: Record<string, Hint> = {
  pagehide: 'hide',
  pageshow: 'show',
  online: 'online',
  visibilitychange: 'visible',
  resume: 'resume',
};

/** Forwards page events to the client until the returned function is called. */
export function watchPage(client: { hint(kind: Hint): void }): () => void {
  const { addEventListener, removeEventListener } = globalThis;
  if (typeof addEventListener !== 'function') return () => undefined;
  const listen = (event: Event) => {
    const kind = EVENTS[event.type]!;
    // pageshow fires after each load; only a page restored from the back/forward cache has links to check
    if (kind === 'show' && !(event as PageTransitionEvent).persisted) return;
    client.hint(kind);
  };
  for (const type of Object.keys(EVENTS)) addEventListener(type, listen);
  return () => {
    for (const type of Object.keys(EVENTS)) removeEventListener(type, listen);
  };
}
