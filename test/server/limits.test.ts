/**
 * Tests the limits on calls and stored data: points per address and per key, quotas, reserved names, release of names, trust
 * in forwarded headers, and the operator's `authorize` callback.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { clientAddress, proxyList } from '../../server/src/client-address.js';
import { DEFAULT_LIMITS, type AuthorizeContext, type Limits } from '../../server/src/index.js';
import { NEW_KEY_COST, costOf } from '../../server/src/limiter.js';
import {
  Client,
  CallError,
  Identity,
  PushClient,
  anonymous,
  mockClock,
  post,
  refused,
  someone,
  startServer,
  connectRaw,
} from './helpers.js';

const limited = (t: TestContext, limits: Partial<Limits>, more: Parameters<typeof startServer>[1] = {}) =>
  startServer(t, { limits: { ...DEFAULT_LIMITS, ...limits }, ...more });

test('a client over its limit gets HTTP 429 with Retry-After, or an error per call in a batch', async (t) => {
  const clock = mockClock(t);
  const server = await limited(t, { pointsPerAddress: 10 + NEW_KEY_COST });
  const client = new Client(server.url);
  for (let i = 0; i < 9; i++) await client.call('poll', {});
  const batch = await post(server.url, [client.signed('poll', {}), client.signed('poll', {})]);
  assert.equal(batch.status, 200);
  const [first, second] = batch.body as { success: boolean; code?: string; retryAfter?: number }[];
  assert.deepEqual([first!.success, second!.success, second!.code], [true, false, 'rate-limited']);
  const single = await post(server.url, client.signed('poll', {}));
  assert.equal(single.status, 429);
  const { code, error, retryAfter } = single.body as { code: string; error: string; retryAfter: number };
  assert.equal(code, 'rate-limited');
  assert.match(error, /calls from this address: at most 13 points in 10 s/);
  assert.equal(single.headers.get('retry-after'), String(Math.ceil(retryAfter / 1000)));
  await clock.tick(10_001);
  await client.call('poll', {});
});

test('does not verify the signature of a call from an address over its limit', async (t) => {
  const server = await limited(t, { pointsPerAddress: 5 + NEW_KEY_COST });
  const metrics = async (): Promise<number> =>
    Number(/rondevu_verify_seconds_count (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())![1]);
  const client = new Client(server.url);
  for (let i = 0; i < 5; i++) await client.call('poll', {});
  const before = await metrics();
  for (let i = 0; i < 5; i++) await post(server.url, client.signed('poll', {}));
  assert.equal(await metrics(), before);
});

test('calls over HTTP and over sockets share the budget of their key', async (t) => {
  const server = await limited(t, { pointsPerKey: 8 });
  const host = await PushClient.open(server.url, someone()); // costs 3
  const http = new Client(server.url, host.http.identity);
  for (let i = 0; i < 3; i++) await host.call('poll', {});
  for (let i = 0; i < 2; i++) await http.call('poll', {});
  const error = await refused(host.call('poll', {}), 'rate-limited');
  assert.match(error.message, /calls of this key/);
  assert.ok(Number(error.details['retryAfter']) > 0);
  await new Client(server.url).call('poll', {});
});

test('the cost of a call depends on the number of rows that it reads and writes', () => {
  assert.equal(costOf('poll', {}), 1);
  assert.equal(costOf('publishService', { offers: Array(40).fill({}) }), 7);
  assert.equal(costOf('getService', { limit: 10 }), 7);
  for (const params of [undefined, null, 5, 'x', [], { offers: 'x' }, { offers: { length: 1e9 } }, { limit: {} }])
    assert.ok(costOf('publishService', params) >= 1 && costOf('getService', params) < 10);
  for (const name of ['constructor', '__proto__', '']) assert.equal(costOf(name, {}), 1);
});

test('new keys and deleted offers add to the cost of a call', async (t) => {
  const points = 1 + NEW_KEY_COST;
  const server = await limited(t, { pointsPerAddress: points });
  const client = new Client(server.url);
  await client.call('poll', {});
  assert.match((await refusedAs429(client)).message, new RegExp(`at most ${points} points`));

  const other = await limited(t, { pointsPerKey: 60 });
  const owner = new Client(other.url);
  const offers = Array.from({ length: 100 }, (_, index) => `offer ${index}`);
  const [one, two] = ['one', 'two'].map((name) => `${name}:1.0.0@${owner.username}`);
  await owner.publish(one!, offers); // 3 + 10
  await owner.publish(two!, offers);
  await owner.call('deleteService', { serviceFqn: one! }); // 3 + 20
  const { message } = await refused(owner.call('releaseUsername', {}), 'rate-limited'); // 5 + 10
  assert.match(message, /calls of this key/);
  await new Client(other.url).take(two!);
});

test('60 users behind one address can connect at the same time with the default limits', async (t) => {
  const server = await startServer(t);
  const teacher = await PushClient.open(server.url, someone('teacher'));
  const fqn = `lesson:1.0.0@${teacher.http.username}`;
  await teacher.publish(
    fqn,
    Array.from({ length: 60 }, (_, index) => `offer ${index}`),
  );
  await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      const pupil = await PushClient.open(server.url, index % 2 ? someone('pupil') : anonymous());
      const offer = await pupil.take(fqn);
      await pupil.answer(offer);
      for (let i = 0; i < 5; i++) await pupil.http.addCandidates(offer, `candidate ${i}`);
      for (let i = 0; i < 10; i++) await pupil.call('poll', {});
    }),
  );
});

test('only new names count against the claim limit of an address', async (t) => {
  const server = await limited(t, { claimsPerAddress: 2 });
  const [one, two] = [new Client(server.url), new Client(server.url)];
  for (const client of [one, two, one, two]) await client.call('poll', {});
  assert.match((await refusedAs429(new Client(server.url))).message, /new usernames from this address: at most 2 an hour/);
  await new Client(server.url, anonymous()).call('poll', {});
});

/**
 * Asserts that a single call is refused with HTTP 429.
 * @returns the error
 */
async function refusedAs429(client: Client): Promise<CallError> {
  const { status, body } = await post(client.url, client.signed('poll', {}));
  assert.equal(status, 429);
  const { error, code } = body as { error: string; code: string };
  return new CallError(error, code);
}

test('limits the number of services and offers per user', async (t) => {
  const server = await limited(t, { maxServicesPerUser: 2, maxOffersPerUser: 5 });
  const host = new Client(server.url);
  const publish = (name: string, count: number): Promise<unknown> =>
    host.publish(
      `${name}:1.0.0@${host.username}`,
      Array.from({ length: count }, (_, index) => `${name} ${index} ${Math.random()}`),
    );
  await publish('one', 2);
  await publish('two', 1);
  assert.match((await refused(publish('three', 1), 'too-large')).message, /At most 2 services/);
  await publish('two', 2);
  assert.match(
    (await refused(publish('one', 1), 'too-large')).message,
    /At most 5 free and answered offers per user, you have 5/,
  );
});

test('a full server still accepts offers from users with less than an equal share', async (t) => {
  const clock = mockClock(t);
  const server = await limited(t, { maxTotalOffers: 10 });
  const [greedy, modest] = [new Client(server.url), new Client(server.url)];
  const publish = (client: Client, count: number): Promise<unknown> =>
    client.publish(
      `x:1.0.0@${client.username}`,
      Array.from({ length: count }, () => `offer ${Math.random()}`),
    );
  await publish(greedy, 10);
  await clock.tick(1001);
  assert.match((await refused(publish(greedy, 1), 'unavailable')).message, /full; an equal share is 10 free offers, you have 10/);
  await publish(modest, 5);
  await clock.tick(1001);
  assert.match((await refused(publish(modest, 1), 'unavailable')).message, /an equal share is 5 free offers, you have 5/);
});

test('reserved names cannot be claimed, and the operator’s list replaces the default list', async (t) => {
  const first = await startServer(t);
  assert.match(
    (await refused(new Client(first.url, new Identity('admin')).call('poll', {}), 'forbidden')).message,
    /"admin" is reserved/,
  );
  const second = await startServer(t, { reservedNames: ['boss'] });
  await new Client(second.url, new Identity('admin')).call('poll', {});
  await refused(new Client(second.url, new Identity('boss')).call('poll', {}), 'forbidden');
});

test('releasing a name frees it and deletes its services', async (t) => {
  const server = await startServer(t);
  const host = new Client(server.url);
  const { serviceId } = await host.publish(`x:1.0.0@${host.username}`, ['offer']);
  assert.deepEqual(await host.call('releaseUsername', {}), { success: true });
  const other = new Client(server.url, new Identity(host.username));
  const reader = new Client(server.url);
  assert.equal((await reader.call('getUser', { username: host.username })).available, true);
  await refused(reader.call('getServiceById', { serviceId }), 'not-found');
  await other.call('poll', {});
  await refused(host.call('poll', {}), 'name-taken');
});

test('releasing a name or deleting a service requires a signature on that call', async (t) => {
  const server = await startServer(t);
  const push = await PushClient.open(server.url);
  await push.publish(`x:1.0.0@${push.http.username}`, ['offer']);
  await refused(push.call('releaseUsername', {}), 'unauthorized');
  await refused(push.call('deleteService', { serviceFqn: `x:1.0.0@${push.http.username}` }), 'unauthorized');
  const old = new Client(server.url, push.http.identity, 'old');
  await refused(old.call('releaseUsername', {}), 'bad-signature');
});

test('X-Forwarded-For is trusted only from configured proxies', () => {
  const [none, some] = [proxyList([]), proxyList(['10.0.0.0/8', '::1'])];
  const cases: [remote: string, header: string | undefined, proxies: typeof none, expected: string][] = [
    ['192.0.2.1', '198.51.100.7', none, '192.0.2.1'],
    ['192.0.2.1', '198.51.100.7', some, '192.0.2.1'],
    ['10.1.2.3', '198.51.100.7', some, '198.51.100.7'],
    ['::ffff:10.1.2.3', '198.51.100.7, 10.9.9.9', some, '198.51.100.7'],
    // an entry sent by the client precedes the address that the proxy appends
    ['10.1.2.3', '203.0.113.9, 198.51.100.7', some, '198.51.100.7'],
    ['10.1.2.3', undefined, some, '10.1.2.3'],
    ['10.1.2.3', 'unknown', some, '10.1.2.3'],
    ['::1', '198.51.100.7:4711', some, '198.51.100.7'],
    ['::1', '[2001:db8:1:2:3:4:5:6]:443', some, '2001:db8:1:2::/64'],
    ['2001:db8::1', undefined, none, '2001:db8:0:0::/64'],
    ['fe80::1%eth0', undefined, none, 'fe80:0:0:0::/64'],
    ['', undefined, none, ''],
    // all notations of an IPv4 address give the same address
    ['::ffff:909:909', undefined, none, '9.9.9.9'],
    ['0:0:0:0:0:FFFF:0909:0909', undefined, none, '9.9.9.9'],
    ['::FFFF:9.9.9.9%eth0', undefined, none, '9.9.9.9'],
    ['::ffff:0:909:909', undefined, none, '9.9.9.9'],
    ['64:ff9b::9.9.9.9', undefined, none, '9.9.9.9'],
    ['64:ff9b::909:909', undefined, none, '9.9.9.9'],
    ['2002:909:909:1234::1', undefined, none, '9.9.9.9'],
    ['::ffff:a01:203', '[::ffff:c633:6407]:443', some, '198.51.100.7'],
    ['::1', '0:0:0:0:0:ffff:c633:6407', some, '198.51.100.7'],
    // all notations of an IPv6 address give the same /64 prefix
    ['2001:DB8:0:0:1::', undefined, none, '2001:db8:0:0::/64'],
    ['2001:0db8::1:0:0:1', undefined, none, '2001:db8:0:0::/64'],
    ['10.1.2.3', `${'1.1.1.1,'.repeat(5000)}198.51.100.7`, some, '198.51.100.7'],
    ['10.1.2.3', `[${'['.repeat(50_000)}`, some, '10.1.2.3'],
  ];
  for (const [remote, header, proxies, expected] of cases)
    assert.equal(clientAddress(remote, header, proxies), expected, `${remote} and ${header}`);
});

test('each client behind a configured proxy has its own budget', async (t) => {
  const server = await limited(t, { pointsPerAddress: 4 + NEW_KEY_COST }, { trustedProxies: ['127.0.0.1'] });
  const client = new Client(server.url);
  const ask = (from: string): Promise<number> =>
    fetch(`${server.url}/rpc`, {
      method: 'POST',
      headers: { 'x-forwarded-for': from },
      body: JSON.stringify(client.signed('poll', {})),
    }).then(({ status }) => status);
  for (let i = 0; i < 4; i++) assert.equal(await ask('198.51.100.1'), 200);
  assert.equal(await ask('198.51.100.1'), 429);
  assert.equal(await ask('198.51.100.2'), 200);
});

test('authorize is called before a call takes effect, and can refuse it', async (t) => {
  const asked: AuthorizeContext[] = [];
  let verdict: boolean | string = true;
  const server = await startServer(t, { authorize: (context) => (asked.push(context), verdict) });
  const host = new Client(server.url);
  const joiner = new Client(server.url);
  const fqn = `x:1.0.0@${host.username}`;
  await host.publish(fqn, ['one', 'two']);
  const offer = await joiner.take(fqn);
  await joiner.call('getService', { serviceFqn: fqn, limit: 1 });
  await joiner.call('getServiceById', { serviceId: offer.serviceId });
  await joiner.answer(offer);
  const sid = 'abcdefgh';
  await joiner.call('signal', { to: host.username, sid, sdp: 'x' }).catch(() => undefined);
  assert.deepEqual(
    asked.map(({ action }) => action),
    ['publish', 'join', 'get', 'join', 'answer', 'signal'],
  );
  const { publicKey, username } = joiner.identity;
  assert.deepEqual(asked[1], { action: 'join', username, publicKey, address: '127.0.0.1', serviceFqn: fqn });
  assert.equal(asked[5]!.to, host.username);
  verdict = false;
  assert.match((await refused(joiner.take(fqn), 'forbidden')).message, /does not allow .* join here/);
  verdict = 'members only';
  assert.equal((await refused(host.publish(fqn, ['three']), 'forbidden')).message, 'members only');
});

test('a call is refused if authorize throws, without revealing the error message', async (t) => {
  const authorize = async (): Promise<boolean> => {
    throw new Error('the directory at ldap://secret is down');
  };
  const server = await startServer(t, { authorize, logLevel: 'silent' });
  const host = new Client(server.url);
  assert.equal((await refused(host.publish(`x:1.0.0@${host.username}`, ['a']), 'unavailable')).message, 'Internal server error');
});

test('disconnects a client that sends a request too slowly', { timeout: 60_000 }, async (t) => {
  const server = await startServer(t);
  const { socket, received, closed } = connectRaw(t, server.port);
  socket.write('POST /rpc HTTP/1.1\r\nHost: localhost\r\n');
  const drip = setInterval(() => socket.writable && socket.write('X-Slow: 1\r\n'), 500);
  t.after(() => clearInterval(drip));
  await closed;
  assert.match(received(), /^HTTP\/1\.1 408 /);
});
