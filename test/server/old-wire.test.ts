/**
 * Tests, from the viewpoint of a v0.20 client, that this server corrects faults in v0.5.4 without changing the wire format.
 * All calls use the old form and have no instance, unless a test says otherwise.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { RpcResult } from '../../src/protocol/index.js';
import { Client, mockClock, newInstance, refused, someone, startServer } from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext) {
  const server = await startServer(t);
  const old = (prefix?: string): Client => new Client(server.url, someone(prefix), 'old');
  const host = old('host');
  return { server, old, host, fqn: `${FQN}@${host.username}` };
}
const list = async (client: Client, serviceFqn: string) =>
  (await client.call('getService', { serviceFqn, limit: 100 })) as Extract<RpcResult<'getService'>, { services: unknown }>;
const linesOf = (candidates: { candidate: { candidate: string } }[] = []) =>
  candidates.map(({ candidate }) => candidate.candidate);

test('publishing adds to the existing offers: five calls with one offer each make a pool of five', async (t) => {
  const { old, host, fqn } = await start(t);
  for (let i = 0; i < 5; i++) await host.publish(fqn, [`offer ${i}`]);
  const taken = new Set<string>();
  for (let i = 0; i < 5; i++) taken.add((await old().take(fqn)).sdp);
  assert.equal(taken.size, 5);
});

test('publishing does not affect answered offers', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['first']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer, 'the answer');
  await host.publish(fqn, ['second']);
  const answer = await host.call('getOfferAnswer', { serviceFqn: fqn, offerId: offer.offerId });
  assert.equal(answer.sdp, 'the answer');
});

test('an offer expires after its TTL', async (t) => {
  const clock = mockClock(t);
  const { old, host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['short'], { ttl: 5000 });
  assert.equal(offers[0]!.expiresAt, Date.now() + 5000);
  await clock.tick(5001);
  await refused(old().take(fqn), 'not-found');
});

test('an answered offer is not handed out again, but deleteService deletes it', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['one', 'two']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  assert.notEqual((await old().take(fqn)).offerId, offer.offerId);
  await refused(old().take(fqn), 'no-offer');
  await host.call('deleteService', { serviceFqn: fqn });
  await refused(old().take(fqn), 'not-found');
  await refused(host.call('getOfferAnswer', { serviceFqn: fqn, offerId: offer.offerId }), 'offer-gone');
});

test('free offers are handed out newest first', async (t) => {
  const clock = mockClock(t);
  const { old, host, fqn } = await start(t);
  for (const sdp of ['oldest', 'middle', 'newest']) {
    await host.publish(fqn, [sdp]);
    await clock.tick(1000);
  }
  const order = [];
  for (let i = 0; i < 3; i++) order.push((await old().take(fqn)).sdp);
  assert.deepEqual(order, ['newest', 'middle', 'oldest']);
});

test('offers published in the old form are handed out last once they are older than 30 s', async (t) => {
  const clock = mockClock(t);
  const { server, old, host, fqn } = await start(t);
  const modern = new Client(server.url, host.identity, 'old', newInstance());
  await modern.publish(fqn, ['with an instance']);
  await clock.tick(1000);
  await host.publish(fqn, ['old form']);
  await clock.tick(10_000);
  await modern.call('poll', {}); // the poll keeps the offers of the instance alive
  assert.equal((await list(old(), FQN)).services[0]!.sdp, 'old form', 'the newest offer comes first until it is 30 s old');
  await clock.tick(12_000);
  await modern.call('poll', {});
  await clock.tick(9000);
  const order = [(await old().take(fqn)).sdp, (await old().take(fqn)).sdp];
  assert.deepEqual(order, ['with an instance', 'old form']);
});

test('drops the oldest free offers of a service that has more than 100', async (t) => {
  const clock = mockClock(t);
  const { host, fqn } = await start(t);
  const first = await host.publish(fqn, ['the oldest', 'the second']);
  await clock.tick(1000);
  await host.publish(
    fqn,
    Array.from({ length: 99 }, (_, i) => `offer ${i}`),
  );
  const ask = (offerId: string) => host.call('getOfferAnswer', { serviceFqn: fqn, offerId });
  // the order of the two offers from one call is undefined, but one of them must have been dropped
  const results = await Promise.allSettled(first.offers.map(({ offerId }) => ask(offerId)));
  const codes = results.map((result) => (result as { reason: { code: string } }).reason.code).sort();
  assert.deepEqual(codes, ['not-found', 'offer-gone']);
});

test('no joiner gets a dead offer after an old host has been running for ten minutes', async (t) => {
  const clock = mockClock(t);
  const { old, host, fqn } = await start(t);
  // every 30 s, an old host publishes a replacement for each unanswered offer, and discards the previous offer
  const pool = 2;
  for (let minute = 0; minute < 20; minute++) {
    await host.publish(fqn, [`${minute} a`], { ttl: 600_000 });
    await host.publish(fqn, [`${minute} b`], { ttl: 600_000 });
    await clock.tick(29_000);
  }
  for (let i = 0; i < pool; i++) assert.match((await old().take(fqn)).sdp, /^19 /);
});

test('getIceCandidates and poll return the role with each candidate', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  await host.addCandidates(offer, 'from the host');
  await joiner.addCandidates(offer, 'from the joiner');
  const ask = { serviceFqn: fqn, offerId: offer.offerId, since: 0 };
  const [toJoiner] = (await joiner.call('getIceCandidates', ask)).candidates;
  assert.deepEqual([toJoiner?.role, toJoiner?.username], ['offerer', host.username]);
  const [toHost] = (await host.call('getIceCandidates', ask)).candidates;
  assert.deepEqual([toHost?.role, toHost?.username], ['answerer', joiner.username]);
  const polled = (await host.call('poll', { since: 0 })).iceCandidates[offer.offerId]!;
  assert.deepEqual(
    polled.map(({ role, username }) => [role, username]),
    [['answerer', joiner.username]],
  );
});

test('candidate timestamps are strictly increasing and never ahead of the clock', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  const many = (who: string) => Array.from({ length: 20 }, (_, i) => `${who} ${i}`);
  await Promise.all([host.addCandidates(offer, ...many('host')), joiner.addCandidates(offer, ...many('joiner'))]);
  await host.addCandidates(offer, 'one more');
  const after = Date.now();
  const ask = { serviceFqn: fqn, offerId: offer.offerId, since: 0 };
  const found = [
    ...(await joiner.call('getIceCandidates', ask)).candidates,
    ...(await host.call('getIceCandidates', ask)).candidates,
  ];
  const dates = found.map(({ createdAt }) => createdAt);
  assert.equal(dates.length, 41);
  assert.equal(new Set(dates).size, 41, 'all timestamps are different');
  assert.ok(Math.max(...dates) <= after, 'no timestamp is in the future');
});

test('getIceCandidates and poll return candidates older than `since` if the peer has not received them', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  await host.addCandidates(offer, 'early');
  await joiner.addCandidates(offer, 'early');
  // in its first poll, a v0.20 client sends its start time as `since`
  const since = Date.now() + 1000;
  const toJoiner = (await joiner.call('getIceCandidates', { serviceFqn: fqn, offerId: offer.offerId, since })).candidates;
  assert.deepEqual(linesOf(toJoiner), ['early']);
  const toHost = (await host.call('poll', { since })).iceCandidates[offer.offerId];
  assert.deepEqual(linesOf(toHost), ['early']);
});

test('a candidate is returned again as long as `since` is before its timestamp', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  await host.addCandidates(offer, 'a', 'b');
  const ask = async (since: number) =>
    (await joiner.call('getIceCandidates', { serviceFqn: fqn, offerId: offer.offerId, since })).candidates;
  const [a, b] = await ask(0);
  assert.deepEqual(linesOf(await ask(0)), ['a', 'b'], 'the reply may have been lost');
  assert.deepEqual(linesOf(await ask(a!.createdAt)), ['b']);
  assert.deepEqual(linesOf(await ask(b!.createdAt)), []);
  await host.addCandidates(offer, 'c');
  assert.deepEqual(linesOf(await ask(b!.createdAt)), ['c']);
});

test('candidates returned to an earlier lease holder are also returned to the answerer', async (t) => {
  const clock = mockClock(t);
  const { old, host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  await host.addCandidates(offer, 'early');
  const [quitter, joiner] = [old(), old()];
  await quitter.take(fqn);
  assert.equal((await quitter.call('getIceCandidates', { ...offer, since: 0 })).candidates.length, 1);
  await clock.tick(9000);
  await joiner.answer(await joiner.take(fqn));
  const { candidates } = await joiner.call('getIceCandidates', { ...offer, since: Date.now() });
  assert.deepEqual(linesOf(candidates), ['early']);
});

test('parks at most 16 candidates from a stranger, and returns none of them', async (t) => {
  const { old, host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  const stranger = old();
  await stranger.addCandidates(offer, ...Array.from({ length: 16 }, (_, i) => `line ${i}`));
  await refused(stranger.addCandidates(offer, 'the 17th'), 'too-large');
  await refused(old().addCandidates(offer, ...Array.from({ length: 17 }, (_, i) => `line ${i}`)), 'too-large');
  assert.deepEqual((await host.call('getIceCandidates', { ...offer, since: 0 })).candidates, []);
  assert.deepEqual((await host.call('poll', { since: 0 })).iceCandidates, {});
});

test('parked candidates are accepted only with an answer from the same user', async (t) => {
  const { old, host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  const [answerer, other] = [old(), old()];
  await answerer.addCandidates(offer, 'of the answerer');
  await other.addCandidates(offer, 'of another');
  await answerer.answer(offer);
  const { candidates } = await host.call('getIceCandidates', { ...offer, since: Date.now() + 1000 });
  assert.deepEqual(linesOf(candidates), ['of the answerer']);
});

test('parked candidates are dropped after 10 s', async (t) => {
  const clock = mockClock(t);
  const { old, host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['one', 'two']);
  const [late, early] = offers.map(({ offerId }) => ({ serviceFqn: fqn, offerId }));
  const answerer = old();
  await answerer.addCandidates(late!, 'too early');
  await clock.tick(2000);
  await answerer.addCandidates(early!, 'early');
  await clock.tick(9000);
  await answerer.answer(late!);
  await answerer.answer(early!);
  assert.deepEqual((await host.call('getIceCandidates', { ...late!, since: 0 })).candidates, []);
  assert.deepEqual(linesOf((await host.call('getIceCandidates', { ...early!, since: 0 })).candidates), ['early']);
});

test('getService returns `offers` for both direct and random look-ups', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['one', 'two']);
  for (const name of [fqn, FQN]) {
    const { offerId, sdp, createdAt, expiresAt, offers } = await old().take(name);
    assert.deepEqual(offers, [{ offerId, sdp, createdAt, expiresAt }], name);
  }
});

test('poll returns answers and candidates to the host, and candidates to the answerer', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer, 'the answer');
  await host.addCandidates(offer, 'from the host');
  await joiner.addCandidates(offer, 'from the joiner');
  const toHost = await host.call('poll', { since: 0 });
  assert.deepEqual(
    toHost.answers.map(({ offerId, answererId, sdp }) => ({ offerId, answererId, sdp })),
    [{ offerId: offer.offerId, answererId: joiner.username, sdp: 'the answer' }],
  );
  assert.deepEqual(linesOf(toHost.iceCandidates[offer.offerId]), ['from the joiner']);
  const toJoiner = await joiner.call('poll', { since: 0 });
  assert.deepEqual(toJoiner.answers, [], 'answers are for the host');
  assert.deepEqual(linesOf(toJoiner.iceCandidates[offer.offerId]), ['from the host']);
});

const OFFERED = ['1.0.0', '1.2.0', '1.10.1', '2.0.0', '0.1.0', '0.1.5', '0.2.0', '3.0.0-beta.1', '3.0.0-beta.2'];
const WANTED: [version: string, found: string[]][] = [
  ['1.0.0', ['1.10.1', '1.2.0', '1.0.0']],
  ['1.2.0', ['1.10.1', '1.2.0']],
  ['1.10.2', []],
  ['2.0.0', ['2.0.0']],
  ['0.1.0', ['0.1.5', '0.1.0']],
  ['0.1.6', []],
  ['0.2.0', ['0.2.0']],
  ['0.0.0', []],
  ['3.0.0-beta.1', ['3.0.0-beta.1']],
  ['3.0.0', []],
];
test('discovery returns compatible versions, with the highest version first', async (t) => {
  const { old, host } = await start(t);
  for (const version of OFFERED) {
    // publishes one offer for each look-up below
    const sdps = WANTED.map((_, index) => `sdp of ${version} #${index}`);
    await host.publish(`app:${version}@${host.username}`, sdps);
  }
  const asker = old();
  for (const [version, found] of WANTED) {
    for (const name of [`app:${version}`, `app:${version}@${host.username}`]) {
      const { services } = await list(asker, name);
      assert.deepEqual(
        services.map(({ serviceFqn }) => serviceFqn),
        found.map((each) => `app:${each}@${host.username}`),
        name,
      );
    }
    if (found.length) assert.ok((await old().take(`app:${version}`)).sdp.startsWith(`sdp of ${found[0]} #`));
    else await refused(old().take(`app:${version}`), 'not-found');
  }
});

test('a random getService falls back to a lower compatible version if the highest version has no free offer', async (t) => {
  const { old, host } = await start(t);
  for (const version of ['1.0.0', '1.1.0']) await host.publish(`app:${version}@${host.username}`, [version]);
  assert.deepEqual([(await old().take('app:1.0.0')).sdp, (await old().take('app:1.0.0')).sdp], ['1.1.0', '1.0.0']);
});

test('getService pages its results by `limit` and `offset`', async (t) => {
  const { old } = await start(t);
  for (let i = 0; i < 3; i++) {
    const host = old();
    await host.publish(`${FQN}@${host.username}`, ['a', 'b']);
  }
  const page = (offset: number) => old().call('getService', { serviceFqn: FQN, limit: 2, offset });
  const sizes = [];
  for (const offset of [0, 2, 4]) {
    const { services, count, limit, offset: told } = (await page(offset)) as Awaited<ReturnType<typeof list>>;
    assert.deepEqual([count, limit, told], [services.length, 2, offset]);
    sizes.push(count);
  }
  assert.deepEqual(sizes, [2, 1, 0]);
});

test('two concurrent joiners never get the same offer', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['one', 'two']);
  const offers = await Promise.all([old().take(fqn), old().take(fqn)]);
  assert.notEqual(offers[0]!.offerId, offers[1]!.offerId);
  await refused(old().take(fqn), 'no-offer');
});

test('an old joiner that repeats a look-up gets its leased offer again if no other offer is free', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['only one']);
  const joiner = old();
  const [first, second] = [await joiner.take(fqn), await joiner.take(fqn)];
  assert.equal(first.offerId, second.offerId);
  await refused(old().take(fqn), 'no-offer');
});

test('getOfferAnswer fails with `not yet answered` until the offer is answered', async (t) => {
  const { host, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const error = await refused(host.call('getOfferAnswer', { serviceFqn: fqn, offerId: offers[0]!.offerId }), 'not-found');
  assert.match(error.message, /not yet answered/);
});

test('a name that v0.20 generated for an anonymous user is claimed like any other', async (t) => {
  const { server, old } = await start(t);
  const username = `anon-${Date.now().toString(36)}-0a1b2c`;
  const client = new Client(server.url, someone().as(username), 'old');
  await client.publish(`${FQN}@${username}`, ['offer']);
  const user = await old().call('getUser', { username });
  assert.deepEqual([user.available, user.publicKey], [false, client.identity.publicKey]);
});

test('a caller without a claim or a key may look up a name', async (t) => {
  const { host, fqn, old } = await start(t);
  await host.publish(fqn, ['offer']);
  const stranger = old();
  const user = await stranger.call('getUser', { username: host.username }, { publicKey: undefined });
  assert.equal(user.publicKey, host.identity.publicKey);
  assert.equal((await old().call('getUser', { username: stranger.username })).available, true, 'a look-up claims no name');
});

test('a user with a claim does not have to send the public key again', async (t) => {
  const { host, fqn, server } = await start(t);
  await host.publish(fqn, ['offer']);
  await host.call('poll', {}, { publicKey: undefined });
  await refused(new Client(server.url, someone(), 'old').call('poll', {}, { publicKey: undefined }), 'unauthorized');
});
