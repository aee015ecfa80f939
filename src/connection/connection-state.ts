/**
 * The life of a connection as a pure table: `next(state, event)` says the new state and what has to be done. Nothing here
 * does anything; connection.ts is the one place that writes a state. docs/architecture.md prints this table.
 */

/** As they are reflected to attributes. */
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
  /** The local description is ready and under way to the peer. */
  | 'signal'
  /** Both descriptions are in place. */
  | 'check'
  /** ICE found a path; DTLS and the channel are under way. */
  | 'path'
  /** The data channel is open. */
  | 'open'
  /** The link is gone. */
  | 'lost'
  /** A new link is going to be tried. */
  | 'retry'
  /** Nothing more will be tried. */
  | 'give-up'
  /** The end, by whoever. */
  | 'close';

/** What connection.ts does after the state was written, in this order. */
export type Effect = 'announce' | 'drop-link' | 'recover' | 'end';

export type Transition = readonly [to: ConnectionState, ...effects: Effect[]];

const CLOSE: Transition = ['closed', 'drop-link', 'end', 'announce'];
const GIVE_UP: Transition = ['failed', 'drop-link', 'announce'];
// a link that is lost before it ever opened is tried again like any other
const BEFORE_OPEN = {
  open: ['connected', 'announce'],
  lost: ['disconnected', 'drop-link', 'recover'],
  'give-up': GIVE_UP,
  close: CLOSE,
} as const;

/** Rows are states, columns are events; what is not here is ignored. */
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

/** The transition of an event in a state; undefined when the event means nothing there. */
export function next(state: ConnectionState, event: ConnectionEvent): { state: ConnectionState; effects: Effect[] } | undefined {
  const transition = TABLE[state][event];
  if (!transition) return undefined;
  const [to, ...effects] = transition;
  return { state: to, effects };
}
