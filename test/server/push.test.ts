/**
 * Tests the push socket (protocol.md, "Push"): opening a session, accepted and refused frames, events, and the heartbeat. The
 * file instances.test.ts tests instances and their offers.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { CAPS, DEFAULT_LIMITS } from '../../server/src/index.js';
import {
  Client,
  PushClient,
  PushSocket,
  mockClock,
  newInstance,
  openSessionFrame,
  refused,
  signOld,
  signV2,
  someone,
  startServer,
  until,
} from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext, options: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(t, options);
  const open = (identity = someone(), instance = newInstance()): Promise<PushClient> =>
    PushClient.open(server.url, identity, instance);
  return { server, open };
}
/** Opens the sockets of a publisher and a joiner, and publishes one offer. */
async function pair(t: TestContext) {
  const context = await start(t);
  const [host, joiner] = [await context.open(), await context.open()];
  const fqn = `${FQN}@${host.username}`;
  const { offers } = await host.publish(fqn, ['offer']);
  return { ...context, host, joiner, fqn, offer: { serviceFqn: fqn, offerId: offers[0]!.offerId } };
}

test('the upgrade requires the path /ws and the subprotocol rondevu.v1', async (t) => {
  const { server } = await start(t);
  for (const protocols of [[], ['other'], ['rondevu.v2']]) {
    await assert.rejects(new PushSocket(server.url, { protocols }).connect(), /HTTP 400/, String(protocols));
  }
  await assert.rejects(new PushSocket(`${server.url}/other`).connect(), /HTTP 404/);
  const socket = await new PushSocket(server.url, { protocols: ['other', 'rondevu.v1'] }).connect();
  assert.equal(socket.socket.protocol, 'rondevu.v1');
  await socket.close();
});

test('refuses an upgrade from an Origin that is not on the allow-list', async (t) => {
  const { server } = await start(t, { corsOrigins: ['https://good.example'] });
  const from = (origin?: string) => new PushSocket(server.url, { headers: origin === undefined ? {} : { origin } }).connect();
  for (const origin of ['https://evil.example', 'https://good.example.evil.example', 'null', 'http://good.example']) {
    await assert.rejects(from(origin), /HTTP 403/, origin);
  }
  for (const origin of ['https://good.example', undefined]) await (await from(origin)).close();
});

test('refuses an upgrade beyond the limit on sockets', async (t) => {
  const { server } = await start(t, { limits: { ...DEFAULT_LIMITS, maxSockets: 1 } });
  const first = await new PushSocket(server.url).connect();
  await assert.rejects(new PushSocket(server.url).connect(), /HTTP 503/);
  await first.close();
});

test('openSession claims the name and returns the settings of the session', async (t) => {
  const { server, open } = await start(t);
  const before = Date.now();
  const client = await open();
  const { epoch, seq, serverTime, caps, limits } = client.session;
  assert.equal(typeof epoch, 'string');
  assert.deepEqual([seq, caps], [0, CAPS]);
  assert.ok(serverTime >= before && serverTime <= Date.now());
  assert.equal(limits.maxFrameBytes, DEFAULT_LIMITS.maxBodyBytes);
  assert.equal(server.sessions, 1);
  const user = await new Client(server.url).call('getUser', { username: client.username });
  assert.equal(user.publicKey, client.http.identity.publicKey);
  await client.close();
});

test('closes a new socket if its first frame is not openSession', async (t) => {
  const { server } = await start(t);
  for (const frame of [
    { method: 'poll' },
    { method: 'getUser', params: { username: 'alice' } },
    { ack: 1 },
    { pong: true },
    {},
  ]) {
    const socket = await new PushSocket(server.url).connect();
    socket.send({ id: 1, ...frame });
    assert.equal(await socket.closed, 4401, JSON.stringify(frame));
    assert.ok(socket.frames.every((each) => !('result' in each)));
  }
});

test('openSession is validated like any other signed call', async (t) => {
  const { server, open } = await start(t);
  const taken = await open();
  const who = someone();
  const good = () => openSessionFrame(server.url, who, newInstance());
  const used = good();
  await (await opened(server.url, used)).close();
  const bad: [code: string, frame: Record<string, unknown>][] = [
    ['bad-signature', { ...good(), signature: someone().signText('x') }],
    ['bad-signature', { ...good(), params: { instance: newInstance() } }],
    ['bad-signature', signOld(who, 'openSession', { instance: newInstance() }) as unknown as Record<string, unknown>],
    ['bad-signature', openSessionFrame('http://other.example', who, newInstance())],
    ['replayed', used],
    ['name-taken', openSessionFrame(server.url, someone().as(taken.username), newInstance())],
    ['bad-request', openSessionFrame(server.url, who, 'short')],
    ['bad-request', openSessionFrame(server.url, who, 'x'.repeat(65))],
    ['bad-request', signV2(who, 'openSession', {}, server.url) as unknown as Record<string, unknown>],
  ];
  for (const [code, frame] of bad) {
    const socket = await new PushSocket(server.url).connect();
    await refused(socket.request(frame), code);
    assert.equal(await socket.closed, 4401);
  }
  await taken.close();
});
async function opened(url: string, frame: Record<string, unknown>): Promise<PushSocket> {
  const socket = await new PushSocket(url).connect();
  await socket.request(frame);
  return socket;
}

test('a client with a wrong clock may retry openSession with the corrected time on the same socket', async (t) => {
  const { server } = await start(t);
  const [who, instance] = [someone(), newInstance()];
  const socket = await new PushSocket(server.url).connect();
  const frame = openSessionFrame(server.url, who, instance, { timestamp: Date.now() - 100_000 });
  const { details } = await refused(socket.request(frame), 'clock-skew');
  await socket.request(openSessionFrame(server.url, who, instance, { timestamp: details['serverTime'] as number }));
  assert.equal(server.sessions, 1);
  await socket.close();
});

test('closes a socket after 5 s unless it has opened a session', async (t) => {
  const clock = mockClock(t);
  const { server, open } = await start(t);
  const idle = await new PushSocket(server.url).connect();
  const client = await open();
  await clock.tick(4000);
  assert.equal(idle.socket.readyState, idle.socket.OPEN);
  await clock.tick(1001);
  assert.equal(await idle.closed, 4401);
  assert.equal(client.socket.readyState, client.socket.OPEN);
});

test('answers a call that is sent before the reply to openSession', async (t) => {
  const { server } = await start(t);
  const [who, instance] = [someone(), newInstance()];
  const socket = await new PushSocket(server.url).connect();
  const replies = [socket.request(openSessionFrame(server.url, who, instance)), socket.request({ method: 'poll', params: {} })];
  const [session, poll] = await Promise.all(replies);
  assert.ok((session as { epoch: string }).epoch);
  assert.deepEqual(poll, { answers: [], iceCandidates: {} });
  await socket.close();
});

test('two concurrent openSession frames open only one session', async (t) => {
  const { server } = await start(t);
  const socket = await new PushSocket(server.url).connect();
  for (const who of [someone(), someone()]) {
    socket.request(openSessionFrame(server.url, who, newInstance())).catch(() => undefined);
  }
  await until(() => socket.frames.length === 2);
  assert.equal(socket.frames.filter((frame) => 'result' in frame).length, 1);
  await socket.close();
  await until(() => server.sessions === 0, 'the end of the session', 1500);
});

test('calls over the socket need no signature, except for deletions', async (t) => {
  const { host, joiner, fqn, offer } = await pair(t);
  const taken = await joiner.take(fqn);
  assert.equal(taken.offerId, offer.offerId);
  await refused(host.call('getOfferAnswer', offer), 'not-found');
  await joiner.answer(offer, 'answer');
  assert.equal((await host.call('getOfferAnswer', offer)).sdp, 'answer');
  await joiner.call('addIceCandidates', { ...offer, candidates: [{ candidate: 'c' }] });
  assert.equal((await host.call('getIceCandidates', { ...offer, since: 0 })).candidates.length, 1);
  assert.equal((await host.call('poll', { since: 0 })).answers.length, 1);
  assert.equal((await joiner.call('getUser', { username: host.username })).available, false);
  assert.equal(
    (await joiner
      .call('getServiceById', { serviceId: taken.serviceId })
      .catch((error: { code: string }) => error.code)) as unknown,
    'no-offer',
  );
  assert.deepEqual(await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: [] }), { count: 0 });
  await refused(joiner.call('publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }] }), 'forbidden');
  await refused(joiner.call('poll', { since: 'x' as unknown as number }), 'bad-request');
  // a deletion must be signed even in an open session
  await refused(host.call('deleteService', { serviceFqn: fqn }), 'unauthorized');
  await host.http.call('deleteService', { serviceFqn: fqn });
});

test('a session acts for its own instance even if a call gives a different one', async (t) => {
  const { host, joiner, fqn } = await pair(t);
  await host.publish(fqn, ['second'], { instance: newInstance() });
  const offer = await joiner.take(fqn);
  await joiner.answer(offer);
  await host.event('answer');
});

test('an unknown frame gets an error, but a binary or malformed frame closes the socket', async (t) => {
  const { server, open } = await start(t);
  const client = await open();
  for (const frame of [{ id: 77 }, { id: 77, method: 7 }, { method: 'poll' }, { event: 'answer', data: {} }, { ack: 'x' }]) {
    const count = client.frames.length;
    client.send(frame);
    await until(() => client.frames.length > count);
    assert.equal((client.frames.at(-1)!['error'] as { code: string }).code, 'bad-request', JSON.stringify(frame));
  }
  await refused(client.request({ method: 'signIn' }), 'bad-request');
  assert.equal(client.socket.readyState, client.socket.OPEN);
  for (const data of ['nope', '[]', '7', 'null', '', Buffer.from([1, 2, 3]), Buffer.from('{"id":1,"method":"poll"}')]) {
    const other = await open();
    other.socket.send(data);
    assert.equal(await other.closed, 1003, String(data));
  }
  await until(() => server.sessions === 1);
  await client.close();
});

test('a frame that is too large closes the socket, before and after openSession', async (t) => {
  const { server, open } = await start(t);
  for (const client of [await new PushSocket(server.url).connect(), await open()]) {
    client.send({ id: 1, method: 'poll', params: { padding: 'x'.repeat(DEFAULT_LIMITS.maxBodyBytes) } });
    assert.ok([1006, 1009].includes(await client.closed));
  }
  await until(() => server.sessions === 0);
});

test('an answer is pushed to the publisher with the name and key of the answerer', async (t) => {
  const { host, joiner, fqn, offer } = await pair(t);
  await joiner.take(fqn);
  await joiner.answer(offer, 'the answer');
  const { data, seq } = await host.event('answer');
  assert.equal(seq, 1);
  assert.deepEqual(
    [data.serviceFqn, data.offerId, data.sdp, data.answererId],
    [fqn, offer.offerId, 'the answer', joiner.username],
  );
  assert.equal(data.answererKey, joiner.http.identity.publicKey);
});

test('candidates are pushed in both directions, including those parked before the answer', async (t) => {
  const { host, joiner, offer } = await pair(t);
  await joiner.http.addCandidates(offer, 'parked');
  await joiner.answer(offer);
  await host.http.addCandidates(offer, 'from the host');
  await joiner.http.addCandidates(offer, 'late');
  const lines = (client: PushClient) =>
    client
      .eventsOf('candidates')
      .flatMap(({ data }) => data.candidates.map(({ candidate, role }) => [candidate.candidate, role]));
  await until(() => lines(host).length === 2 && lines(joiner).length === 1);
  assert.deepEqual(lines(host), [
    ['parked', 'answerer'],
    ['late', 'answerer'],
  ]);
  assert.deepEqual(lines(joiner), [['from the host', 'offerer']]);
});

test('the joiner gets `taken` once, after the publisher has acknowledged the answer', async (t) => {
  const { host, joiner, fqn, offer } = await pair(t);
  await joiner.take(fqn);
  await joiner.answer(offer);
  const { seq } = await host.event('answer');
  host.send({ ack: seq - 1 });
  // the reply to this call shows that the server has read the ack
  await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: [] });
  await joiner.call('getUser', { username: 'nobody' });
  assert.deepEqual(joiner.eventsOf('taken'), []);
  host.send({ ack: seq });
  assert.deepEqual((await joiner.event('taken')).data, { offerId: offer.offerId });
  host.send({ ack: seq });
  await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: [] });
  await joiner.call('getUser', { username: 'nobody' });
  assert.equal(joiner.eventsOf('taken').length, 1, 'once');
});

test('a poll that returns the answer counts as its acknowledgement', async (t) => {
  const { joiner, server } = await pair(t);
  const host = new Client(server.url, someone(), 'v2', newInstance());
  const fqn = `${FQN}@${host.username}`;
  await host.publish(fqn, ['offer']);
  await joiner.answer(await joiner.take(fqn));
  assert.equal((await host.call('poll', {})).answers.length, 1);
  await joiner.event('taken');
});

test('the events of a session are numbered consecutively from 1', async (t) => {
  const { host, joiner, fqn } = await pair(t);
  await host.publish(fqn, ['b', 'c']);
  for (let i = 0; i < 3; i++) await joiner.answer(await joiner.take(fqn));
  await host.event('answer', 2);
  assert.deepEqual(
    host.events.map(({ seq }) => seq),
    [1, 2, 3],
  );
});

test('only publishers receive `demand`, with the number of waiting joiners', async (t) => {
  const { host, joiner, fqn, open } = await pair(t);
  await joiner.take(fqn);
  const bystander = await open();
  const waiting = [joiner, bystander].map((client) => client.take(fqn, { wait: 5000 }));
  await until(() => host.eventsOf('demand').some(({ data }) => data.waiting === 2));
  assert.equal(host.eventsOf('demand')[0]!.data.serviceFqn, fqn);
  assert.deepEqual([...joiner.eventsOf('demand'), ...bystander.eventsOf('demand')], []);
  await host.publish(fqn, ['a', 'b']);
  await Promise.all(waiting);
});

test('a look-up that does not wait also triggers `demand`', async (t) => {
  const { host, joiner, fqn } = await pair(t);
  await joiner.take(fqn);
  await refused(joiner.take(fqn), 'no-offer');
  assert.deepEqual((await host.event('demand')).data, { serviceFqn: fqn, waiting: 1 });
});

test('a silent socket is pinged after 15 s, and terminated if it sends no pong', async (t) => {
  const clock = mockClock(t);
  const { server, open } = await start(t);
  const [alive, dead] = [await open(), await open()];
  dead.pongs = false;
  await clock.tick(14_000);
  assert.ok([alive, dead].every(({ frames }) => !frames.some((frame) => 'ping' in frame)));
  await clock.tick(2000);
  await until(() => [alive, dead].every(({ frames }) => frames.some((frame) => 'ping' in frame)));
  await clock.tick(3000);
  await dead.closed;
  await until(() => server.sessions === 1);
  assert.equal(alive.socket.readyState, alive.socket.OPEN);
});

test('a jump in the wall clock does not make a socket appear silent', async (t) => {
  const clock = mockClock(t);
  const { server, open } = await start(t);
  const client = await open();
  const date = Date.now.bind(Date);
  t.mock.method(Date, 'now', () => date() + 60_000);
  await clock.tick(3000);
  assert.equal(server.sessions, 1);
  assert.ok(!client.frames.some((frame) => 'ping' in frame));
});

test('disconnects a slow reader instead of buffering without a limit', async (t) => {
  const { server, open } = await start(t);
  const client = await open();
  const fqn = `${FQN}@${client.username}`;
  (client.socket as unknown as { _socket: { pause(): void } })._socket.pause();
  // each reply repeats the offers, so the client would receive 900 kB for every 900 kB that it sends
  const sdps = Array.from({ length: 14 }, (_, i) => `${i}`.padEnd(64_000, 'x'));
  for (let i = 0; i < 40 && server.sessions; i++) {
    client.publish(fqn, sdps).catch(() => undefined);
    await new Promise(setImmediate);
  }
  // the timeout of 10 s is shorter than the heartbeat timeout
  await until(() => server.sessions === 0, 'the slow reader to be disconnected', 10_000);
  client.socket.terminate();
});

test('a closing server closes its sockets with code 1001 and leaves no timers behind', async (t) => {
  const clock = mockClock(t);
  const { server, open } = await start(t);
  const logged = t.mock.method(console, 'error', () => undefined);
  const client = await open();
  await client.publish(`${FQN}@${client.username}`, ['offer']);
  const closing = server.close();
  assert.equal(await client.closed, 1001);
  await closing;
  await clock.tick(20_000);
  assert.deepEqual(
    logged.mock.calls.map(({ arguments: said }) => String(said[0])),
    [],
  );
});

test('a signal reaches every socket of the recipient and no other user', async (t) => {
  const { host, joiner, offer, server, open } = await pair(t);
  const sid = 'session-1';
  await refused(joiner.call('signal', { to: host.username, sid, sdp: 'restart?' }), 'forbidden');
  await joiner.answer(offer);
  const second = await PushClient.open(server.url, host.http.identity, newInstance());
  const stranger = await open();
  await joiner.call('signal', { to: host.username, sid, sdp: 'restart?' });
  for (const client of [host, second]) {
    assert.deepEqual((await client.event('signal')).data, { from: joiner.username, sid, sdp: 'restart?' });
  }
  await host.call('signal', { to: joiner.username, sid, candidates: [{ candidate: 'candidate:1' }] });
  assert.deepEqual((await joiner.event('signal')).data.candidates, [{ candidate: 'candidate:1' }]);
  await refused(stranger.call('signal', { to: host.username, sid, sdp: 'x' }), 'forbidden');
  await refused(joiner.call('signal', { to: host.username, sid }), 'bad-request');
  await refused(joiner.call('signal', { to: host.username, sid, sdp: 'x'.repeat(65_537) }), 'too-large');
  assert.deepEqual(stranger.events, []);
  await joiner.close();
  await until(() => server.sessions === 3);
  await refused(host.call('signal', { to: joiner.username, sid, sdp: 'x' }), 'peer-gone');
});

test('a client that reconnects within the grace period gets the missed events with their original numbers', async (t) => {
  const { host, joiner, fqn, server } = await pair(t);
  await host.publish(fqn, ['b', 'c']);
  await joiner.answer(await joiner.take(fqn), 'first');
  const { seq } = await host.event('answer');
  const { epoch } = host.session;
  await host.close();
  await until(() => server.sessions === 1);
  for (const sdp of ['second', 'third']) await joiner.answer(await joiner.take(fqn), sdp);
  const back = await PushClient.open(server.url, host.http.identity, host.instance, { epoch, seq });
  await back.event('answer', 1);
  const answers = back.eventsOf('answer').map(({ data, seq: number }) => [data.sdp, number]);
  assert.deepEqual(answers, [
    ['second', seq + 1],
    ['third', seq + 2],
  ]);
  assert.equal(back.session.epoch, epoch);
  assert.deepEqual(back.eventsOf('resync'), []);
});

test('a client that resumes from a different epoch or from an unused number gets `resync`', async (t) => {
  const { server } = await start(t);
  const identity = someone();
  const instance = newInstance();
  const first = await PushClient.open(server.url, identity, instance);
  const { epoch } = first.session;
  for (const resume of [
    { epoch: 'another', seq: 0 },
    { epoch, seq: 7 },
  ]) {
    const client = await PushClient.open(server.url, identity, instance, resume);
    await client.event('resync');
  }
});

test('openSession refuses a resume position that is not a non-negative integer', async (t) => {
  const { url } = await startServer(t);
  const identity = someone();
  const instance = newInstance();
  const { epoch } = (await PushClient.open(url, identity, instance)).session;
  for (const seq of [-1, -1e308, 0.5, 1e308, '0', null]) {
    const resume = { epoch, seq: seq as number };
    const { message } = await refused(PushClient.open(url, identity, instance, resume), 'bad-request');
    assert.match(message, /^openSession: resume\.seq: expected /);
  }
  await PushClient.open(url, identity, instance, { epoch, seq: 0 });
});
