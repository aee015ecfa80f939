/**
 * Tests the cost of waiting joiners, measured in store calls and rank computations, never in time, and the limits on waiting
 * joiners. Also tests that joiners cannot improve their rank by answering offers of their own.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Discovery } from '../../server/src/discovery.js';
import { Fairness } from '../../server/src/fairness.js';
import { Heap } from '../../server/src/fair-queue.js';
import { createLog } from '../../server/src/log.js';
import type { Match } from '../../server/src/joiner.js';
import { LEASE_DURATION, Matchmaker } from '../../server/src/matchmaker.js';
import { principalOf } from '../../server/src/principal.js';
import type { RpcError } from '../../server/src/rpc-error.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import type { Store } from '../../server/src/store.js';
import type { WaitingLimits } from '../../server/src/waiting-room.js';
import { MAX_VERSIONS } from '../../server/src/waiting-room.js';
import { mockClock, noCharge, until } from './helpers.js';

const UNBOUNDED = 1_000_000;

function setUp(t: TestContext, limits: Partial<WaitingLimits> = {}) {
  let storeCalls = 0;
  const real = new SqliteStore(':memory:');
  const store = new Proxy<Store>(real, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        storeCalls++;
        return value.apply(target, args) as unknown;
      };
    },
  });
  const demand: { serviceFqn: string; waiting: number }[] = [];
  const all = { maxWaiting: UNBOUNDED, maxWaitingPerKey: UNBOUNDED, maxWaitingPerAddress: UNBOUNDED, ...limits };
  const matchmaker = new Matchmaker(store, new Discovery(store), createLog('silent'), all, ({ serviceFqn }, waiting) =>
    demand.push({ serviceFqn, waiting }),
  );
  t.after(async () => {
    matchmaker.close();
    await real.close();
  });
  let ranked = 0;
  const rank = matchmaker.fairness.rank.bind(matchmaker.fairness);
  matchmaker.fairness.rank = (...args): number => (ranked++, rank(...args));
  let offers = 0;
  return {
    matchmaker,
    demand,
    /** Returns the work done since the previous call to this function. */
    work() {
      const done = { storeCalls, ranked };
      [storeCalls, ranked] = [0, 0];
      return done;
    },
    async publish(name: string, username: string, count: number, by: { key?: string; address?: string; for?: string } = {}) {
      const only = by.for === undefined ? undefined : principalOf({ username: by.for, publicKey: `key of ${by.for}` });
      const sdps = Array.from({ length: count }, () => ({ sdp: `offer ${++offers}`, for: only }));
      const input = { name, version: '1.0.0', username, serviceFqn: `${name}:1.0.0@${username}`, ttl: 300_000 };
      const { service } = await real.publish(
        { ...input, publicKey: by.key ?? `key of ${username}`, offers: sdps },
        1000,
        Date.now(),
      );
      matchmaker.published(service.serviceId, by.address ?? `address of ${username}`);
      matchmaker.offersAdded(service, by.for === undefined ? [] : [by.for]);
      await matchmaker.idle();
      return service;
    },
    /** Looks up a service for the joiner `who`, written as `name@address`, whose public key is `key of name`. */
    find(
      who: string,
      name: string,
      wait = 0,
      more: { owner?: string; version?: string; signal?: AbortSignal } = {},
    ): Promise<Match> {
      const [username, address] = who.split('@') as [string, string];
      const { owner, version = '1.0.0', signal = new AbortController().signal } = more;
      const target = { name, version, ...(owner !== undefined && { username: owner }) };
      const joiner = { username, address, publicKey: `key of ${username}`, instance: `instance of ${username}` };
      return matchmaker.find({ target }, joiner, wait, () => signal, noCharge);
    },
  };
}
const ignore = (): void => undefined;
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'served',
    (error: RpcError) => error.code,
  );

test('the cost of a waiting joiner does not depend on the number of joiners waiting for other services', async (t) => {
  const { find, matchmaker, work } = setUp(t);
  const costs: { storeCalls: number; ranked: number }[] = [];
  for (const crowd of [10, 100, 1000]) {
    while (matchmaker.waiting < crowd) {
      const index = matchmaker.waiting;
      const more = [{}, { owner: `owner${index}` }, { version: `1.0.${index}` }][index % 3]!;
      find(`evil-${index}@E`, index % 3 ? 'same' : `nobody-${index}`, 60_000, more).catch(ignore);
      await until(() => matchmaker.waiting > index);
    }
    await matchmaker.idle();
    work();
    find('honest@H', `calm-${crowd}`, 60_000).catch(ignore);
    const before = matchmaker.waiting;
    await until(() => matchmaker.waiting > before);
    await matchmaker.idle();
    costs.push(work());
  }
  assert.deepEqual(costs[1], costs[0]);
  assert.deepEqual(costs[2], costs[0]);
  assert.ok(costs[0]!.storeCalls <= 4, `${costs[0]!.storeCalls} calls of the store`);
});

test('the cost of an offer does not depend on the number of joiners waiting for other services', async (t) => {
  const { find, matchmaker, work, publish } = setUp(t);
  const costs: { storeCalls: number; ranked: number }[] = [];
  for (const crowd of [10, 1000]) {
    while (matchmaker.waiting < crowd) {
      const index = matchmaker.waiting;
      find(`evil@E`, `nobody-${index}`, 60_000).catch(ignore);
      await until(() => matchmaker.waiting > index);
    }
    await matchmaker.idle();
    const honest = find('honest@H', 'calm', 60_000);
    await until(() => matchmaker.waiting > crowd);
    await matchmaker.idle();
    work();
    await publish('calm', `host${crowd}`, 1);
    await honest;
    costs.push(work());
  }
  assert.deepEqual(costs[1], costs[0]);
});

test('the cost per joiner grows at most logarithmically with the number of joiners waiting for a service', async (t) => {
  const costs: number[] = [];
  const crowds = [50, 200, 800];
  for (const crowd of crowds) {
    const { find, matchmaker, work, publish } = setUp(t);
    const served: Promise<Match>[] = [];
    for (let i = 0; i < crowd; i++) served.push(find(`user-${i}@address-${i % 40}`, 'chat', 60_000));
    await until(() => matchmaker.waiting === crowd);
    await matchmaker.idle();
    work();
    for (let left = crowd; left > 0; left -= 5) await publish('chat', 'host', 5);
    await Promise.all(served);
    const { storeCalls, ranked } = work();
    assert.ok(storeCalls <= 2 * crowd, `${storeCalls} calls of the store for ${crowd} joiners`);
    costs.push(ranked / crowd);
  }
  // the number of joiners grows by a factor of 16, which is 4 doublings
  assert.ok(costs[2]! <= costs[0]! * 2.5, `ranked ${costs.map((each) => each.toFixed(1)).join(', ')} times a joiner`);
});

test('leaving a long queue has a small cost', async (t) => {
  const { find, matchmaker, work } = setUp(t);
  for (let i = 0; i < 500; i++) find(`stays-${i}@S`, 'chat', 60_000).catch(ignore);
  await until(() => matchmaker.waiting === 500);
  await matchmaker.idle();
  work();
  for (let i = 0; i < 300; i++) {
    const leave = new AbortController();
    const call = codeOf(find(`goes-${i}@G${i}`, 'chat', 60_000, { signal: leave.signal }));
    await until(() => matchmaker.waiting === 501);
    leave.abort();
    assert.equal(await call, 'closed');
  }
  const { ranked } = work();
  assert.ok(ranked < 300 * 20, `ranked ${ranked} times`);
  assert.equal(matchmaker.waiting, 500);
});

test('limits the number of waiting joiners per key and per address', async (t) => {
  const { find, matchmaker } = setUp(t, { maxWaitingPerKey: 3, maxWaitingPerAddress: 5 });
  for (let i = 0; i < 3; i++) find('evil@E', `name-${i}`, 60_000).catch(ignore);
  await until(() => matchmaker.waiting === 3);
  assert.equal(await codeOf(find('evil@elsewhere', 'name', 60_000)), 'rate-limited');
  for (let i = 0; i < 2; i++) find(`made-up-${i}@E`, 'name', 60_000).catch(ignore);
  await until(() => matchmaker.waiting === 5);
  assert.equal(await codeOf(find('made-up-3@E', 'name', 60_000)), 'rate-limited');
  find('honest@H', 'name', 60_000).catch(ignore);
  await until(() => matchmaker.waiting === 6);
});

test('limits the number of versions of a service that a key may wait for', async (t) => {
  const { find, matchmaker } = setUp(t);
  const wait = (who: string, name: string, version: string) => codeOf(find(who, name, 60_000, { version }));
  for (let i = 0; i < MAX_VERSIONS; i++) void wait('anna@A', 'chat', `1.${i}.0`);
  await until(() => matchmaker.waiting === MAX_VERSIONS);
  assert.equal(await wait('anna@A', 'chat', '1.9.0'), 'rate-limited');
  void wait('anna@A', 'chat', '1.0.0');
  void wait('anna@A', 'game', '1.9.0');
  void wait('ben@A', 'chat', '1.9.0');
  await until(() => matchmaker.waiting === MAX_VERSIONS + 3);
});

test('a full queue drops a joiner from the address with the most joiners to admit one from a different address', async (t) => {
  const { find, matchmaker } = setUp(t, { maxWaiting: 10 });
  const evil = Array.from({ length: 9 }, (_, index) => codeOf(find(`evil-${index}@E`, `name-${index}`, 60_000)));
  await until(() => matchmaker.waiting === 9);
  for (let i = 0; i < 5; i++) {
    find(`honest-${i}@H${i}`, 'name', 60_000).catch(ignore);
    await until(() => matchmaker.waiting === 10);
  }
  assert.equal(await Promise.race(evil), 'unavailable');
  assert.equal(await codeOf(find('evil-10@E', 'name', 60_000)), 'unavailable');
});

test('a directed offer goes to its recipient even if other joiners are ahead in the queue', async (t) => {
  const { find, matchmaker, publish } = setUp(t);
  const others = ['first@A', 'second@B'].map((who) => find(who, 'chat', 60_000));
  for (const call of others) call.catch(ignore);
  await until(() => matchmaker.waiting === 2);
  const meant = find('third@C', 'chat', 60_000);
  await until(() => matchmaker.waiting === 3);
  await publish('chat', 'host', 1, { for: 'third' });
  assert.ok(await meant);
  assert.equal(matchmaker.waiting, 2);
});

test('a joiner that may hold only one lease is served again when that lease ends', async (t) => {
  const clock = mockClock(t);
  const { find, matchmaker, publish } = setUp(t);
  await publish('chat', 'host', 3);
  for (let i = 0; i < 3; i++) await find('greedy@A', 'chat');
  await clock.tick(LEASE_DURATION + 1000);
  const held = await find('greedy@A', 'chat');
  const waiting = find('greedy@A', 'chat', 60_000);
  await until(() => matchmaker.waiting === 1);
  await matchmaker.idle();
  assert.equal(matchmaker.waiting, 1, 'even though two offers are free');
  matchmaker.offerAnswered(held.offer.offerId, 'key of greedy');
  assert.ok(await waiting);
});

test('the end of a lease has a bounded cost, regardless of the number of matching services', async (t) => {
  const costs: number[] = [];
  for (const services of [10, 300]) {
    const clock = mockClock(t);
    const { find, matchmaker, publish, work } = setUp(t);
    await publish('chat', 'host', 3);
    for (let i = 0; i < 3; i++) await find('greedy@A', 'chat');
    await clock.tick(LEASE_DURATION + 1000);
    const held = await find('greedy@A', 'chat');
    for (let i = 0; i < services; i++) await publish('game', `host-${i}`, 1, { for: 'nobody' });
    for (const version of ['1.0.0', '1.0.0-a', '1.0.0-b', '1.0.0-c']) find('greedy@A', 'game', 60_000, { version }).catch(ignore);
    await until(() => matchmaker.waiting === 4);
    await matchmaker.idle();
    await publish('game', 'host-0', 1);
    assert.equal(matchmaker.waiting, 4, 'none of the four look-ups is served');
    await find('other@B', 'game', 0, { owner: 'host-0' });
    work();
    matchmaker.offerAnswered(held.offer.offerId, 'key of greedy');
    await matchmaker.idle();
    costs.push(work().storeCalls);
    t.mock.timers.reset();
  }
  // one read of the service names, and four reads of services for each of the four queues
  assert.ok(costs[0]! > 0 && costs[1]! <= 17, `${costs.join(', ')} calls of the store`);
});

test('answers to offers of the same key or the same address do not improve the rank of an address', async (t) => {
  const { find, matchmaker, publish } = setUp(t);
  const evilJoiner = { publicKey: 'key of evil', address: 'E' };
  const { fairness } = matchmaker;
  for (let i = 0; i < 3; i++) {
    fairness.startLease({ ...evilJoiner, publicKey: `key of made-up-${i}` });
    fairness.endLease(
      { ...evilJoiner, publicKey: `key of made-up-${i}` },
      'unanswered',
      { publicKey: 'honest host' },
      Date.now(),
    );
  }
  const isLast = (): boolean => fairness.isLast({ publicKey: 'key of fresh', address: 'E' }, Date.now());
  assert.equal(isLast(), true);
  // offers of one key are answered by the same key, and then by an accomplice at the same address
  for (const [user, host] of [
    ['evil', 'evil'],
    ['evil-2', 'evil'],
  ] as const)
    for (let i = 0; i < 4; i++) {
      await publish('own', host, 1, { key: `key of ${host}`, address: 'E' });
      const { offer } = await matchmaker.find(
        { target: { name: 'own', version: '1.0.0' } },
        { username: user, publicKey: `key of ${user}`, address: 'E', instance: 'another' },
        0,
        () => new AbortController().signal,
        noCharge,
      );
      matchmaker.offerAnswered(offer.offerId, `key of ${user}`);
    }
  assert.equal(isLast(), true);
  for (let i = 0; i < 4; i++) {
    await publish('real', 'host', 1);
    const { offer } = await find('good@E', 'real');
    matchmaker.offerAnswered(offer.offerId, 'key of good');
  }
  assert.equal(isLast(), false, 'answers to offers of others improve the rank');
});

test('a lease that is answered by a different key does not improve the rank of its holder', async (t) => {
  const { find, matchmaker, publish } = setUp(t);
  const { fairness } = matchmaker;
  for (let i = 0; i < 3; i++) {
    const one = { publicKey: `made-up-${i}`, address: 'E' };
    fairness.startLease(one);
    fairness.endLease(one, 'unanswered', { publicKey: 'honest host' }, Date.now());
  }
  for (let i = 0; i < 6; i++) {
    await publish('chat', 'host', 1);
    const { offer } = await find('evil@E', 'chat');
    matchmaker.offerAnswered(offer.offerId, 'key of an accomplice elsewhere');
  }
  assert.equal(fairness.isLast({ publicKey: 'fresh', address: 'E' }, Date.now()), true);
});

test('one misbehaving key does not delay other joiners that share an address with the host', () => {
  const fairness = new Fairness();
  const now = Date.now();
  const teacher = { publicKey: 'teacher', address: 'school' };
  for (let i = 0; i < 10; i++) {
    const bad = { publicKey: 'bad', address: 'school' };
    fairness.startLease(bad);
    fairness.endLease(bad, 'unanswered', teacher, now);
  }
  assert.equal(fairness.isLast({ publicKey: 'pupil', address: 'school' }, now), false);
  assert.equal(fairness.isLast({ publicKey: 'bad', address: 'school' }, now), true);
});

test('an unsuccessful look-up notifies a limited number of publishers, each at most once per interval', async (t) => {
  const { find, publish, demand } = setUp(t);
  for (let i = 0; i < 40; i++) await publish('chat', `host${i}`, 1);
  for (let i = 0; i < 40; i++) await find(`joiner-${i}@J${i}`, 'chat');
  demand.length = 0;
  assert.equal(await codeOf(find('late@L', 'chat')), 'no-offer');
  assert.ok(demand.length >= 1 && demand.length <= 8, `${demand.length} were told`);
  demand.length = 0;
  for (let i = 0; i < 50; i++) assert.equal(await codeOf(find('late@L', 'chat', 0, { owner: 'host0' })), 'no-offer');
  assert.ok(demand.length <= 4, `${demand.length} times for 50 look-ups in a moment`);
});

test('the heap returns items in the order of their current rank', () => {
  const heap = new Heap<string>();
  const ranks = new Map<string, number>();
  let seed = 7;
  const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) % 50;
  for (let i = 0; i < 500; i++) {
    ranks.set(`item ${i}`, random());
    heap.push(`item ${i}`, ranks.get(`item ${i}`)!);
  }
  for (const name of ranks.keys()) if (random() < 20) ranks.set(name, ranks.get(name)! + random());
  const rankOf = (name: string): number | undefined => ranks.get(name);
  let last = -1;
  while (ranks.size) {
    const name = heap.first(rankOf)!;
    assert.equal(ranks.get(name), Math.min(...ranks.values()));
    assert.ok(ranks.get(name)! >= last);
    last = ranks.get(name)!;
    ranks.delete(name);
  }
  assert.equal(heap.first(rankOf), undefined);
});
