/**
 * Tests instances (protocol.md, "Instances"): offers last as long as the instance that published them, and answers and
 * candidates reach that instance. The tests use complete servers and sockets, with a mocked clock for waits of several
 * seconds.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS, createServer } from '../../server/src/index.js';
import { Client, PushClient, mockClock, newInstance, refused, someone, startServer, temporaryFile, until } from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext) {
  const server = await startServer(t);
  const identity = someone('host');
  return {
    server,
    identity,
    fqn: `${FQN}@${identity.username}`,
    joiner: new Client(server.url, someone('joiner'), 'v2', newInstance()),
  };
}
/** Returns the number of offers in a listing of the service. */
async function offered(client: Client, fqn: string): Promise<number> {
  const page = (await client.call('getService', { serviceFqn: fqn, limit: 10 })) as { services: unknown[] };
  return page.services.length;
}

test('offers are withdrawn 2 s after the socket of their instance closes', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['offer']);
  await host.close();
  await until(() => server.sessions === 0);
  await clock.tick(1900);
  assert.equal(await offered(joiner, fqn), 1);
  await clock.tick(200);
  await until(async () => (await offered(joiner, fqn)) === 0);
});

test('offers remain available if their instance reconnects within 2 s', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['offer']);
  await host.close();
  await until(() => server.sessions === 0);
  await clock.tick(1500);
  const again = await PushClient.open(server.url, identity, host.instance);
  await clock.tick(5000);
  await joiner.answer(await joiner.take(fqn), 'answer');
  assert.equal((await again.event('answer')).data.sdp, 'answer');
});

test('an instance does not end when the first of its two sockets closes', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const first = await PushClient.open(server.url, identity);
  await first.publish(fqn, ['offer']);
  const second = await PushClient.open(server.url, identity, first.instance);
  await first.close();
  await clock.tick(4000);
  await joiner.answer(await joiner.take(fqn));
  await second.event('answer');
});

test('answered offers remain available after their instance has ended', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['offer']);
  const offer = await joiner.take(fqn);
  await joiner.answer(offer, 'answer');
  await host.close();
  await until(() => server.sessions === 0);
  await clock.tick(3000);
  assert.equal((await host.http.call('getOfferAnswer', { serviceFqn: fqn, offerId: offer.offerId })).sdp, 'answer');
});

test('an instance that only polls ends after 15 s without a poll', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = new Client(server.url, identity, 'v2', newInstance());
  await host.publish(fqn, ['offer']);
  for (let i = 0; i < 3; i++) {
    await clock.tick(12_000);
    await host.call('poll', {});
  }
  await clock.tick(14_000);
  assert.equal(await offered(joiner, fqn), 1);
  await clock.tick(3000);
  await until(async () => (await offered(joiner, fqn)) === 0);
});

test('offers without an instance, as published by old clients, last until their TTL expires', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  await new Client(server.url, identity, 'old').publish(fqn, ['offer'], { ttl: 120_000 });
  await clock.tick(119_000);
  assert.equal(await offered(joiner, fqn), 1);
  await clock.tick(1001);
  assert.equal(await offered(joiner, fqn), 0);
});

test('answers and candidates reach only the instance that published the offer', async (t) => {
  const { server, identity, fqn } = await start(t);
  const [laptop, phone] = [await PushClient.open(server.url, identity), await PushClient.open(server.url, identity)];
  const joiner = await PushClient.open(server.url);
  const ids = new Map<string, PushClient>();
  for (const client of [laptop, phone]) {
    const { offers } = await client.publish(fqn, [`of ${client.instance}`]);
    ids.set(offers[0]!.offerId, client);
  }
  for (const [offerId, client] of ids) {
    const other = client === laptop ? phone : laptop;
    const before = other.events.length;
    await joiner.answer({ serviceFqn: fqn, offerId }, `for ${client.instance}`);
    await joiner.http.addCandidates({ serviceFqn: fqn, offerId }, 'line');
    await until(() => client.eventsOf('answer').length === 1 && client.eventsOf('candidates').length === 1);
    assert.equal(client.eventsOf('answer')[0]!.data.offerId, offerId);
    await other.call('getUser', { username: 'nobody' });
    assert.equal(other.events.length, before);
  }
  assert.equal(
    (await laptop.http.call('poll', { since: 0 })).answers.length,
    1,
    'a poll returns only the answer for its own instance',
  );
});

test('the end of one instance does not affect the offers of another instance of the same user', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const [laptop, phone] = [await PushClient.open(server.url, identity), await PushClient.open(server.url, identity)];
  await laptop.publish(fqn, ['laptop']);
  await phone.publish(fqn, ['phone']);
  await phone.close();
  await until(() => server.sessions === 1);
  await clock.tick(3000);
  assert.equal((await joiner.take(fqn)).sdp, 'laptop');
  await refused(joiner.take(fqn), 'no-offer');
});

test('an instance cannot get or answer its own offers, but another instance of the same user can', async (t) => {
  const { server, identity, fqn } = await start(t);
  const [laptop, phone] = [await PushClient.open(server.url, identity), await PushClient.open(server.url, identity)];
  const { offers } = await laptop.publish(fqn, ['laptop']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  await refused(laptop.take(fqn), 'no-offer');
  await refused(laptop.answer(offer), 'own-offer');
  assert.equal((await phone.take(fqn)).offerId, offer.offerId);
  await phone.answer(offer, 'phone');
  assert.equal((await laptop.event('answer')).data.answererInstance, phone.instance);
});

test('an old client without an instance cannot get or answer offers of its own user', async (t) => {
  const { server, identity, fqn } = await start(t);
  const old = new Client(server.url, identity, 'old');
  const { offers } = await old.publish(fqn, ['offer']);
  await refused(old.take(fqn), 'no-offer');
  await refused(old.answer({ serviceFqn: fqn, offerId: offers[0]!.offerId }), 'own-offer');
});

test('two instances of one user that connect to each other exchange candidates', async (t) => {
  const { server, identity, fqn } = await start(t);
  const [laptop, phone] = [await PushClient.open(server.url, identity), await PushClient.open(server.url, identity)];
  await laptop.publish(fqn, ['laptop']);
  const { offerId } = await phone.take(fqn);
  await phone.answer({ serviceFqn: fqn, offerId });
  const send = (client: PushClient, candidate: string) =>
    client.call('addIceCandidates', { serviceFqn: fqn, offerId, candidates: [{ candidate }] });
  await send(phone, 'from the phone');
  await send(laptop, 'from the laptop');
  const got = async (client: PushClient) =>
    (await client.call('getIceCandidates', { serviceFqn: fqn, offerId, since: 0 })).candidates.map((c) => [
      c.candidate.candidate,
      c.role,
    ]);
  assert.deepEqual(await got(laptop), [['from the phone', 'answerer']]);
  assert.deepEqual(await got(phone), [['from the laptop', 'offerer']]);
  await until(() => laptop.eventsOf('candidates').length > 0 && phone.eventsOf('candidates').length > 0, 'the events', 2000);
});

test('withdrawOffers removes unanswered offers, including leased ones, but no answered offers', async (t) => {
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['a', 'b', 'c']);
  const [answered, held] = [await joiner.take(fqn), await joiner.take(fqn)];
  await joiner.answer(answered);
  const offerIds = [answered.offerId, held.offerId, 'unknown'];
  assert.deepEqual(await host.call('withdrawOffers', { serviceFqn: fqn, offerIds }), { count: 1 });
  await refused(joiner.answer(held), 'offer-gone');
  await joiner.take(fqn);
  await refused(joiner.take(fqn), 'no-offer');
  assert.ok(await host.call('getOfferAnswer', { serviceFqn: fqn, offerId: answered.offerId }));
});

test('answering an offer of an instance that has ended fails with offer-gone', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['offer']);
  const offer = await joiner.take(fqn);
  await host.close();
  await until(() => server.sessions === 0);
  await clock.tick(2500);
  await refused(joiner.answer(offer), 'offer-gone');
});

test('a lease does not count as unanswered if its answer fails because the offer is gone', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  for (let i = 0; i < 4; i++) {
    await host.publish(fqn, [`gone ${i}`]);
    const offer = await joiner.take(fqn);
    await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: [offer.offerId] });
    await refused(joiner.answer(offer), 'offer-gone');
  }
  await clock.tick(9000);
  await host.publish(fqn, ['a', 'b']);
  await joiner.take(fqn);
  await joiner.take(fqn); // a joiner that is served last may hold only one lease
});

test('a lease counts as unanswered if its answer gives a different service name', async (t) => {
  const clock = mockClock(t);
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  for (let i = 0; i < 4; i++) {
    await host.publish(fqn, [`offer ${i}`]);
    const offer = await joiner.take(fqn);
    await refused(joiner.answer({ ...offer, serviceFqn: fqn.replace('1.0.0', '1.0.1') }), 'offer-gone');
    await clock.tick(9000);
  }
  await host.publish(fqn, ['a', 'b']);
  await joiner.take(fqn);
  await refused(joiner.take(fqn), 'rate-limited');
});

test('instances in the database have 15 s to reconnect after a server restart', async (t) => {
  const clock = mockClock(t);
  const storagePath = temporaryFile(t);
  const options = { port: 0, host: '127.0.0.1', storagePath };
  const first = await createServer(options);
  const [returns, stays] = [someone('returns'), someone('stays-away')];
  const instances = new Map([returns, stays].map((identity) => [identity, newInstance()]));
  for (const [identity, instance] of instances) {
    await new Client(first.url, identity, 'v2', instance).publish(`${FQN}@${identity.username}`, ['offer']);
  }
  await first.close();

  const second = await createServer(options);
  t.after(() => second.close());
  const joiner = new Client(second.url);
  await clock.tick(10_000);
  for (const { username } of [returns, stays]) assert.equal(await offered(joiner, `${FQN}@${username}`), 1);
  await PushClient.open(second.url, returns, instances.get(returns));
  await clock.tick(8000);
  await until(async () => (await offered(joiner, `${FQN}@${stays.username}`)) === 0);
  assert.equal(await offered(joiner, `${FQN}@${returns.username}`), 1);
});

test('a publisher that reconnects receives `demand` without publishing again', async (t) => {
  const { server, identity, fqn, joiner } = await start(t);
  const host = await PushClient.open(server.url, identity);
  await host.publish(fqn, ['offer']);
  await host.close();
  const again = await PushClient.open(server.url, identity, host.instance);
  await joiner.take(fqn);
  await refused(joiner.take(fqn), 'no-offer');
  await again.event('demand');
});

test('publishService publishes nothing if it is refused because the user has too many instances', async (t) => {
  const server = await startServer(t, { limits: { ...DEFAULT_LIMITS, maxInstancesPerUser: 2 } });
  const identity = someone('host');
  const fqn = `${FQN}@${identity.username}`;
  const publish = (sdp: string) => new Client(server.url, identity, 'v2', newInstance()).publish(fqn, [sdp]);
  await publish('one');
  await publish('two');
  await refused(publish('three'), 'rate-limited');
  assert.equal((await new Client(server.url).take(fqn)).sdp, 'two', 'the refused call has published no offer');
});
