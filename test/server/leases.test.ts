/**
 * Tests leases and the queue (protocol.md, "Leases and the queue") on complete servers: one offer per call, competing answers,
 * waits over HTTP and over the socket, look-ups by id, and replies to waiting joiners when a server closes.
 * fairness.test.ts tests the order of the queue.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { createServer } from '../../server/src/index.js';
import {
  Client,
  PushClient,
  mockClock,
  newInstance,
  post,
  refused,
  someone,
  startServer,
  temporaryFile,
  until,
} from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext) {
  const server = await startServer(t);
  const host = await PushClient.open(server.url, someone('host'));
  /** Creates a joiner that uses HTTP and has an instance, like the engine. */
  const joiner = (): Client => new Client(server.url, someone('joiner'), 'v2', newInstance());
  return { server, host, joiner, fqn: `${FQN}@${host.username}` };
}

test('a leased offer is not leased again for 8 s, even to the same user', async (t) => {
  const clock = mockClock(t);
  const { host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const first = joiner();
  const { offerId } = await first.take(fqn);
  await clock.tick(7900);
  for (const other of [joiner(), first]) await refused(other.take(fqn), 'no-offer');
  await clock.tick(200);
  assert.equal((await joiner().take(fqn)).offerId, offerId);
});

test('a listing includes leased offers and does not lease any', async (t) => {
  const { host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const list = async (name: string) =>
    ((await joiner().call('getService', { serviceFqn: name, limit: 10 })) as { services: unknown[] }).services.length;
  for (let i = 0; i < 3; i++) assert.deepEqual([await list(fqn), await list(FQN)], [1, 1]);
  await joiner().take(fqn);
  assert.equal(await list(fqn), 1);
});

test('a lease extends the lifetime of its offer to 2 s after the lease ends', async (t) => {
  const clock = mockClock(t);
  const { host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer'], { ttl: 3000 });
  await clock.tick(2000);
  const taker = joiner();
  const offer = await taker.take(fqn);
  assert.equal(offer.expiresAt, Date.now() + 10_000);
  await clock.tick(7000);
  await taker.answer(offer);
});

test('only the lease holder can answer an offer until the lease ends', async (t) => {
  const clock = mockClock(t);
  const { host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer', 'another', 'third']);
  const [holder, thief] = [joiner(), joiner()];
  const [first, second] = [await holder.take(fqn), await holder.take(fqn)];
  // listings contain the id of every offer, so any client can try to answer a leased offer
  const error = await refused(thief.answer(first, 'stolen'), 'already-answered');
  assert.match(error.message, /^Offer reserved for another joiner/);
  await holder.answer(first, 'slower');
  assert.equal((await host.event('answer')).data.sdp, 'slower');
  await clock.tick(8100);
  await thief.answer(second, 'faster');
  await refused(holder.answer(second, 'too late'), 'already-answered');
  assert.equal((await host.event('answer', 1)).data.sdp, 'faster');
});

test('a v0.20 client can answer an offer that it leased or listed, but not one leased to another client', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer', 'another', 'third']);
  const [old, thief] = [new Client(server.url, someone(), 'old'), new Client(server.url, someone(), 'old')];
  const handed = await old.take(fqn);
  await refused(thief.answer(handed), 'already-answered');
  await old.answer(handed);
  const { services } = (await thief.call('getService', { serviceFqn: fqn, limit: 1 })) as { services: (typeof handed)[] };
  await thief.answer(services[0]!);
  const last = await joiner().take(fqn);
  await refused(thief.answer(last), 'already-answered');
});

test('accepts only one of several concurrent answers', async (t) => {
  const { host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiners = Array.from({ length: 8 }, joiner);
  const offer = await joiners[0]!.take(fqn);
  const results = await Promise.allSettled(joiners.map((each) => each.answer(offer)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('a lease holder gets the candidates of the offer, including those added later', async (t) => {
  const { host, joiner, fqn } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  await host.http.addCandidates(offer, 'early');
  const taker = joiner();
  assert.deepEqual(
    (await taker.take(fqn)).candidates?.map(({ candidate }) => candidate),
    ['early'],
  );
  await host.http.addCandidates(offer, 'later');
  const { candidates } = await taker.call('getIceCandidates', { ...offer, since: 0 });
  assert.deepEqual(
    candidates.map(({ candidate }) => candidate.candidate),
    ['early', 'later'],
  );
});

test('a joiner that waits over HTTP gets the next offer', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['first']);
  await joiner().take(fqn);
  const waiting = joiner().take(fqn, { wait: 20_000 });
  await host.event('demand');
  assert.equal(server.waiting, 1);
  await host.publish(fqn, ['second']);
  assert.equal((await waiting).sdp, 'second');
  assert.equal(server.waiting, 0);
});

test('a joiner that waits over the socket can make other calls before it gets the next offer', async (t) => {
  const { server, host, fqn } = await start(t);
  const joiner = await PushClient.open(server.url);
  const waiting = joiner.take(fqn, { wait: 60_000 });
  await joiner.call('getUser', { username: 'nobody' });
  await host.publish(fqn, ['offer']);
  assert.equal((await waiting).sdp, 'offer');
});

test('a joiner may wait for a service that has not been published yet', async (t) => {
  const { server, host, joiner } = await start(t);
  const fqn = `${host.username.replace('host', 'app')}:1.2.0`;
  const waiting = [`${fqn}@${host.username}`, fqn, fqn.replace('1.2.0', '1.0.0')].map((name) =>
    joiner().take(name, { wait: 20_000 }),
  );
  await until(() => server.waiting === 3);
  await host.publish(`${fqn}@${host.username}`, ['a', 'b', 'c']);
  assert.deepEqual((await Promise.all(waiting)).map(({ sdp }) => sdp).sort(), ['a', 'b', 'c']);
});

test('a wait ends with no-offer if the service exists, and with not-found otherwise', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  await joiner().take(fqn);
  await refused(joiner().take(fqn, { wait: 50 }), 'no-offer');
  await refused(joiner().take('nothing:1.0.0', { wait: 50 }), 'not-found');
  assert.equal(server.waiting, 0);
});

test('an offer goes to a waiting joiner when its lease expires', async (t) => {
  const clock = mockClock(t);
  const { server, host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const { offerId } = await joiner().take(fqn);
  const waiting = joiner().take(fqn, { wait: 20_000 });
  await until(() => server.waiting === 1);
  await clock.tick(8100);
  assert.equal((await waiting).offerId, offerId);
});

test('refuses waits in a batch, waits longer than 25 s over HTTP, and waits longer than 2 min over the socket', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const client = joiner();
  const { status, body } = await post(server.url, [client.signed('getService', { serviceFqn: fqn, wait: 1 })]);
  assert.deepEqual([status, (body as { code: string }[])[0]!.code], [200, 'bad-request']);
  await refused(client.take(fqn, { wait: 25_001 }), 'bad-request');
  await refused(client.take(fqn, { wait: -1 }), 'bad-request');
  const push = await PushClient.open(server.url);
  await refused(push.take(fqn, { wait: 120_001 }), 'bad-request');
  await push.take(fqn, { wait: 25_001 });
});

test('a joiner that disconnects is removed from the queue, over HTTP and over the socket', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  const abort = new AbortController();
  const http = joiner()
    .take(fqn, { wait: 20_000 }, abort.signal)
    .catch(() => 'gone');
  const push = await PushClient.open(server.url);
  const socket = push.take(fqn, { wait: 20_000 }).catch(() => 'gone');
  await until(() => server.waiting === 2);
  abort.abort();
  push.socket.terminate();
  assert.deepEqual(await Promise.all([http, socket]), ['gone', 'gone']);
  await until(() => server.waiting === 0);
  await host.publish(fqn, ['offer']);
  assert.equal((await joiner().take(fqn)).sdp, 'offer', 'no disconnected joiner holds a lease');
});

test('200 joiners each get an offer of their own from a pool of 5 that is refilled on demand', async (t) => {
  const { server, host, fqn } = await start(t);
  let published = 0;
  const fill = async (): Promise<void> => {
    const { offers } = await host.publish(
      fqn,
      Array.from({ length: 5 }, () => `offer ${++published}`),
    );
    assert.equal(offers.length, 5);
  };
  await fill();
  let served = 0;
  host.socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(String(data)) as { event?: string };
    if (frame.event === 'demand' && published - served < 10) void fill();
  });
  const crowd = await PushClient.open(server.url);
  const joiners = Array.from({ length: 200 }, (_, i) =>
    // half of the joiners use HTTP; the other half share one socket, like many tabs of one user
    i % 2 ? new Client(server.url, someone('crowd'), 'v2', newInstance()) : crowd,
  );
  const taken = await Promise.all(
    joiners.map(async (joiner) => {
      const offer = await joiner.take(fqn, { wait: 20_000 });
      served++;
      await joiner.answer(offer);
      return offer.offerId;
    }),
  );
  assert.equal(new Set(taken).size, 200);
});

test('hidden services can be found only with getServiceById', async (t) => {
  const { host, joiner, fqn } = await start(t);
  const secret = `secret:1.0.0@${host.username}`;
  const open = await host.publish(fqn, ['open']);
  const hidden = await host.publish(secret, ['hidden'], { hidden: true, metadata: { title: 'Hi' } });
  const byId = await joiner().call('getServiceById', { serviceId: hidden.serviceId });
  assert.deepEqual([byId.sdp, byId.serviceFqn, byId.metadata], ['hidden', secret, { title: 'Hi' }]);
  assert.equal(byId.publicKey, host.http.identity.publicKey);
  assert.equal((await joiner().call('getServiceById', { serviceId: open.serviceId })).sdp, 'open');
  await refused(joiner().take(secret), 'not-found');
  await refused(joiner().take('secret:1.0.0'), 'not-found');
  const page = (await joiner().call('getService', { serviceFqn: secret, limit: 10 })) as { count: number };
  assert.equal(page.count, 0);
  await refused(joiner().call('getServiceById', { serviceId: hidden.serviceId }), 'no-offer');
  await refused(joiner().call('getServiceById', { serviceId: '00000000-0000-4000-8000-000000000000' }), 'not-found');
  await refused(joiner().call('getServiceById', { serviceId: 'chat' }), 'bad-request');
});

test('getServiceById waits in the queue like getService', async (t) => {
  const { server, host, joiner, fqn } = await start(t);
  const { serviceId } = await host.publish(fqn, ['first']);
  await joiner().take(fqn);
  const waiting = joiner().call('getServiceById', { serviceId, wait: 20_000 });
  await until(() => server.waiting === 1);
  await host.publish(fqn, ['second']);
  assert.equal((await waiting).sdp, 'second');
});

test('look-ups return the owner’s public key and the metadata of the service', async (t) => {
  const { host, joiner, fqn } = await start(t);
  const metadata = { players: 3, tags: ['a', 'b'] };
  await host.publish(fqn, ['offer'], { metadata });
  const page = (await joiner().call('getService', { serviceFqn: FQN, limit: 10 })) as { services: unknown[] };
  for (const found of [page.services[0], await joiner().take(fqn)] as { publicKey: string; metadata: unknown }[]) {
    assert.equal(found.publicKey, host.http.identity.publicKey);
    assert.deepEqual(found.metadata, metadata);
  }
});

test('a serviceId survives new offers, a period without offers, and a server restart', async (t) => {
  const storagePath = temporaryFile(t);
  const options = { port: 0, host: '127.0.0.1', storagePath };
  const first = await createServer(options);
  const identity = someone('host');
  const fqn = `${FQN}@${identity.username}`;
  const before = new Client(first.url, identity);
  const { serviceId, offers } = await before.publish(fqn, ['a']);
  assert.equal((await before.publish(fqn, ['b'])).serviceId, serviceId);
  await before.call('withdrawOffers', { serviceFqn: fqn, offerIds: offers.map(({ offerId }) => offerId) });
  assert.equal((await before.publish(fqn, ['c'])).serviceId, serviceId);
  await first.close();
  const second = await createServer(options);
  t.after(() => second.close());
  const joiner = new Client(second.url, someone(), 'v2', newInstance());
  assert.equal((await joiner.call('getServiceById', { serviceId })).sdp, 'c');
  assert.equal((await new Client(second.url, identity).publish(fqn, ['d'])).serviceId, serviceId);
});

test('a server replies to waiting joiners before it closes', async (t) => {
  const { server, joiner, fqn } = await start(t);
  const push = await PushClient.open(server.url);
  const http = refused(joiner().take(fqn, { wait: 20_000 }), 'unavailable');
  const socket = refused(push.take(fqn, { wait: 20_000 }), 'unavailable');
  await until(() => server.waiting === 2);
  await server.close();
  await Promise.all([http, socket]);
  await server.close();
});
