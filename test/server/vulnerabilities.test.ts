/**
 * Tests real vulnerabilities of v0.5.4, replies to invalid or oversized input, and upgrade requests that must not crash the
 * server.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import {
  Client,
  PushClient,
  closed,
  newInstance,
  post,
  refused,
  resultOf,
  signOld,
  someone,
  spawnServer,
  startServer,
  temporaryFile,
  until,
} from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext, options: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(t, options);
  const old = (prefix?: string): Client => new Client(server.url, someone(prefix), 'old');
  const host = old('host');
  return { server, old, host, fqn: `${FQN}@${host.username}` };
}
/** Starts a server with one offer that `joiner` has answered. */
async function answered(t: TestContext) {
  const context = await start(t);
  const joiner = context.old('joiner');
  await context.host.publish(context.fqn, ['offer']);
  const offer = await joiner.take(context.fqn);
  await joiner.answer(offer, 'answer');
  return { ...context, joiner, offer, stranger: context.old('stranger') };
}
const isFree = async (client: Client, username: string): Promise<boolean> =>
  (await client.call('getUser', { username })).available;

test('refuses a malformed message without claiming a name', async (t) => {
  const { server, host, fqn, old } = await start(t);
  const params = { serviceFqn: fqn, offers: [{ sdp: 'x' }] };
  for (const message of ['', 'publishService', host.username, `publishService:${host.username}`, 'publishService::1', ':::']) {
    const request = signOld(host.identity, 'publishService', params, { message });
    await refused((async () => resultOf((await post(server.url, request)).body))(), 'bad-request');
  }
  assert.ok(await isFree(old(), host.username));
});

test('a message with a timestamp too far in the past or future does not claim a name', async (t) => {
  const { host, fqn, old } = await start(t);
  for (const off of [-5 * 60_000 - 1000, 5 * 60_000 + 60_000]) {
    const error = await refused(
      host.call('publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }] }, { timestamp: Date.now() + off }),
      'clock-skew',
    );
    assert.equal(typeof error.details['serverTime'], 'number');
    assert.ok(await isFree(old(), host.username));
  }
  await host.call('poll', {}, { timestamp: Date.now() - 4 * 60_000 });
  assert.equal(await isFree(old(), host.username), false, 'a deviation of four minutes is within the limit of five');
});

test('a message with a bad signature does not claim a name', async (t) => {
  const { host, old } = await start(t);
  const forged = someone().signText('something else');
  for (const signature of [forged, '', 'AA==', `${forged.slice(0, -4)}!!==`, Buffer.alloc(64).toString('base64')]) {
    await refused(host.call('poll', {}, { signature }), 'bad-signature');
  }
  assert.ok(await isFree(old(), host.username));
});

test('refuses a validly signed call under a name claimed by a different key', async (t) => {
  const { server, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const thief = new Client(server.url, someone().as(host.username), 'old');
  await refused(thief.publish(fqn, ['stolen']), 'name-taken');
  // if the call contains no key, its signature is verified with the key of the claim, which does not match
  await refused(thief.call('poll', {}, { publicKey: undefined }), 'bad-signature');
});

test('only the owner can publish or delete a service', async (t) => {
  const { host, fqn, old } = await start(t);
  await host.publish(fqn, ['offer']);
  const stranger = old();
  await refused(stranger.publish(fqn, ['x']), 'forbidden');
  await refused(stranger.publish(FQN, ['x']), 'forbidden');
  await refused(stranger.call('deleteService', { serviceFqn: fqn }), 'forbidden');
  assert.equal((await old().take(fqn)).sdp, 'offer');
});

for (const method of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'nope', '']) {
  test(`refuses the unknown method "${method}" over HTTP and over the socket`, async (t) => {
    const { server, host } = await start(t);
    const { body } = await post(server.url, signOld(host.identity, method, {}));
    assert.match(String(refusal(body).message), /^Unknown method/);
    const push = await PushClient.open(server.url);
    await refused(push.request({ method, params: {} }), 'bad-request');
    await push.close();
  });
}

const refusal = (body: unknown): Error => {
  try {
    resultOf(body);
  } catch (error) {
    return error as Error;
  }
  return assert.fail(`expected a refusal, got ${JSON.stringify(body)}`);
};

/** Canonical encodings of the small-order points ("Taming the Many EdDSAs", table 2). */
const SMALL_ORDER = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
];
/** Non-canonical encodings of small-order points ("Taming the Many EdDSAs", table 2) and of one other point. */
const NON_CANONICAL = [
  '0100000000000000000000000000000000000000000000000000000000000080',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  // y = p + 3: on the curve, but not reduced modulo p
  'f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];
for (const [what, keys] of Object.entries({ 'small order': SMALL_ORDER, 'a non-canonical encoding': NON_CANONICAL })) {
  test(`refuses public keys with ${what}`, async (t) => {
    const { host, old } = await start(t);
    for (const hex of keys) {
      const publicKey = Buffer.from(hex, 'hex').toString('base64');
      // a signature with R = identity element and S = 0 verifies under small-order keys for at least one message in eight
      const signature = Buffer.concat([Buffer.from(SMALL_ORDER[0]!, 'hex'), Buffer.alloc(32)]).toString('base64');
      for (let i = 0; i < 4; i++) {
        await refused(host.call('poll', {}, { publicKey, signature, timestamp: Date.now() + i }), 'bad-request');
      }
    }
    assert.ok(await isFree(old(), host.username));
  });
}

test('a public key has only one accepted encoding, and can claim only one name', async (t) => {
  const { server, host, fqn, old } = await start(t);
  await host.publish(fqn, ['offer']);
  const key = host.identity.publicKey;
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  // the last character before the padding has two bits that decoders ignore
  const loose = key.slice(0, 42) + alphabet[alphabet.indexOf(key[42]!) ^ 1] + '=';
  assert.deepEqual(Buffer.from(loose, 'base64'), Buffer.from(key, 'base64'), 'the same bytes');
  const spellings = [loose, key.slice(0, -1), `${key}\n`, ` ${key}`, `${key}=`, Buffer.from(key, 'base64').toString('hex')];
  for (const publicKey of spellings) {
    const other = new Client(server.url, host.identity.as(`${host.username}-2`), 'old');
    await refused(other.call('poll', {}, { publicKey }), 'bad-request');
    assert.ok(await isFree(old(), other.username));
  }
  await refused(new Client(server.url, host.identity.as(`${host.username}-2`), 'old').call('poll', {}), 'forbidden');
});

test('strangers can neither read nor add ICE candidates', async (t) => {
  const { host, joiner, stranger, offer, fqn } = await answered(t);
  await host.addCandidates(offer, 'from the host');
  await joiner.addCandidates(offer, 'from the joiner');
  const ask = { serviceFqn: fqn, offerId: offer.offerId, since: 0 };
  await refused(stranger.call('getIceCandidates', ask), 'forbidden');
  await refused(stranger.addCandidates(offer, 'injected'), 'forbidden');
  assert.deepEqual((await stranger.call('poll', { since: 0 })).iceCandidates, {});
  const { candidates } = await joiner.call('getIceCandidates', ask);
  assert.deepEqual(
    candidates.map(({ candidate }) => candidate.candidate),
    ['from the host'],
  );
});

test('strangers cannot read the candidates of an unanswered offer', async (t) => {
  const { host, fqn, old } = await start(t);
  const { offers } = await host.publish(fqn, ['offer']);
  const offer = { serviceFqn: fqn, offerId: offers[0]!.offerId };
  await host.addCandidates(offer, 'from the host');
  await refused(old().call('getIceCandidates', { ...offer, since: 0 }), 'forbidden');
});

test('only the owner of an offer may call getOfferAnswer', async (t) => {
  const { joiner, stranger, offer, fqn } = await answered(t);
  const ask = { serviceFqn: fqn, offerId: offer.offerId };
  const error = await refused(stranger.call('getOfferAnswer', ask), 'forbidden');
  assert.doesNotMatch(error.message, new RegExp(joiner.username));
  await refused(joiner.call('getOfferAnswer', ask), 'forbidden');
});

test('an offer is not found under a different service name', async (t) => {
  const { host, joiner, offer } = await answered(t);
  const wrong = { serviceFqn: `game:1.0.0@${host.username}`, offerId: offer.offerId };
  await refused(host.call('getOfferAnswer', wrong), 'offer-gone');
  await refused(joiner.answer(wrong), 'offer-gone');
});

test('internal error messages do not leak, over HTTP or over the socket', async (t) => {
  const path = temporaryFile(t);
  const { server, host, fqn } = await start(t, { storagePath: path });
  t.mock.method(console, 'error', () => undefined);
  const push = await PushClient.open(server.url);
  await host.publish(fqn, ['offer']);
  const Database = createRequire(import.meta.url)('libsql') as new (path: string) => { exec(sql: string): void; close(): void };
  const db = new Database(path);
  db.exec('PRAGMA foreign_keys = OFF; DROP TABLE offers;');
  db.close();
  for (const call of [() => host.publish(fqn, ['second']), () => push.take(fqn)]) {
    const error = await refused(call(), 'unavailable');
    assert.equal(error.message, 'Internal server error');
    assert.doesNotMatch(JSON.stringify(error.details), /offers|table|sql/i);
  }
  await push.close();
});

test('refuses a body of 20 MB and keeps running', async (t) => {
  const { server, host, fqn } = await start(t);
  const request = signOld(host.identity, 'publishService', { serviceFqn: fqn, offers: [{ sdp: 'x'.repeat(20_000_000) }] });
  // the server may close the connection before the whole body is sent; either way, the request is refused
  const status = await post(server.url, request).then(
    (reply) => reply.status,
    () => 413,
  );
  assert.equal(status, 413);
  await host.publish(fqn, ['small']);
});

test('refuses an SDP over the size limit in an offer or an answer', async (t) => {
  const { host, fqn, old } = await start(t);
  await refused(host.publish(fqn, ['x'.repeat(65_537)]), 'too-large');
  await host.publish(fqn, ['x'.repeat(65_536)]);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await refused(joiner.answer(offer, 'x'.repeat(65_537)), 'too-large');
  await refused(joiner.answer(offer, ''), 'bad-request');
});

test('limits offers per call, candidates per call and per user, and the size of metadata', async (t) => {
  const { host, joiner, offer, fqn } = await answered(t);
  await refused(
    host.publish(
      fqn,
      Array.from({ length: 101 }, (_, i) => `${i}`),
    ),
    'too-large',
  );
  await refused(host.publish(fqn, []), 'bad-request');
  const many = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `line ${from + i}`);
  await refused(joiner.addCandidates(offer, ...many(0, 101)), 'too-large');
  await joiner.addCandidates(offer, ...many(0, 100));
  await refused(joiner.addCandidates(offer, 'one more'), 'too-large');
  await refused(host.addCandidates(offer, 'x'.repeat(1025)), 'too-large');
  await host.publish(fqn, ['m'], { metadata: 'x'.repeat(4094) });
  await refused(host.publish(fqn, ['m'], { metadata: 'x'.repeat(4095) }), 'too-large');
});

test('the limit on candidates also applies to concurrent calls', async (t) => {
  const { server, host, fqn } = await start(t);
  const [publisher, joiner] = [await PushClient.open(server.url, host.identity), await PushClient.open(server.url)];
  await publisher.publish(fqn, ['offer']);
  const { offerId } = await joiner.take(fqn);
  await joiner.answer({ serviceFqn: fqn, offerId });
  const calls = Array.from({ length: 5 }, (_, call) =>
    joiner.call('addIceCandidates', {
      serviceFqn: fqn,
      offerId,
      candidates: Array.from({ length: 50 }, (_, i) => ({ candidate: `${call}/${i}` })),
    }),
  );
  await Promise.allSettled(calls);
  const { candidates } = await publisher.call('getIceCandidates', { serviceFqn: fqn, offerId, since: 0 });
  assert.equal(candidates.length, 100);
  await Promise.all([publisher.close(), joiner.close()]);
});

/** Sends a raw upgrade request. The server must run as a separate process, because the request may crash it. */
function rawUpgrade(url: string, path: string): Socket {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  return socket;
}
const lives = async (url: string): Promise<boolean> =>
  fetch(`${url}/health`).then(
    (response) => response.ok,
    () => false,
  );

test('no upgrade request crashes the server, even if its path is malformed or its client hangs up early', async (t) => {
  const server = await spawnServer(t, ['--port', '0', '--host', '127.0.0.1', '--storage', ':memory:']);
  for (const path of ['//', '/ws?%zz', '/%', 'http://[', '*', '/nope']) {
    const socket = rawUpgrade(server.url, path);
    await Promise.race([new Promise((resolve) => socket.once('data', resolve)), closed(socket), server.ended]);
    socket.destroy();
    assert.ok(await lives(server.url), `${path}: ${server.output()}`);
  }
  for (let i = 0; i < 20; i++) {
    const socket = rawUpgrade(server.url, '/nope');
    await once(socket, 'connect');
    setImmediate(() => socket.resetAndDestroy());
    await once(socket, 'close');
    assert.ok(await lives(server.url), server.output());
  }
});

test('a client that stays connected after a refused upgrade does not delay the shutdown', async (t) => {
  const server = await spawnServer(t, ['--port', '0', '--host', '127.0.0.1', '--storage', ':memory:']);
  const socket = rawUpgrade(server.url, '/nope');
  t.after(() => socket.destroy());
  await once(socket, 'data');
  server.process.kill('SIGTERM');
  let code: number | null | undefined;
  void server.ended.then(([exit]) => (code = exit));
  await until(() => code !== undefined, 'the end of the server');
  assert.equal(code, 0);
});

test('a user cannot end an instance of a different user or withdraw its offers', async (t) => {
  const { server, host, fqn, old } = await start(t);
  const instance = newInstance();
  const { offers } = await new Client(server.url, host.identity, 'v2', instance).publish(fqn, ['offer']);
  const offerIds = [offers[0]!.offerId];
  await refused(new Client(server.url, someone()).call('withdrawOffers', { serviceFqn: fqn, offerIds }), 'forbidden');
  const push = await PushClient.open(server.url, someone(), instance);
  await push.close();
  assert.equal((await old().take(fqn)).sdp, 'offer');
});
