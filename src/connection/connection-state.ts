/**
 * The state machine of a connection as a pure table: `next(state, event)` returns the new state and the effects. This module
 * has no side effects; only connection.ts changes the state of a connection. The same table is shown in docs/architecture.md.
 */

/** Names of the states, as reflected to element attributes. */
export type ConnectionState =
  | 'initializing'
  | 'gathering'
  | 'signaling'
  | 'checking'
  | 'connecting'
  | 'connected'
  | 'disconnected'
  | 'reconnecting'
  | 'failed'
  | 'closed';

export type ConnectionEvent =
  /** Candidates are being gathered for the first link. */
  | 'gather'
  /** The local description is ready and is being sent to the peer. */
  | 'signal'
  /** Both descriptions are set. */
  | 'check'
  /** ICE found a path; DTLS and the data channel are being set up. */
  | 'path'
  /** The data channel is open. */
  | 'open'
  /** The link is gone. */
  | 'lost'
  /** A new link will be attempted. */
  | 'retry'
  /** No further attempt will be made. */
  | 'give-up'
  /** Either peer closes the connection. */
  | 'close';

/** Actions that connection.ts performs after it has changed the state, in the order in which a transition lists them. */
export type Effect = 'announce' | 'drop-link' | 'recover' | 'end';

export type Transition = readonly [to: ConnectionState, ...effects: Effect[]];

const CLOSE: Transition = ['closed', 'drop-link', 'end', 'announce'];
const GIVE_UP: Transition = ['failed', 'drop-link', 'announce'];
// a link that is lost before it opens is retried like any other
const BEFORE_OPEN = {
  open: ['connected', 'announce'],
  lost: ['disconnected', 'drop-link', 'recover'],
  'give-up': GIVE_UP,
  close: CLOSE,
} as const;

/** Rows are states, columns are events; events without an entry are ignored. */
export const TABLE: { readonly [S in ConnectionState]: { readonly [E in ConnectionEvent]?: Transition } } = {
  initializing: { gather: ['gathering'], signal: ['signaling'], check: ['checking'], ...BEFORE_OPEN },
  gathering: { signal: ['signaling'], check: ['checking'], ...BEFORE_OPEN },
  signaling: { check: ['checking'], ...BEFORE_OPEN },
  checking: { path: ['connecting', 'announce'], ...BEFORE_OPEN },
  connecting: BEFORE_OPEN,
  connected: { lost: ['disconnected', 'drop-link', 'announce', 'recover'], close: CLOSE },
  disconnected: {
    open: ['connected', 'announce'],
    retry: ['reconnecting', 'announce'],
    'give-up': GIVE_UP,
    close: CLOSE,
  },
  reconnecting: { open: ['connected', 'announce'], 'give-up': GIVE_UP, close: CLOSE },
  failed: { retry: ['reconnecting', 'announce'], open: ['connected', 'announce'], close: CLOSE },
  closed: {},
};

/** Returns the new state and the effects of an event; undefined if the event does not apply in the given state. */
export function next(state: ConnectionState, event: ConnectionEvent): { state: ConnectionState; effects: Effect[] } | undefined {
  const transition = TABLE[state][event];
  if (!transition) return undefined;
  const [to, ...effects] = transition;
  return { state: to, effects };
}
