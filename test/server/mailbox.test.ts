/**
 * Tests the limits on events kept in memory for disconnected clients: bytes per user, bytes in total, and age. Also tests that
 * all instances share one copy of an event.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createLog } from '../../server/src/log.js';
import { MAX_KEPT_BYTES, MAX_KEPT_BYTES_TOTAL, EVENT_TTL, type NumberedEvent, type Session } from '../../server/src/hub.js';
import { MemoryHub } from '../../server/src/memory-hub.js';
import { principalOf } from '../../server/src/principal.js';
import type { Store } from '../../server/src/store.js';
import { mockClock, someone } from './helpers.js';

class FakeSession implements Session {
  readonly principal = principalOf(someone());
  readonly events: NumberedEvent[] = [];
  constructor(readonly instance: string) {}
  deliver(event: NumberedEvent): void {
    this.events.push(event);
  }
  replaced(): void {}
  nameLost(): void {}
}

function startHub(t: TestContext): MemoryHub {
  const store = { listInstances: async () => [], withdrawInstance: async () => [] } as unknown as Store;
  const hub = new MemoryHub(store, createLog('silent'), () => undefined);
  t.after(() => hub.close());
  return hub;
}

async function open(hub: MemoryHub, instance = 'instance-1'): Promise<FakeSession> {
  const session = new FakeSession(instance);
  await hub.opened(session, undefined, Date.now());
  return session;
}

const signal = (size: number) => ({ from: 'sender', sid: 'abcdefgh', sdp: 'x'.repeat(size) });

test('keeps events for one user up to the byte limit per user', async (t) => {
  const hub = startHub(t);
  const session = await open(hub);
  for (let i = 0; i < 20; i++) await hub.pushToUser(session.principal, 'signal', signal(MAX_KEPT_BYTES / 8));
  assert.equal(session.events.length, 20);
  assert.ok(hub.bytes <= MAX_KEPT_BYTES, `${hub.bytes} bytes are kept`);
  assert.ok(hub.bytes > MAX_KEPT_BYTES / 2, `only ${hub.bytes} bytes are kept`);
});

test('keeps events for all users up to the byte limit of the server', async (t) => {
  const hub = startHub(t);
  const size = MAX_KEPT_BYTES / 2;
  for (let i = 0; i < MAX_KEPT_BYTES_TOTAL / size + 10; i++)
    await hub.pushToUser((await open(hub)).principal, 'signal', signal(size));
  assert.ok(hub.bytes <= MAX_KEPT_BYTES_TOTAL, `${hub.bytes} bytes are kept`);
  assert.ok(hub.bytes > MAX_KEPT_BYTES_TOTAL / 2, `only ${hub.bytes} bytes are kept`);
});

test('an event is discarded when its instance can no longer reconnect', async (t) => {
  const clock = mockClock(t);
  const hub = startHub(t);
  const session = await open(hub);
  await hub.pushToUser(session.principal, 'signal', signal(1000));
  await clock.tick(EVENT_TTL / 2);
  assert.ok(hub.bytes > 1000);
  await clock.tick(EVENT_TTL / 2 + 2000);
  assert.equal(hub.bytes, 0);
});

test('an event for several instances of a user is stored only once', async (t) => {
  const hub = startHub(t);
  const first = await open(hub);
  const sessions = [first];
  for (let i = 2; i <= 20; i++) {
    const session = new FakeSession(`instance-${i}`);
    Object.assign(session, { principal: first.principal });
    await hub.opened(session, undefined, Date.now());
    sessions.push(session);
  }
  await hub.pushToUser(first.principal, 'signal', signal(1000));
  assert.ok(sessions.every(({ events }) => events.length === 1));
  assert.ok(hub.bytes < 2000, `${hub.bytes} bytes are kept`);
});
