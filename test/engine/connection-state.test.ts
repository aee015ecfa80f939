/**
 * Compares the state table of a connection with a second copy, written row by row from the documentation, and checks invariants
 * for arbitrary sequences of events.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TABLE, next, type ConnectionEvent, type ConnectionState } from '../../src/connection/connection-state.js';

const EVENTS: ConnectionEvent[] = ['gather', 'signal', 'check', 'path', 'open', 'lost', 'retry', 'give-up', 'close'];

const CLOSE = 'closed: drop-link end announce';
const GIVE_UP = 'failed: drop-link announce';
const OPEN = 'connected: announce';
const LOST = 'disconnected: drop-link recover';
const LINK_SETUP = { open: OPEN, lost: LOST, 'give-up': GIVE_UP, close: CLOSE };

/** Expected `state: effects` for each handled event; all other events are ignored. */
const EXPECTED: Record<ConnectionState, Partial<Record<ConnectionEvent, string>>> = {
  initializing: { gather: 'gathering:', signal: 'signaling:', check: 'checking:', ...LINK_SETUP },
  gathering: { signal: 'signaling:', check: 'checking:', ...LINK_SETUP },
  signaling: { check: 'checking:', ...LINK_SETUP },
  checking: { path: 'connecting: announce', ...LINK_SETUP },
  connecting: LINK_SETUP,
  connected: { lost: 'disconnected: drop-link announce recover', close: CLOSE },
  disconnected: { open: OPEN, retry: 'reconnecting: announce', 'give-up': GIVE_UP, close: CLOSE },
  reconnecting: { open: OPEN, 'give-up': GIVE_UP, close: CLOSE },
  failed: { retry: 'reconnecting: announce', open: OPEN, close: CLOSE },
  closed: {},
};
const STATES = Object.keys(EXPECTED) as ConnectionState[];

for (const state of STATES) {
  test(`the transitions from ${state} match the documentation`, () => {
    for (const event of EVENTS) {
      const transition = next(state, event);
      const actual = transition && `${transition.state}: ${transition.effects.join(' ')}`.trim();
      assert.equal(actual, EXPECTED[state][event], `${event} in ${state}`);
    }
  });
}

test('the state table contains only documented states and events', () => {
  assert.deepEqual(Object.keys(TABLE).sort(), [...STATES].sort());
  for (const row of Object.values(TABLE))
    for (const event of Object.keys(row)) assert.ok(EVENTS.includes(event as ConnectionEvent));
});

test('every state is reachable', () => {
  const reached = new Set<ConnectionState>(['initializing']);
  for (const state of reached) {
    for (const event of EVENTS) {
      const transition = next(state, event);
      if (transition) reached.add(transition.state); // iteration over a Set includes elements added during the iteration
    }
  }
  assert.deepEqual([...reached].sort(), [...STATES].sort());
});

test('a connection can close, or connect when a link opens, in every state except closed', () => {
  for (const state of STATES) {
    if (state === 'closed') continue;
    assert.equal(next(state, 'close')?.state, 'closed');
    if (state !== 'connected') assert.equal(next(state, 'open')?.state, 'connected');
  }
});

test('the invariants hold for any sequence of events', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 60 }), (events) => {
      let state: ConnectionState = 'initializing';
      let wasConnected = false;
      for (const event of events) {
        const transition = next(state, event);
        if (state === 'closed') assert.equal(transition, undefined, 'closed must ignore every event');
        if (!transition) continue;
        const { state: to, effects } = transition;
        assert.ok(STATES.includes(to));
        assert.notEqual(to, state, 'a transition changes the state');
        // only `open` leads to `connected`, and its only effect is `announce`
        assert.equal(to === 'connected', event === 'open');
        if (to === 'connected') assert.deepEqual(effects, ['announce']);
        assert.equal(to === 'closed', event === 'close');
        assert.equal(to === 'failed', event === 'give-up');
        assert.equal(effects.includes('recover'), event === 'lost', 'recovery begins with a loss and nothing else');
        assert.equal(effects.includes('end'), to === 'closed');
        // `lost`, `give-up` and `close` drop the link, and no other event does
        assert.equal(effects.includes('drop-link'), ['lost', 'give-up', 'close'].includes(event));
        // `disconnected` is emitted only after `connected`
        if (to === 'disconnected' && effects.includes('announce')) assert.ok(wasConnected);
        wasConnected ||= to === 'connected';
        state = to;
      }
    }),
    { numRuns: 2000 },
  );
});

test('changing the result of next() does not change the state table', () => {
  next('connected', 'lost')!.effects.length = 0;
  assert.equal(next('connected', 'lost')!.effects.length, 3);
});
