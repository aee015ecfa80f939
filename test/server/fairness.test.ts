/**
 * Tests the order of the queue: round-robin by address, then by key; joiners with too many unanswered leases are served last
 * and may hold only one lease at a time. The first tests call Fairness directly and pass the time as an argument; the others
 * use Matchmaker with an in-memory store and a mocked clock.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createLog } from '../../server/src/log.js';
import { Discovery } from '../../server/src/discovery.js';
import { Fairness, type Asker } from '../../server/src/fairness.js';
import type { WaitingLimits } from '../../server/src/waiting-room.js';
import type { Joiner, Match } from '../../server/src/joiner.js';
import { LEASE_DURATION, Matchmaker } from '../../server/src/matchmaker.js';
import { RpcError } from '../../server/src/rpc-error.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import { mockClock, noCharge, until } from './helpers.js';

const T = 1_700_000_000_000;
/** Publisher of the offers that the joiners lease. */
const host = { publicKey: 'key of host', address: 'address of host' };
const asker = (publicKey: string, address = `address of ${publicKey}`): Asker => ({ publicKey, address });
/** Starts leases and ends them as unanswered. */
function leaveUnanswered(fairness: Fairness, who: Asker, now: number, times = 3): void {
  for (let i = 0; i < times; i++) {
    fairness.startLease(who);
    fairness.endLease(who, 'unanswered', host, now);
  }
}

test('the least recently served joiner comes first, by address and then by key', () => {
  const fairness = new Fairness();
  const [a1, a2, b1] = [asker('a1', 'A'), asker('a2', 'A'), asker('b1', 'B')];
  const order = (): Asker[] => [a1, a2, b1].sort((x, y) => fairness.compare(x, y, T));
  fairness.startLease(a1);
  assert.deepEqual(order(), [b1, a2, a1], 'first the address and then the key that have not been served');
  fairness.startLease(b1);
  assert.deepEqual(order(), [a2, a1, b1]);
});

test('a joiner with three unanswered leases in the last minute is served last', () => {
  const fairness = new Fairness();
  const [greedy, good] = [asker('greedy'), asker('good')];
  leaveUnanswered(fairness, greedy, T, 2);
  assert.equal(fairness.isLast(greedy, T), false);
  leaveUnanswered(fairness, greedy, T, 1);
  assert.equal(fairness.isLast(greedy, T), true);
  fairness.startLease(good);
  assert.ok(fairness.compare(good, greedy, T) < 0, 'even though it was served later');
  assert.equal(fairness.isLast(greedy, T + 59_999), true);
  assert.equal(fairness.isLast(greedy, T + 60_000), false);
});

test('answered leases do not count against a joiner', () => {
  const fairness = new Fairness();
  const busy = asker('busy');
  for (let i = 0; i < 50; i++) {
    fairness.startLease(busy);
    fairness.endLease(busy, 'answered', host, T);
  }
  assert.equal(fairness.isLast(busy, T), false);
});

test('a joiner that is served last may hold only one lease at a time', () => {
  const fairness = new Fairness();
  const greedy = asker('greedy');
  leaveUnanswered(fairness, greedy, T);
  assert.equal(fairness.mayLease(greedy, T), true);
  fairness.startLease(greedy);
  assert.equal(fairness.mayLease(greedy, T), false);
  fairness.endLease(greedy, 'answered', host, T);
  assert.equal(fairness.mayLease(greedy, T), true);
});

test('a joiner may hold at most ten leases at a time', () => {
  const fairness = new Fairness();
  const greedy = asker('greedy');
  for (let i = 0; i < 10; i++) {
    assert.equal(fairness.mayLease(greedy, T), true);
    fairness.startLease(greedy);
  }
  assert.equal(fairness.mayLease(greedy, T), false);
  assert.equal(fairness.mayLease(asker('another', greedy.address), T), true);
  fairness.endLease(greedy, 'answered', host, T);
  assert.equal(fairness.mayLease(greedy, T), true);
});

test('an address with several misbehaving keys is served last, but an address with only one is not', () => {
  const fairness = new Fairness();
  for (let i = 0; i < 3; i++) leaveUnanswered(fairness, asker(`made up ${i}`, 'farm'), T, 1);
  assert.equal(fairness.isLast(asker('made up 4', 'farm'), T), true);
  for (let i = 0; i < 4; i++) {
    fairness.startLease(asker(`pupil ${i}`, 'school'));
    fairness.endLease(asker(`pupil ${i}`, 'school'), 'answered', host, T);
  }
  leaveUnanswered(fairness, asker('bad pupil', 'school'), T);
  assert.equal(fairness.isLast(asker('pupil 1', 'school'), T), false);
  assert.equal(fairness.isLast(asker('bad pupil', 'school'), T), true);
});

test('a sweep forgets only joiners that have been inactive for a minute', () => {
  const fairness = new Fairness();
  const greedy = asker('greedy');
  leaveUnanswered(fairness, greedy, T);
  fairness.sweep(T + 30_000);
  assert.equal(fairness.isLast(greedy, T + 30_000), true);
  fairness.sweep(T + 60_001);
  assert.equal(fairness.isLast(greedy, T + 60_001), false);
});

/** Creates a matchmaker with one service in an in-memory store. Joiners are written as `name@address`. */
function setUp(t: TestContext, limits: Partial<WaitingLimits> = {}) {
  const store = new SqliteStore(':memory:');
  const demand: number[] = [];
  const all = { maxWaiting: 100, maxWaitingPerKey: 100, maxWaitingPerAddress: 100, ...limits };
  const matchmaker = new Matchmaker(store, new Discovery(store), createLog('silent'), all, (_service, waiting) =>
    demand.push(waiting),
  );
  t.after(async () => {
    matchmaker.close();
    await store.close();
  });
  let count = 0;
  const target = { name: 'chat', version: '1.0.0', username: 'host' };
  const joiner = (text: string): Joiner => {
    const [username, address] = text.split('@') as [string, string];
    return { username, publicKey: `key of ${username}`, address, instance: `instance of ${username}` };
  };
  return {
    store,
    matchmaker,
    demand,
    joiner,
    publish: async (offers: number, by: Partial<Asker> & { for?: string } = {}): Promise<void> => {
      const sdps = Array.from({ length: offers }, () => ({ sdp: `offer ${++count}`, for: by.for }));
      const input = { ...target, serviceFqn: 'chat:1.0.0@host', publicKey: by.publicKey ?? 'k', ttl: 300_000 };
      const { service } = await store.publish({ ...input, offers: sdps }, 100, Date.now());
      matchmaker.published(service.serviceId, by.address ?? 'address of host');
      matchmaker.offersAdded(service, by.for === undefined ? [] : [by.for]);
      await matchmaker.idle();
    },
    find: (who: string, wait = 0, signal = new AbortController().signal): Promise<Match> =>
      matchmaker.find({ target }, joiner(who), wait, () => signal, noCharge),
  };
}

test('the queue is served round-robin by address, then by key', async (t) => {
  const { matchmaker, publish, find } = setUp(t);
  const served: string[] = [];
  // joiners from an address with many keys are queued first; one of these keys is queued twice
  const line = ['a1@A', 'a1@A', 'a2@A', 'a3@A', 'b1@B', 'b2@B', 'c1@C'];
  const all = line.map((who) => find(who, 60_000).then(() => served.push(who)));
  await until(() => matchmaker.waiting === line.length);
  for (let i = 0; i < line.length; i++) {
    await publish(1);
    await until(() => served.length === i + 1);
  }
  await Promise.all(all);
  assert.deepEqual(served, ['a1@A', 'b1@B', 'c1@C', 'a2@A', 'b2@B', 'a3@A', 'a1@A']);
});

test('the matchmaker serves a joiner with three unanswered leases after all others', async (t) => {
  const clock = mockClock(t);
  const { matchmaker, publish, find } = setUp(t);
  await publish(3);
  for (let i = 0; i < 3; i++) await find('greedy@A');
  await clock.tick(LEASE_DURATION + 1000);
  // the three offers are free again: the greedy joiner gets one of them, but not a second
  await find('greedy@A');
  await assert.rejects(find('greedy@A'), (error: RpcError) => error.code === 'rate-limited');
  await find('good@B');
  await find('good@B');

  const served: string[] = [];
  void find('greedy@A', 60_000).then(
    () => served.push('greedy'),
    () => undefined,
  );
  void find('late@C', 60_000).then(() => served.push('late'));
  await until(() => matchmaker.waiting === 2);
  await publish(1);
  await until(() => served.length === 1);
  assert.deepEqual(served, ['late']);
});

test('a key that leases every offer it can get does not block other joiners', async (t) => {
  const clock = mockClock(t);
  const { publish, find } = setUp(t);
  let greedy: unknown[] = [];
  for (let round = 0; round < 6; round++) {
    await publish(1);
    const results = await Promise.allSettled([find('greedy@A'), find('greedy@A'), find('greedy@A')]);
    greedy = results.filter(({ status }) => status === 'fulfilled');
    const good = find(`good${round}@B${round}`, 60_000);
    await clock.tick(LEASE_DURATION + 1000);
    await good;
  }
  assert.equal(greedy.length, 1, 'in the last round, only one of its look-ups succeeds');
});

test('a lease resumed from a different address counts against neither address once it has ended', async (t) => {
  const clock = mockClock(t);
  const { matchmaker, publish, joiner } = setUp(t);
  await publish(1);
  // an old client without an instance makes two look-ups, and changes networks in between
  const target = { name: 'chat', version: '1.0.0', username: 'host' };
  const signal = new AbortController().signal;
  for (const who of ['old@wifi', 'old@mobile']) {
    await matchmaker.find({ target }, { ...joiner(who), instance: undefined }, 0, () => signal, noCharge);
  }
  await clock.tick(LEASE_DURATION + 1000);
  for (const place of ['wifi', 'mobile']) {
    const neighbour = asker('neighbour', place);
    leaveUnanswered(matchmaker.fairness, neighbour, Date.now());
    assert.equal(matchmaker.fairness.mayLease(asker('third', place), Date.now()), true, place);
  }
});

test('`demand` reports the number of waiting joiners whenever a joiner is added to the queue', async (t) => {
  const { matchmaker, demand, publish, find } = setUp(t);
  await publish(1);
  await find('first@A');
  const waiting = [find('second@B', 60_000), find('third@C', 60_000)];
  await until(() => demand.at(-1) === 2);
  await publish(2);
  await Promise.all(waiting);
  assert.equal(matchmaker.waiting, 0);
});

test('rejects a joiner if the queue is full, and removes a joiner that disconnects', async (t) => {
  const { find, matchmaker } = setUp(t, { maxWaiting: 1 });
  const abort = new AbortController();
  const waiting = find('first@A', 60_000, abort.signal);
  await assert.rejects(find('second@B', 60_000), (error: RpcError) => error.code === 'unavailable');
  abort.abort();
  await assert.rejects(waiting, (error: RpcError) => error.code === 'closed');
  assert.equal(matchmaker.waiting, 0);
  await assert.rejects(find('third@C', 60_000, AbortSignal.abort()), (error: RpcError) => error.code === 'closed');
  assert.equal(matchmaker.waiting, 0);
});

test('an unsuccessful look-up reads the names once and costs one point per 25 services', async (t) => {
  const { store, matchmaker } = setUp(t);
  for (let index = 0; index < 60; index++) {
    const username = `host-${index}`;
    const offers = [{ sdp: username, for: 'somebody else' }];
    const service = { username, publicKey: `key of ${username}`, name: 'game', version: '1.0.0' };
    await store.publish({ ...service, serviceFqn: `game:1.0.0@${username}`, offers, ttl: 60_000 }, 100, Date.now());
  }
  const [reads, leases] = [t.mock.method(store, 'findServices'), t.mock.method(store, 'lease')];
  let points = 0;
  const find = (username: string, most: number): Promise<Match> =>
    matchmaker.find(
      { target: { name: 'game', version: '1.0.0' } },
      { username, publicKey: `key of ${username}`, address: '192.0.2.1' },
      0,
      () => new AbortController().signal,
      (more) => ((points += more) > most ? Promise.reject(new RpcError('rate-limited', 'too many')) : Promise.resolve()),
    );
  await assert.rejects(find('joiner', Infinity), (error: RpcError) => error.code === 'no-offer');
  assert.deepEqual([reads.mock.callCount(), leases.mock.callCount(), points], [1, 0, 2]);
  points = 0;
  await assert.rejects(find('poor', 1), (error: RpcError) => error.code === 'rate-limited');
  points = 0;
  const many = Array.from({ length: 1000 }, (_, index) => `game:1.0.0@of-${index}`);
  t.mock.method(store, 'findServices', () => Promise.resolve(many));
  await assert.rejects(find('other', Infinity), (error: RpcError) => error.code === 'not-found');
  assert.equal(points, 2 + 3, 'reading the names costs 2 more points');
});

test('a store error while a joiner waits rejects only its look-up', async (t) => {
  const { store, find, matchmaker } = setUp(t);
  t.mock.method(console, 'error', () => undefined);
  const waiting = find('first@A', 50);
  const fate = waiting.then(
    () => 'served',
    () => 'refused',
  );
  await until(() => matchmaker.waiting === 1);
  t.mock.method(store, 'findServices', () => Promise.reject(new Error('disk full')));
  assert.equal(await fate, 'refused');
  assert.equal(matchmaker.waiting, 0);
});
