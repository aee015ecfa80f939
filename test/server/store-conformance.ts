/**
 * Conformance suite for every Store: claims, publishing, leases, answers, candidates, polls and sweeps. The file store.test.ts
 * runs the suite on SQLite, in memory and with a file; redis-store.test.ts runs it on Redis.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { MAX_LISTED, MAX_POLLED, type OfferRow, type PublishInput, type Store } from '../../server/src/store.js';
import { principalOf, usernameOf } from '../../server/src/principal.js';
import type { CandidateInfo, WireCandidate } from '../../src/protocol/index.js';

const DAY = 86_400_000;
/** Start time of the tests; any value is valid, because stores have no clock. */
const T = 1_700_000_000_000;
const MAX_FREE = 100;

const publishing = (sdps: string[], more: Partial<PublishInput> = {}): PublishInput => ({
  username: 'alice',
  publicKey: 'key-a',
  name: 'chat',
  version: '1.0.0',
  serviceFqn: 'chat:1.0.0@alice',
  offers: sdps.map((sdp) => ({ sdp })),
  ttl: 300_000,
  ...more,
});
const lines = (...texts: string[]): WireCandidate[] => texts.map((candidate) => ({ candidate }));
const textsOf = (found: CandidateInfo[]): string[] => found.map(({ candidate }) => candidate.candidate);
const alice = { username: 'alice', publicKey: 'key-a' };
const bob = { username: 'bob', publicKey: 'key-b', instance: 'bob-instance' };
const carl = { username: 'carl', publicKey: 'key-carl' };
const [ALICE, BOB, CARL] = [alice, bob, carl].map(principalOf) as [string, string, string];
const bobAnswers = { username: 'bob', publicKey: 'key-b', sdp: 'answer' };
const asOfferer = { ...alice, role: 'offerer' as const };
const asAnswerer = { username: 'bob', publicKey: 'key-b', role: 'answerer' as const };

async function publishOne(store: Store, sdp = 'sdp', now = T, more: Partial<PublishInput> = {}): Promise<OfferRow> {
  return (await store.publish(publishing([sdp], more), MAX_FREE, now)).offers[0]!;
}
async function added(
  store: Store,
  offer: OfferRow,
  from: Parameters<Store['addCandidates']>[1],
  now: number,
  ...texts: string[]
) {
  const result = await store.addCandidates(offer, from, lines(...texts), now);
  assert.ok(Array.isArray(result), 'no wait was needed');
  return result;
}

/**
 * @param open opens an empty store, which the suite closes
 * @param keys `swept` if `sweep` deletes expired data, or `end-by-themselves` if the store deletes expired data by its own
 * clock, which does not reach the expiry times of these tests. A store with `end-by-themselves` lists no instances, because
 * their lifetimes are kept elsewhere.
 */
export function storeConformance(
  name: string,
  open: (t: TestContext) => Promise<Store>,
  keys: 'swept' | 'end-by-themselves' = 'swept',
): void {
  const isSwept = keys === 'swept';
  const check = (what: string, body: (store: Store) => Promise<void>): void =>
    void it(what, async (t) => {
      const store = await open(t as TestContext);
      try {
        await body(store);
      } finally {
        await store.close();
      }
    });

  describe(`${name}: claims`, () => {
    check('a name belongs to the key that claimed it first', async (store) => {
      assert.equal(await store.claim('alice', 'key-a', false, T), 'ok');
      assert.equal(await store.claim('alice', 'key-b', false, T + 1), 'name-taken');
      const user = await store.getUser('alice', T);
      assert.deepEqual([user?.publicKey, user?.claimedAt, user?.expiresAt], ['key-a', T, T + 365 * DAY]);
    });
    check('a key holds one name at a time', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      assert.deepEqual(await store.claim('other', 'key-a', false, T), { keyHolds: 'alice' });
      assert.equal(await store.getUser('other', T), undefined);
    });
    check('using a name renews its claim', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      await store.claim('alice', 'key-a', false, T + 10 * DAY);
      assert.equal((await store.getUser('alice', T + 370 * DAY))?.expiresAt, T + 375 * DAY);
      assert.equal((await store.getUser('alice', T + 370 * DAY))?.claimedAt, T);
    });
    check('an expired claim frees both the name and the key, even before a sweep', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      const later = T + 365 * DAY;
      assert.equal(await store.getUser('alice', later), undefined);
      assert.equal(await store.claim('alice', 'key-b', false, later), 'ok');
      assert.equal(await store.claim('other', 'key-a', false, later), 'ok', 'the key is free for another name');
    });
    check('records when a key last signed a v2 message', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      assert.equal((await store.getUser('alice', T))?.lastV2At, 0);
      await store.claim('alice', 'key-a', true, T + 5);
      assert.equal((await store.getUser('alice', T + 5))?.lastV2At, T + 5);
      await store.claim('alice', 'key-a', false, T + 2 * DAY);
      assert.equal((await store.getUser('alice', T + 2 * DAY))?.lastV2At, T + 5, 'the old form does not reset it');
    });
  });

  describe(`${name}: publishing`, () => {
    check('publishing adds to the existing offers', async (store) => {
      await publishOne(store, 'one');
      await publishOne(store, 'two', T + 1);
      const service = await publishOne(store, 'three', T + 2);
      assert.deepEqual(
        (await store.listUnanswered(service, 10, T + 3)).map(({ sdp }) => sdp),
        ['three', 'two', 'one'],
      );
    });
    check('publishing the SDP of a live offer again extends the lifetime of the offer', async (store) => {
      const first = await publishOne(store);
      const again = await publishOne(store, 'sdp', T + 1000);
      assert.equal(again.offerId, first.offerId);
      assert.equal(again.createdAt, first.createdAt);
      assert.equal(again.expiresAt, T + 301_000);
      assert.equal((await store.listUnanswered(first, 10, T + 1000)).length, 1);
    });
    check('the same SDP from two instances creates two offers', async (store) => {
      const one = await publishOne(store, 'sdp', T, { instance: 'instance-1' });
      const two = await publishOne(store, 'sdp', T, { instance: 'instance-2' });
      assert.notEqual(one.offerId, two.offerId);
    });
    check('an answered offer that is published again stays answered', async (store) => {
      const offer = await publishOne(store);
      await store.answer(offer, bobAnswers, T);
      const again = await publishOne(store, 'sdp', T + 1);
      assert.equal(again.offerId, offer.offerId);
      assert.equal(again.answer?.username, 'bob');
    });
    check('drops the oldest free offers beyond the limit, but no leased or answered ones', async (store) => {
      const answered = await publishOne(store, 'answered', T);
      await store.answer(answered, bobAnswers, T);
      const leased = await publishOne(store, 'leased', T + 1);
      await store.lease(leased, bob, T + 8000, T + 1);
      for (let i = 0; i < 5; i++) await store.publish(publishing([`free ${i}`]), 3, T + 2 + i);
      const free = (await store.listUnanswered(leased, 100, T + 10)).map(({ sdp }) => sdp);
      assert.deepEqual(free, ['free 4', 'free 3', 'free 2', 'leased']);
      assert.ok(await store.getOffer(answered, T + 10));
    });
    check('only the newest ended services of a user keep their ids', async (store) => {
      const publish = async (index: number, now: number) => {
        const name = `n${index}`;
        const more = { name, serviceFqn: `${name}:1.0.0@alice`, ttl: 1000, metadata: { index } };
        return (await store.publish(publishing(['a'], more), MAX_FREE, now, 10)).service;
      };
      const ids: string[] = [];
      for (let i = 0; i < 30; i++) ids.push((await publish(i, T + 2000 * i)).serviceId);
      const later = T + 60_000;
      const last = await publish(29, later);
      assert.equal(last.serviceId, ids[29]);
      assert.deepEqual((await store.getService(last.serviceId, later))?.metadata, { index: 29 });
      assert.equal((await publish(22, later)).serviceId, ids[22]);
      assert.notEqual((await publish(0, later)).serviceId, ids[0], 'the oldest service has lost its id');
      assert.equal((await store.countOf('alice', 'n22:1.0.0@alice', later)).otherServices, 2);
    });
    check('a service that has ended keeps its id when it is published again', async (store) => {
      const { service } = await store.publish(publishing(['a']), MAX_FREE, T);
      assert.equal(await store.getService(service.serviceId, T + 300_000), undefined);
      const again = await store.publish(publishing(['b']), MAX_FREE, T + DAY);
      assert.equal(again.service.serviceId, service.serviceId);
      assert.ok(await store.getService(service.serviceId, T + DAY));
    });
    check('hidden services can be found only by id', async (store) => {
      const metadata = { title: 'ünï', list: [1, null, { a: true }] };
      const { service } = await store.publish(publishing(['a'], { hidden: true, metadata }), MAX_FREE, T);
      assert.deepEqual(await store.findServices('chat', undefined, T, 'anywhere'), []);
      assert.deepEqual(await store.findServices('chat', 'alice', T, 'anywhere'), []);
      assert.deepEqual((await store.getService(service.serviceId, T))?.metadata, metadata);
    });
    check('finds live services by name and optionally by user', async (store) => {
      await publishOne(store);
      await publishOne(store, 'b', T, { username: 'carl', publicKey: 'key-c', serviceFqn: 'chat:1.0.0@carl' });
      await publishOne(store, 'c', T, { name: 'game', serviceFqn: 'game:1.0.0@alice' });
      const users = async (user?: string, now = T) =>
        (await store.findServices('chat', user, now, 'anywhere')).map((fqn) => fqn.split('@')[1]).sort();
      assert.deepEqual(await users(), ['alice', 'carl']);
      assert.deepEqual(await users('carl'), ['carl']);
      assert.deepEqual(await users(undefined, T + 300_000), []);
    });
    check('a discovery reads a limited number of services, starting at a random position', async (store) => {
      const count = MAX_LISTED + 200;
      for (let i = 0; i < count; i++)
        await publishOne(store, 'x', T, { username: `u-${i}`, publicKey: `key-${i}`, serviceFqn: `chat:1.0.0@u-${i}` });
      const seen = new Set<string>();
      for (let i = 0; i < 10; i++) {
        const found = await store.findServices('chat', undefined, T, 'anywhere');
        assert.equal(found.length, MAX_LISTED);
        assert.equal(new Set(found).size, MAX_LISTED);
        for (const fqn of found) seen.add(fqn);
      }
      assert.ok(seen.size > MAX_LISTED, `${seen.size} of ${count} were found`);
    });
    check('only the owner can delete a service, together with its offers', async (store) => {
      const offer = await publishOne(store);
      await store.answer(offer, bobAnswers, T);
      assert.equal(await store.deleteService(bob, 'chat:1.0.0@alice'), undefined);
      assert.equal(await store.deleteService(alice, 'chat:1.0.0@alice'), offer.serviceId);
      assert.equal(await store.getOffer(offer, T), undefined);
      assert.equal(await store.deleteService(alice, 'chat:1.0.0@alice'), undefined);
    });
    check('counts offers, services and publishers', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      const [free, answered] = [await publishOne(store, 'free'), await publishOne(store, 'answered')];
      await publishOne(store, 'game', T, { name: 'game', serviceFqn: 'game:1.0.0@alice', ttl: 1000 });
      const count = (fqn: string, now = T) => store.countOf('alice', fqn, now);
      assert.deepEqual(await count('chat:1.0.0@alice'), { offers: 3, otherServices: 1 });
      assert.deepEqual(await count('new:1.0.0@alice'), { offers: 3, otherServices: 2 });
      assert.deepEqual(await count('new:1.0.0@alice', T + 1000), { offers: 2, otherServices: 1 });
      assert.deepEqual(await store.countOf('bob', 'chat:1.0.0@bob', T), { offers: 0, otherServices: 0 });
      await store.answer(answered, bobAnswers, T);
      await store.withdraw(alice, 'chat:1.0.0@alice', [free.offerId]);
      assert.deepEqual(await count('new:1.0.0@alice'), { offers: 2, otherServices: 2 }, 'answered offers are counted');
      assert.deepEqual(await count('new:1.0.0@alice', T + 60_000), { offers: 0, otherServices: 1 });
      assert.equal(await store.countAnswered(T), 1);
      assert.equal(await store.countPublishers(T), 1);
      await publishOne(store, 'b', T, { username: 'bob', publicKey: 'key-b', serviceFqn: 'chat:1.0.0@bob' });
      assert.equal(await store.countPublishers(T), 2);
      assert.equal(await store.countPublishers(T + 400_000), 0);
    });
    check('releasing a name frees the name and its key, and deletes its services', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      const offer = await publishOne(store);
      assert.deepEqual(await store.release('alice', 'key-b'), []);
      assert.ok(await store.getUser('alice', T));
      assert.deepEqual(await store.release('alice', 'key-a'), [offer.serviceId]);
      assert.equal(await store.getUser('alice', T), undefined);
      assert.equal(await store.getOffer(offer, T), undefined);
      assert.equal(await store.getService(offer.serviceId, T), undefined);
      assert.equal(await store.claim('alice', 'key-b', false, T), 'ok');
      assert.equal(await store.claim('carl', 'key-a', false, T), 'ok');
    });
    check('`withdraw` removes only free offers of the given service and user', async (store) => {
      const [free, answered] = [await publishOne(store, 'free'), await publishOne(store, 'answered')];
      await store.answer(answered, bobAnswers, T);
      const ids = [free.offerId, answered.offerId, 'nothing'];
      assert.equal(await store.withdraw(bob, 'chat:1.0.0@alice', ids), 0);
      assert.equal(await store.withdraw(alice, 'chat:1.0.0@alice', ids), 1);
      assert.equal(await store.getOffer(free, T), undefined);
      assert.ok(await store.getOffer(answered, T));
    });
    check('`withdrawInstance` removes only the free offers of the given instance', async (store) => {
      const answered = await publishOne(store, 'answered', T, { instance: 'instance-1' });
      await store.answer(answered, bobAnswers, T);
      await publishOne(store, 'one', T, { instance: 'instance-1' });
      const two = await publishOne(store, 'two', T, { instance: 'instance-2' });
      const old = await publishOne(store, 'old');
      const ofBob = { username: 'bob', publicKey: 'key-b', serviceFqn: 'chat:1.0.0@bob', instance: 'instance-1' };
      const bobs = await publishOne(store, 'bobs', T, ofBob);
      if (isSwept) assert.equal((await store.listInstances(T)).length, 3);
      assert.deepEqual(await store.withdrawInstance(ALICE, 'instance-1', T), [
        { serviceId: two.serviceId, serviceFqn: 'chat:1.0.0@alice' },
      ]);
      for (const offer of [answered, two, old, bobs]) assert.ok(await store.getOffer(offer, T));
      if (!isSwept) return;
      assert.deepEqual((await store.listInstances(T)).map(({ owner, instance }) => `${usernameOf(owner)} ${instance}`).sort(), [
        'alice instance-2',
        'bob instance-1',
      ]);
    });
  });

  describe(`${name}: transfer of a name to a different key`, () => {
    const successor = { username: 'alice', publicKey: 'key-heir' };
    /** Releases the name `alice`, and claims it with the key `key-heir`. */
    async function transferName(store: Store): Promise<void> {
      await store.claim('alice', 'key-a', false, T);
      await store.release('alice', 'key-a');
      assert.equal(await store.claim('alice', 'key-heir', false, T), 'ok');
    }
    const isTaken = { name: 'RpcError', code: 'name-taken' };

    check('the former key can no longer write under the name', async (store) => {
      await store.claim('bob', 'key-b', false, T);
      const offer = await publishOne(store, 'bobs', T, {
        ...{ username: 'bob', publicKey: 'key-b', serviceFqn: 'chat:1.0.0@bob' },
      });
      await transferName(store);
      await assert.rejects(publishOne(store, 'late'), isTaken);
      await assert.rejects(store.answer(offer, { ...alice, sdp: 'late' }, T), isTaken);
      await assert.rejects(store.addCandidates(offer, { ...alice, role: 'answerer' }, lines('late'), T), isTaken);
      assert.deepEqual(await store.findServices('chat', 'alice', T, 'anywhere'), []);
      const mine = await publishOne(store, 'mine', T, successor);
      assert.equal(await store.withdraw(alice, mine.serviceFqn, [mine.offerId]), 0);
      assert.equal(await store.deleteService(alice, mine.serviceFqn), undefined);
      assert.deepEqual(await store.withdrawInstance(ALICE, '', T), []);
      assert.deepEqual(await store.release('alice', 'key-a'), []);
      assert.equal((await store.getOffer(mine, T))?.publicKey, 'key-heir');
      assert.equal((await store.getUser('alice', T))?.publicKey, 'key-heir');
    });
    check('a new claim to an expired name ends its services, offers and ids', async (store) => {
      await store.claim('alice', 'key-a', false, T - 365 * DAY);
      const offer = await publishOne(store, 'old', T - 1, { ttl: DAY });
      assert.equal(await store.claim('alice', 'key-heir', false, T), 'ok');
      assert.deepEqual(await store.findServices('chat', 'alice', T, 'anywhere'), []);
      assert.equal(await store.getOffer(offer, T), undefined);
      const mine = await publishOne(store, 'new', T, successor);
      assert.notEqual(mine.serviceId, offer.serviceId);
      assert.deepEqual(
        (await store.listUnanswered(mine, 10, T)).map(({ sdp }) => sdp),
        ['new'],
      );
    });
    check('publishing replaces a service that the former key published too late', async (store) => {
      const late = await publishOne(store, 'late');
      await store.claim('alice', 'key-heir', false, T);
      const mine = await publishOne(store, 'new', T, successor);
      assert.notEqual(mine.serviceId, late.serviceId);
      assert.equal(await store.getOffer(late, T), undefined);
    });
    check('leases, answers, candidates, polls and `haveMet` remain tied to the former key', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      const service = { username: 'bob', publicKey: 'key-b', serviceFqn: 'chat:1.0.0@bob' };
      const [first, second] = [await publishOne(store, 'one', T, service), await publishOne(store, 'two', T, service)];
      const leased = (await store.lease(first, { ...alice, instance: 'alice-1' }, T + 8000, T))!;
      assert.equal(leased.leaseHolder, ALICE);
      await store.addCandidates(second, { ...alice, role: 'answerer', parkedUntil: T + 10_000 }, lines('of alice'), T);
      await store.answer(first, { ...alice, instance: 'alice-1', sdp: 'answer of alice' }, T);
      await store.release('alice', 'key-a');
      await store.claim('alice', 'key-heir', false, T);
      assert.deepEqual((await store.pollOffers(successor, 'alice-1', 0, T)).offers, []);
      assert.equal(await store.haveMet(BOB, principalOf(successor), T), false);
      assert.equal(await store.haveMet(BOB, ALICE, T), true);
      assert.equal(await store.answer(first, { ...successor, sdp: 'answer of alice' }, T), 'already-answered');
      await store.answer(second, { ...successor, sdp: 'answer of the heir' }, T);
      assert.deepEqual(await store.listCandidates((await store.getOffer(second, T))!, 'answerer', T), []);
    });
    check('a directed offer for the former key is not leased to the new key', async (store) => {
      const service = { username: 'bob', publicKey: 'key-b', serviceFqn: 'chat:1.0.0@bob' };
      const offer = await publishOne(store, '', T, { ...service, offers: [{ sdp: 'for alice', for: ALICE }] });
      assert.equal(await store.lease(offer, { ...successor, instance: 'alice-1' }, T + 8000, T), undefined);
      assert.equal((await store.lease(offer, { ...alice, instance: 'alice-1' }, T + 8000, T))?.sdp, 'for alice');
    });
    check('only one of several concurrent claims to a name succeeds', async (store) => {
      const verdicts = await Promise.all(['key-1', 'key-2', 'key-3'].map((key) => store.claim('alice', key, true, T, undefined)));
      assert.deepEqual(verdicts.sort(), ['name-taken', 'name-taken', 'ok']);
    });
  });

  describe(`${name}: leases and answers`, () => {
    check('leases the newest free offer to one call at a time', async (store) => {
      const service = await publishOne(store, 'one');
      await publishOne(store, 'two', T + 1);
      const lease = async (now: number) => (await store.lease(service, bob, now + 8000, now))?.sdp;
      assert.deepEqual([await lease(T + 2), await lease(T + 3), await lease(T + 4)], ['two', 'one', undefined]);
      assert.equal(await lease(T + 8001), undefined);
      assert.equal(await lease(T + 8002), 'two');
    });
    check('a joiner without an instance gets its leased offer again without an extension of the lease', async (store) => {
      const service = await publishOne(store, 'one');
      const old = { username: 'olduser', publicKey: 'key-o' };
      assert.equal((await store.lease(service, old, T + 8000, T))?.leaseUntil, T + 8000);
      assert.equal((await store.lease(service, old, T + 15_000, T + 7000))?.leaseUntil, T + 8000);
      assert.equal((await store.lease(service, bob, T + 16_000, T + 8000))?.sdp, 'one');
    });
    check('offers without an instance come last once they are older than 30 s', async (store) => {
      const service = await publishOne(store, 'ours', T, { instance: 'instance-1' });
      await publishOne(store, 'old form', T + 1);
      const order = async (now: number) => (await store.listUnanswered(service, 10, now)).map(({ sdp }) => sdp);
      assert.deepEqual(await order(T + 30_001), ['old form', 'ours']);
      assert.deepEqual(await order(T + 30_002), ['ours', 'old form']);
      assert.equal((await store.lease(service, bob, T + 50_000, T + 30_002))?.sdp, 'ours');
    });
    check('a lease extends the lifetime of its offer to 2 s after the lease ends', async (store) => {
      const service = await publishOne(store, 'sdp', T, { ttl: 3000 });
      const offer = await store.lease(service, bob, T + 10_000, T + 2000);
      assert.equal(offer?.expiresAt, T + 12_000);
      assert.ok(await store.getOffer(offer, T + 11_999));
      assert.equal(await store.getOffer(offer, T + 12_000), undefined);
    });
    check('an instance cannot lease its own offers, but another instance of the same user can', async (store) => {
      const service = await publishOne(store, 'sdp', T, { instance: 'instance-1' });
      assert.equal(await store.lease(service, { ...alice, instance: 'instance-1' }, T + 8000, T), undefined);
      assert.ok(await store.lease(service, { ...alice, instance: 'instance-2' }, T + 8000, T));
    });
    check('expired offers are neither leased nor listed', async (store) => {
      const service = await publishOne(store);
      assert.equal(await store.lease(service, bob, T + 308_000, T + 300_000), undefined);
      assert.deepEqual(await store.listUnanswered(service, 10, T + 300_000), []);
    });
    check('accepts only the first answer to an offer, which may be repeated', async (store) => {
      const offer = await publishOne(store);
      assert.equal(await store.answer(offer, bobAnswers, T + 1), 'answered');
      assert.equal(await store.answer(offer, bobAnswers, T + 2), 'repeated');
      assert.equal(await store.answer(offer, { ...bobAnswers, sdp: 'other' }, T + 2), 'already-answered');
      assert.equal(await store.answer(offer, { ...bobAnswers, username: 'carl' }, T + 2), 'already-answered');
      const { answer } = (await store.getOffer(offer, T + 2))!;
      assert.deepEqual(answer, { ...bobAnswers, answeredAt: T + 1, isGiven: false });
      const expired = await publishOne(store, 'two');
      assert.equal(await store.answer(expired, bobAnswers, T + 300_000), 'gone');
    });
    check('only the lease holder can answer an offer until the lease ends', async (store) => {
      const offer = await publishOne(store);
      await store.lease(offer, bob, T + 8000, T);
      const carlAnswers = { ...carl, sdp: 'answer' };
      assert.equal(await store.answer(offer, carlAnswers, T + 7999), 'reserved');
      const namesake = { ...bobAnswers, publicKey: 'another key' };
      assert.equal(await store.answer(offer, namesake, T + 7999), 'reserved');
      assert.equal((await store.getOffer(offer, T + 7999))?.answer, undefined);
      assert.equal(await store.haveMet(CARL, ALICE, T + 7999), false);
      assert.equal(await store.answer(offer, bobAnswers, T + 7999), 'answered');
      const other = await publishOne(store, 'other');
      await store.lease(other, bob, T + 8000, T);
      assert.equal(await store.answer(other, carlAnswers, T + 8000), 'answered');
    });
    check('only the recipient of a directed offer can answer it', async (store) => {
      const { offers } = await store.publish(publishing([], { offers: [{ sdp: 'for bob', for: BOB }] }), MAX_FREE, T);
      assert.equal(await store.answer(offers[0]!, { ...carl, sdp: 'answer' }, T), 'reserved');
      assert.equal(await store.answer(offers[0]!, bobAnswers, T), 'answered');
    });
  });

  describe(`${name}: candidates`, () => {
    check('candidates have strictly increasing timestamps that are never ahead of the clock', async (store) => {
      const offer = await publishOne(store);
      const first = await added(store, offer, asOfferer, T, 'a', 'b', 'c');
      const second = await added(store, offer, asAnswerer, T + 1, 'd');
      const dates = [...first, ...second].map(({ createdAt }) => createdAt);
      assert.deepEqual(dates, [...new Set(dates)].sort());
      assert.ok(Math.max(...dates) <= T + 1);
      assert.deepEqual(await store.addCandidates(offer, asOfferer, lines('e', 'f'), T + 1), { wait: 2 });
      assert.equal(await store.countCandidates(offer, ALICE, T + 1), 3, 'a call that must wait adds no candidates');
      assert.equal((await added(store, offer, asOfferer, T + 3, 'e', 'f')).at(-1)?.createdAt, T + 3);
    });
    check('candidates cannot be added to an offer that has been withdrawn', async (store) => {
      const offer = await publishOne(store);
      await store.withdraw(alice, offer.serviceFqn, [offer.offerId]);
      const candidate = { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0 };
      assert.equal(await store.addCandidates(offer, asOfferer, [candidate], T), 'gone');
    });
    check('a repeated candidate is stored only once', async (store) => {
      const offer = await publishOne(store);
      await added(store, offer, asOfferer, T, 'a', 'a', 'b');
      assert.deepEqual(textsOf(await added(store, offer, asOfferer, T + 5, 'b', 'c')), ['c']);
    });
    check('candidates are returned if they are new to the peer or later than `since`', async (store) => {
      const offer = await publishOne(store);
      await store.answer(offer, bobAnswers, T);
      const answered = (await store.getOffer(offer, T))!;
      const take = async (since: number) => textsOf(await store.takeCandidates(answered, 'answerer', since, T + 1000));
      const [a] = await added(store, offer, asOfferer, T + 10, 'a');
      assert.deepEqual(await take(T + 500), ['a'], 'older than `since`, but not returned yet');
      assert.deepEqual(await take(a!.createdAt - 1), ['a'], '`since` is before the candidate');
      assert.deepEqual(await take(a!.createdAt), [], 'already returned, and `since` is not before the candidate');
      await added(store, offer, asOfferer, T + 20, 'b');
      assert.deepEqual(await take(T + 900), ['b']);
    });
    check('candidates returned to an earlier lease holder are also returned to the answerer', async (store) => {
      const offer = await publishOne(store);
      await added(store, offer, asOfferer, T + 1, 'a');
      const leased = (await store.lease(offer, { ...carl, instance: 'carl-1' }, T + 8000, T + 2))!;
      assert.deepEqual(textsOf(await store.takeCandidates(leased, 'answerer', 0, T + 3)), ['a']);
      await store.lease(offer, bob, T + 17_000, T + 9000);
      await store.answer(offer, bobAnswers, T + 9001);
      const answered = (await store.getOffer(offer, T + 9001))!;
      // in its first poll, a v0.20 client sends its start time as `since`
      assert.deepEqual(textsOf(await store.takeCandidates(answered, 'answerer', T + 9001, T + 9002)), ['a']);
    });
    check('parked candidates are accepted with an answer from the same user', async (store) => {
      const offer = await publishOne(store);
      const parked = { ...asAnswerer, parkedUntil: T + 10_000 };
      await added(store, offer, parked, T, 'in time');
      await added(store, offer, { ...carl, role: 'answerer', parkedUntil: T + 10_000 }, T + 1, 'of a stranger');
      assert.equal(await store.countCandidates(offer, BOB, T), 1);
      assert.equal(await store.countParkingUsers(offer, CARL, T), 1);
      assert.deepEqual(await store.listCandidates(offer, 'answerer', T + 1), []);
      await store.answer(offer, bobAnswers, T + 9999);
      const answered = (await store.getOffer(offer, T + 9999))!;
      assert.deepEqual(textsOf(await store.takeCandidates(answered, 'offerer', T + 9999, T + 60_000)), ['in time']);
    });
    check('parked candidates expire', async (store) => {
      const offer = await publishOne(store);
      await added(store, offer, { ...asAnswerer, parkedUntil: T + 10_000 }, T, 'late');
      assert.equal(await store.countCandidates(offer, BOB, T + 10_000), 0);
      await store.answer(offer, bobAnswers, T + 10_001);
      const answered = (await store.getOffer(offer, T + 10_001))!;
      assert.deepEqual(await store.takeCandidates(answered, 'offerer', 0, T + 10_002), []);
    });
    check('sending a parked candidate again extends its lifetime', async (store) => {
      const offer = await publishOne(store);
      await added(store, offer, { ...asAnswerer, parkedUntil: T + 10_000 }, T, 'again');
      await store.addCandidates(offer, { ...asAnswerer, parkedUntil: T + 21_000 }, lines('again'), T + 11_000);
      await store.answer(offer, bobAnswers, T + 11_001);
      const answered = (await store.getOffer(offer, T + 11_001))!;
      assert.deepEqual(textsOf(await store.listCandidates(answered, 'answerer', T + 11_002)), ['again']);
    });
  });

  describe(`${name}: polls and sweeps`, () => {
    check('a poll returns offers to the publishing and the answering instance only', async (store) => {
      const ours = await publishOne(store, 'ours', T, { instance: 'instance-1' });
      const old = await publishOne(store, 'old');
      await publishOne(store, 'unanswered');
      for (const offer of [ours, old]) await store.answer(offer, { ...bobAnswers, instance: 'bob-instance' }, T);
      const sdps = async (user: typeof alice, instance?: string) =>
        (await store.pollOffers(user, instance, 0, T + 1)).offers.map(({ sdp }) => sdp).sort();
      assert.deepEqual(await sdps(alice, 'instance-1'), ['ours']);
      assert.deepEqual(await sdps(alice), ['old']);
      assert.deepEqual(await sdps(bob, 'bob-instance'), [], 'nothing to report yet');
      for (const offer of [ours, old]) await added(store, offer, asOfferer, T, 'late');
      assert.deepEqual(await sdps(bob, 'bob-instance'), ['old', 'ours']);
      assert.deepEqual(await sdps(bob), []);
    });
    check('a poll returns a limited number of offers, with new data first', async (store) => {
      const offers: OfferRow[] = [];
      for (let i = 0; i < MAX_POLLED + 10; i++) {
        offers.push(await publishOne(store, `offer ${i}`));
        await store.answer(offers[i]!, bobAnswers, T + i);
      }
      const polled = async (since: number) => {
        const { offers: reported, examined } = await store.pollOffers(alice, undefined, since, T + 100);
        assert.equal(examined, MAX_POLLED + 10);
        return reported.map(({ sdp }) => sdp);
      };
      for (const offer of offers.slice(0, 55)) await store.takeAnswer((await store.getOffer(offer, T + 100))!, 0);
      assert.equal((await polled(0)).length, MAX_POLLED);
      const fresh = ['offer 55', 'offer 56', 'offer 57', 'offer 58', 'offer 59'];
      assert.deepEqual((await polled(0)).slice(0, 5), fresh);
      assert.deepEqual(await polled(T + 100), fresh);
      await added(store, offers[3]!, asAnswerer, T + 100, 'late');
      assert.ok((await polled(T + 200)).includes('offer 3'));
      const taken = (await store.getOffer(offers[3]!, T + 100))!;
      await store.takeCandidates(taken, 'offerer', T + 200, T + 200);
      assert.ok(!(await polled(T + 200)).includes('offer 3'));
    });
    check('a listing contains only services with an unanswered offer that is not directed', async (store) => {
      const offer = await publishOne(store, 'one');
      const listed = async (user?: string, now = T) =>
        (await store.offering(await store.findServices('chat', user, now, 'first'), now, 'all')).services.map(
          (each) => each.serviceFqn,
        );
      for (const user of [undefined, 'alice']) assert.deepEqual(await listed(user), ['chat:1.0.0@alice']);
      assert.deepEqual(await listed('bob'), []);
      assert.deepEqual(await listed(undefined, T + 300_000), []);
      assert.equal((await store.offering(['chat:1.0.0@alice'], T, 'all')).services[0]!.serviceId, offer.serviceId);
      await store.answer(offer, bobAnswers, T);
      assert.deepEqual(await listed(), []);
      await store.publish(publishing([], { offers: [{ sdp: 'for bob', for: BOB }] }), MAX_FREE, T);
      assert.deepEqual(await listed(), []);
    });
    check('a discovery finds only services with an offer that the user may lease', async (store) => {
      const [old, carol] = [
        { ...bob, instance: undefined },
        { username: 'carol', publicKey: 'key-c', instance: 'carol-instance' },
      ];
      const publish = (name: string, only?: string, ttl = DAY) =>
        store.publish(
          {
            ...publishing([], { offers: [{ sdp: name, ...(only && { for: only }) }], ttl, metadata: { name } }),
            ...{ username: name, publicKey: `key-${name}`, serviceFqn: `chat:1.0.0@${name}` },
          },
          MAX_FREE,
          T,
        );
      const { service: leased } = await publish('leased');
      await publish('free');
      await publish('for-bob', BOB);
      const { offers } = await publish('answered');
      await publish('ends', undefined, 1000);
      await store.lease(leased, old, T + 8000, T);
      await store.answer(offers[0]!, bobAnswers, T);
      const found = (await store.findServices('chat', undefined, T, 'anywhere')).sort();
      assert.deepEqual(
        found,
        ['answered', 'ends', 'for-bob', 'free', 'leased'].map((user) => `chat:1.0.0@${user}`),
      );
      const names = async (by?: typeof carol | typeof old, now = T): Promise<string[]> => {
        const fqns = [...found, 'chat:1.0.0@nobody'].reverse();
        const services = by ? (await store.offering(fqns, now, by)).services : await store.readServices(fqns, now);
        assert.ok(services.every((service) => !('metadata' in service)));
        return services.map(({ username }) => username);
      };
      assert.deepEqual(await names(), ['leased', 'free', 'for-bob', 'ends', 'answered']);
      assert.deepEqual(await names(carol), ['free', 'ends']);
      assert.deepEqual(await names(carol, T + 8000), ['leased', 'free'], 'a lease and an offer have ended');
      assert.deepEqual(await names({ ...bob, instance: 'bob-instance' } as typeof carol), ['free', 'for-bob', 'ends']);
      assert.deepEqual(
        await names(old),
        ['leased', 'free', 'for-bob', 'ends'],
        'an old client may get the offer that it already holds',
      );
      assert.deepEqual(await names({ username: 'free', publicKey: 'key-free', instance: 'other' } as typeof carol), [
        'free',
        'ends',
      ]);
      assert.deepEqual(
        [await store.readServices([], T), await store.offering([], T, carol)],
        [[], { services: [], examined: 0 }],
      );
    });
    check('a discovery does not find the offers of the requesting instance', async (store) => {
      await publishOne(store);
      const { instance } = publishing([]);
      const offering = async (to: typeof instance): Promise<number> =>
        (await store.offering(['chat:1.0.0@alice'], T, { ...alice, instance: to })).services.length;
      assert.deepEqual([await offering(instance), await offering('another-instance')], [0, 1]);
    });
    check('`offering` examines at least one service per call', async (store) => {
      const fqns: string[] = [];
      for (let user = 0; user < 8; user++) {
        const username = `host-${user}`;
        const offers = Array.from({ length: 100 }, (_, at) => ({ sdp: `${user} ${at}`, for: BOB }));
        const input = { ...publishing([], { offers }), username, publicKey: `key-${user}`, serviceFqn: `chat:1.0.0@${username}` };
        await store.publish(input, MAX_FREE, T);
        fqns.push(input.serviceFqn);
      }
      for (const [to, expected] of [
        ['all', 0],
        [{ username: 'carol', publicKey: 'key-c', instance: 'x' }, 0],
        [bob, 8],
      ] as const) {
        let count = 0;
        for (let start = 0; start < fqns.length;) {
          const { services, examined } = await store.offering(fqns.slice(start), T, to);
          assert.ok(examined >= 1);
          count += services.length;
          start += examined;
        }
        assert.equal(count, expected);
      }
    });
    check('hidden services do not prevent a discovery from finding other services', async (store) => {
      for (let i = 0; i < MAX_LISTED + 100; i++)
        await publishOne(store, 'x', T, {
          username: `u-${i}`,
          publicKey: `k-${i}`,
          serviceFqn: `chat:1.0.0@u-${i}`,
          hidden: true,
        });
      await publishOne(store);
      for (const from of ['anywhere', 'first'] as const)
        assert.deepEqual(await store.findServices('chat', undefined, T, from), ['chat:1.0.0@alice']);
    });
    check('an answer is returned once, and again if `since` is before it', async (store) => {
      const published = await publishOne(store);
      await store.answer(published, bobAnswers, T + 10);
      const before = (await store.getOffer(published, T + 10))!;
      assert.equal(await store.takeAnswer(before, T + 500), true);
      const after = (await store.getOffer(published, T + 10))!;
      assert.deepEqual([before.answer?.isGiven, after.answer?.isGiven], [false, true]);
      // the result does not depend on when the offer was read
      for (const offer of [before, after]) {
        assert.equal(await store.takeAnswer(offer, T + 500), false);
        assert.equal(await store.takeAnswer(offer, T + 9), true);
      }
    });
    check('an answered offer is kept for one minute, regardless of its TTL', async (store) => {
      const offer = await publishOne(store, 'sdp', T, { ttl: 1000 });
      await store.answer(offer, bobAnswers, T + 999);
      assert.ok(await store.getOffer(offer, T + 60_000));
      const long = await publishOne(store, 'long', T, { ttl: DAY });
      await store.answer(long, bobAnswers, T);
      await publishOne(store, 'long', T + 1, { ttl: DAY });
      assert.ok(await store.getOffer(long, T + 59_999));
      assert.equal(await store.getOffer(long, T + 60_000), undefined);
    });
    check('a directed offer is leased only to its recipient, and before other offers', async (store) => {
      const directed = await store.publish(publishing([], { offers: [{ sdp: 'for bob', for: BOB }] }), MAX_FREE, T);
      const { service } = directed;
      const carol = { username: 'carol', publicKey: 'key-c', instance: 'carol-instance' };
      assert.equal(await store.lease(service, carol, T + 8000, T), undefined);
      assert.deepEqual(await store.listUnanswered(service, 10, T), []);
      await publishOne(store, 'for all', T + 1);
      assert.equal((await store.lease(service, bob, T + 8000, T + 1))?.sdp, 'for bob');
      assert.equal((await store.lease(service, carol, T + 8000, T + 1))?.sdp, 'for all');
    });
    check('a token can be used only once', async (store) => {
      assert.equal(await store.useOnce('token', T + 1000, T), true);
      assert.equal(await store.useOnce('token', T + 1000, T + 999), false);
      assert.equal(await store.useOnce('other', T + 1000, T), true);
    });
    check('an offer is found only under its own service', async (store) => {
      const offer = await publishOne(store);
      assert.equal(await store.getOffer({ ...offer, serviceFqn: 'chat:1.0.0@carl' }, T), undefined);
      assert.equal(await store.answer({ ...offer, serviceFqn: 'chat:1.0.0@carl' }, bobAnswers, T), 'gone');
    });
    check('`haveMet` is true in both directions for 24 hours after an answer', async (store) => {
      const offer = await publishOne(store);
      assert.equal(await store.haveMet(ALICE, BOB, T), false);
      await store.answer(offer, bobAnswers, T);
      for (const [one, other] of [
        [ALICE, BOB],
        [BOB, ALICE],
      ] as const) {
        assert.equal(await store.haveMet(one, other, T + DAY - 1), true);
        assert.equal(await store.haveMet(one, other, T + DAY), false);
      }
      assert.equal(await store.haveMet(ALICE, CARL, T), false);
    });
    check('a sweep deletes expired data and nothing else', async (store) => {
      await store.claim('alice', 'key-a', false, T);
      const gone = await publishOne(store, 'gone', T, { ttl: 1000 });
      const stays = await publishOne(store, 'stays');
      await added(store, stays, { ...asAnswerer, parkedUntil: T + 10 }, T, 'parked');
      await store.sweep(T + 1000);
      assert.ok(await store.getOffer(stays, T + 1000));
      assert.ok(await store.getUser('alice', T + 1000));
      assert.equal(await store.countFreeOffers(T + 1000), 1);
      if (!isSwept) return;
      assert.equal(await store.getOffer(gone, T), undefined, 'not found at an earlier time either');
      assert.equal(await store.countCandidates(stays, 'bob', T), 0);
      await store.sweep(T + 365 * DAY);
      assert.equal(await store.getUser('alice', T), undefined);
      assert.equal(await store.getService(stays.serviceId, T), undefined);
    });
  });
}
