/**
 * v0.20 clients on the current server: a simulated host and a simulated joiner (test/support/old-host.ts) communicate with the
 * current engine over real WebRTC. The last test runs an old host against the store and the matchmaker for ten minutes of
 * simulated time.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/limits.js';
import { Discovery } from '../../server/src/discovery.js';
import { createLog } from '../../server/src/log.js';
import { Matchmaker } from '../../server/src/matchmaker.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import type { FoundService } from '../../server/src/store.js';
import type { OffererConnection } from '../../src/index.js';
import { client } from './pair.js';
import { noCharge, someone, startServer, until } from '../server/helpers.js';
import { SlowPeerConnection, OldHost, OldJoiner } from '../support/old-host.js';

/** Creates a current client with a slow link. */
const slowClient = (t: TestContext, url: string, username: string) =>
  client(t, { url }, username, { rtcPeerConnection: SlowPeerConnection });
/** Returns an anonymous name in the format of v0.20: `anon-<base36 ms>-<6 hex>`. */
const oldAnonymousName = () => `anon-${Date.now().toString(36)}-${Math.random().toString(16).slice(2, 8).padEnd(6, '0')}`;

test('a current joiner exchanges messages with an old host', async (t) => {
  const { url } = await startServer(t);
  const host = new OldHost(url, someone('oldhost'), 'chat:1.0.0');
  t.after(() => host.close());
  for (let i = 0; i < 3; i++) await host.offer();
  const bob = await slowClient(t, url, 'bob');
  const connection = await bob.connectToService({ serviceFqn: host.serviceFqn });
  const received: string[] = [];
  connection.on('message', (data) => received.push(String(data)));
  await until(() => connection.isConnected(), 'the link', 20_000);
  await until(() => host.links.get('bob')?.isOpen ?? false, 'the channel at the host');
  const link = host.links.get('bob')!;
  link.send('from the old host');
  for (const n of [1, 2, 3]) connection.send(`to the old host ${n}`);
  await until(() => received.length === 1 && link.received.length === 3, 'all messages');
  assert.deepEqual(received, ['from the old host']);
  assert.deepEqual(
    link.received,
    [1, 2, 3].map((n) => `to the old host ${n}`),
  );
  assert.equal(connection.peer?.username, host.client.username);
});

test('two current joiners of the same old host get different offers', async (t) => {
  const { url } = await startServer(t);
  const host = new OldHost(url, someone('oldhost'), 'chat:1.0.0');
  t.after(() => host.close());
  for (let i = 0; i < 2; i++) await host.offer();
  const connections = await Promise.all(
    ['bob', 'carol'].map(async (name) => (await slowClient(t, url, name)).connectToService({ serviceFqn: host.serviceFqn })),
  );
  await until(() => connections.every((connection) => connection.isConnected()), 'both links', 20_000);
  assert.deepEqual([...host.links.keys()].sort(), ['bob', 'carol']);
});

test('an old joiner with an old-style anonymous name exchanges messages with a current host', async (t) => {
  const { url } = await startServer(t);
  const alice = await slowClient(t, url, 'alice');
  const pool = await alice.publishService({ service: 'chat:1.0.0', maxOffers: 2 });
  const opened: OffererConnection[] = [];
  alice.on('connection:opened', (_id, connection) => opened.push(connection));
  await pool.start();
  const name = oldAnonymousName();
  const joiner = new OldJoiner(url, someone().as(name));
  t.after(() => joiner.close());
  const entry = await joiner.join('chat:1.0.0@alice');
  assert.equal(entry.offers?.[0]?.offerId, entry.offerId, 'where the old client looks for it when it reconnects');
  await until(() => joiner.link.isOpen, 'the link', 20_000);
  await until(() => opened.length === 1, 'connection:opened');
  const received: string[] = [];
  opened[0]!.on('message', (data) => received.push(String(data)));
  joiner.link.send('from the old joiner');
  for (const n of [1, 2, 3]) opened[0]!.send(`to the old joiner ${n}`);
  await until(() => received.length === 1 && joiner.link.received.length === 3, 'all messages');
  assert.deepEqual(
    joiner.link.received,
    [1, 2, 3].map((n) => `to the old joiner ${n}`),
  );
  assert.deepEqual(received, ['from the old joiner']);
  assert.equal(opened[0]!.peer?.username, name);
  assert.equal(joiner.signaling?.dropped, 0, 'every candidate said its role');
});

test('the host resumes the connection of an old joiner that left silently', async (t) => {
  const { url } = await startServer(t);
  const alice = await slowClient(t, url, 'alice');
  const opened: OffererConnection[] = [];
  alice.on('connection:opened', (_id, connection) => opened.push(connection));
  await (await alice.publishService({ service: 'chat:1.0.0', maxOffers: 2 })).start();
  const identity = someone('oldjoiner');
  const first = new OldJoiner(url, identity);
  await first.join('chat:1.0.0@alice');
  await until(() => opened.length === 1, 'the first link', 20_000);
  first.close();
  await until(() => !opened[0]!.isConnected(), 'the loss');
  opened[0]!.send('kept for you');
  const second = new OldJoiner(url, identity);
  t.after(() => second.close());
  await second.join('chat:1.0.0@alice');
  await until(() => second.link.received.length > 0, 'the message', 20_000);
  assert.deepEqual(second.link.received, ['kept for you']);
  assert.equal(opened.length, 1, 'the same connection object');
});

test('joiners never get an offer that an old host has dropped', async (t) => {
  const INTERVAL = 30_000;
  let now = 1_800_000_000_000;
  t.mock.method(Date, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const store = new SqliteStore(':memory:');
  const matchmaker = new Matchmaker(store, new Discovery(store), createLog('silent'), DEFAULT_LIMITS, () => undefined);
  t.after(async () => {
    matchmaker.close();
    await store.close();
  });
  const serviceFqn = 'chat:1.0.0@alice';
  const service = { username: 'alice', publicKey: 'key', name: 'chat', version: '1.0.0', serviceFqn };
  let seed = 20_261_121;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;

  // five slots, each with its own timer; only the latest offer in a slot has a peer connection
  const slots = Array.from({ length: 5 }, (_, slot) => ({ slot, next: now + slot * 900, sdp: '' }));
  const publish = async (slot: (typeof slots)[number]) => {
    slot.sdp = `slot ${slot.slot} at ${now}`;
    slot.next = now + INTERVAL;
    await store.publish({ ...service, offers: [{ sdp: slot.sdp }], ttl: 300_000 }, 100, now);
  };
  const start = now;
  let joined = 0;
  let refused = 0;
  let nextJoiner = now + 6000;
  let found: FoundService | undefined;
  for (; now <= start + 600_000; now += 100) {
    for (const slot of slots) if (slot.next <= now) await publish(slot);
    if (now % 10_000 === 0) await store.sweep(now);
    found ??= (await store.readServices(['chat:1.0.0@alice'], now))[0];
    const free = found ? (await store.listUnanswered(found, 1000, now)).length : 0;
    assert.ok(free <= 100, `${free} free offers`);
    if (now < nextJoiner) continue;
    nextJoiner = now + 500 + Math.floor(random() * 12_000);
    const username = `joiner-${joined}`;
    const joiner = { username, publicKey: `key of ${username}`, address: '192.0.2.1' };
    const match = await matchmaker
      .find(
        { target: { name: 'chat', version: '1.0.0', username: 'alice' } },
        joiner,
        0,
        () => new AbortController().signal,
        noCharge,
      )
      .catch(() => undefined);
    if (!match) {
      refused++;
      continue;
    }
    const { offer } = match;
    const age = now - offer.createdAt;
    assert.ok(age <= 30_000 + INTERVAL, `joiner ${joined} at ${now - start} got an offer ${age} ms old: ${offer.sdp}`);
    assert.equal(await store.answer(offer, { ...joiner, sdp: `answer of ${username}` }, now), 'answered');
    matchmaker.offerAnswered(offer.offerId, joiner.publicKey);
    // the host receives the answer in its next poll, connects, and puts a new offer in the slot
    const slot = slots.find(({ sdp }) => sdp === offer.sdp);
    assert.ok(slot, `joiner ${joined} at ${now - start} got a dead offer: ${offer.sdp}`);
    slot.next = now + 1000;
    joined++;
  }
  assert.ok(joined > 60, `${joined} joined`);
  assert.equal(refused, 0, 'there was always an offer');
});
