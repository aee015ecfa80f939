/**
 * Tests signed messages in the v2 form (protocol.md, "Signed messages"): digest, audience, nonce, clock, the old form
 * alongside v2, and anonymous names, which are derived from the key. Most tests use complete servers; tests that span days use
 * Authenticator directly.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { Authenticator } from '../../server/src/auth.js';
import { RpcError } from '../../server/src/rpc-error.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import type { RpcRequest } from '../../src/protocol/index.js';
import {
  Client,
  anonymous,
  anonymousNameFor,
  post,
  refused,
  resultOf,
  signOld,
  signV2,
  someone,
  startServer,
} from './helpers.js';

const FQN = 'chat:1.0.0';
const AUD = 'http://127.0.0.1:1';

async function start(t: TestContext, options: Parameters<typeof startServer>[1] = {}) {
  const server = await startServer(t, options);
  const send = async (request: unknown): Promise<unknown> => resultOf((await post(server.url, request)).body);
  const client = new Client(server.url);
  return { server, client, send, fqn: `${FQN}@${client.username}` };
}

test('a valid v2 message claims the name', async (t) => {
  const { client, fqn, server } = await start(t);
  await client.publish(fqn, ['offer'], { metadata: { b: 1, a: ['ü', 1e21, -0] } });
  const user = await new Client(server.url).call('getUser', { username: client.username });
  assert.equal(user.publicKey, client.identity.publicKey);
});

test('empty params are signed as {}, whether they are sent as {} or omitted', async (t) => {
  const { client, send, server } = await start(t);
  await send(signV2(client.identity, 'poll', undefined, server.url));
  await send({ ...signV2(client.identity, 'poll', {}, server.url), params: undefined });
  await send({ ...signV2(client.identity, 'poll', undefined, server.url), params: {} });
});

test('the digest covers unknown fields and explicit defaults, but not the order of the params', async (t) => {
  const { client, send, server, fqn } = await start(t);
  const params = { serviceFqn: fqn, offers: [{ sdp: 'x' }], unknown: { to: 'us' } };
  const request = signV2(client.identity, 'publishService', params, server.url);
  const { serviceFqn, offers, unknown } = params;
  await send({ ...request, params: { unknown, offers, serviceFqn } });
  for (const changed of [
    { serviceFqn, offers: [{ sdp: 'y' }], unknown },
    { serviceFqn, offers },
    { ...params, ttl: 300_000 },
    { ...params, hidden: false },
  ]) {
    const again = signV2(client.identity, 'publishService', params, server.url);
    await refused(send({ ...again, params: changed }), 'bad-signature');
  }
});

test('a v2 message is valid for one method only', async (t) => {
  const { client, send, server, fqn } = await start(t);
  await client.publish(fqn, ['offer']);
  const request = signV2(client.identity, 'getService', { serviceFqn: fqn }, server.url);
  await refused(send({ ...request, method: 'deleteService' }), 'bad-signature');
  // the digest also covers the method, so a message with a changed method is refused even if it is signed again
  const forged = signV2(client.identity, 'getService', { serviceFqn: fqn }, server.url);
  const message = forged.message.replace('getService', 'deleteService');
  await refused(
    send({ ...forged, method: 'deleteService', message, signature: client.identity.signText(message) }),
    'bad-signature',
  );
});

test('refuses a v2 message signed for a different port, host, scheme or path', async (t) => {
  const { client, server } = await start(t, { publicUrls: ['https://signal.example/api'] });
  const call = (aud: string) => client.call('poll', {}, { aud });
  await call('https://signal.example/api');
  for (const aud of [
    'http://signal.example/api',
    'https://signal.example',
    'https://signal.example/api/',
    'https://signal.example:8443/api',
    'https://evil.example/api',
    server.url,
  ]) {
    await refused(call(aud), 'bad-signature');
  }
});

test('each address in PUBLIC_URL is accepted as the audience', async (t) => {
  const { client } = await start(t, { publicUrls: ['https://a.example', 'https://b.example/path'] });
  await client.call('poll', {}, { aud: 'https://a.example' });
  await client.call('poll', {}, { aud: 'https://b.example/path' });
  await refused(client.call('poll', {}, { aud: 'https://b.example' }), 'bad-signature');
});

test('the audience defaults to the Host header of the request', async (t) => {
  const { client, server } = await start(t);
  await client.call('poll', {}, { aud: `http://127.0.0.1:${server.port}` });
  await client.call('poll', {}, { aud: `https://127.0.0.1:${server.port}` });
  await refused(client.call('poll', {}, { aud: 'http://other.example' }), 'bad-signature');
});

test('the error for a wrong audience names the expected addresses and PUBLIC_URL', async (t) => {
  const message = (url: string) =>
    `Invalid signature: it does not match these params at ${url}. If clients use another address, set PUBLIC_URL to it`;
  const outside = { aud: 'https://signal.example/api' };
  const { client: unset, server } = await start(t);
  const { host } = new URL(server.url);
  await assert.rejects(unset.call('poll', {}, outside), { message: message(`http://${host} or https://${host}`) });
  const { client: wrong } = await start(t, { publicUrls: ['https://a.example', 'https://b.example/path'] });
  await assert.rejects(wrong.call('poll', {}, outside), { message: message('https://a.example or https://b.example/path') });
});

test('a nonce is accepted only once per key', async (t) => {
  const { client, send, server } = await start(t);
  const request = client.signed('poll', {});
  await send(request);
  await refused(send(request), 'replayed');
  const nonce = randomBytes(16).toString('base64url');
  await client.call('poll', {}, { nonce });
  await refused(client.call('poll', {}, { nonce, timestamp: Date.now() + 1 }), 'replayed');
  await new Client(server.url).call('poll', {}, { nonce });
});

test('a message with an invalid signature does not use up its nonce', async (t) => {
  const { client, send } = await start(t);
  const request = client.signed('poll', {});
  await refused(send({ ...request, signature: someone().signText(request.message) }), 'bad-signature');
  await send(request);
});

test('a client whose clock is off by more than 60 s gets clock-skew with the time of the server', async (t) => {
  const { client } = await start(t);
  for (const off of [-62_000, 62_000]) {
    const before = Date.now();
    const error = await refused(client.call('poll', {}, { timestamp: Date.now() + off }), 'clock-skew');
    const told = error.details['serverTime'] as number;
    assert.ok(told >= before && told <= Date.now());
    await client.call('poll', {}, { timestamp: told });
  }
  for (const off of [-55_000, 55_000]) await client.call('poll', {}, { timestamp: Date.now() + off });
});

test('malformed ~v2 messages are refused', async (t) => {
  const { client } = await start(t);
  const now = Date.now();
  for (const tail of [
    `~v2:${now}`,
    `~v2:x:y:${now}`,
    `~v2:${'n'.repeat(22)}:${'d'.repeat(42)}:${now}`,
    `~v2:${'n'.repeat(22)}:${'d'.repeat(43)}:x:${now}`,
  ]) {
    await refused(client.call('poll', {}, { message: `poll:${client.username}:${tail}` }), 'bad-request');
  }
});

test('LEGACY_AUTH determines whether a key may use the old form before and after its first v2 message', async (t) => {
  for (const [legacyAuth, before, after] of [
    ['allow', true, true],
    ['sticky', true, false],
    ['off', false, false],
  ] as const) {
    const { server, client } = await start(t, { legacyAuth });
    const old = new Client(server.url, client.identity, 'old');
    const expect = (allowed: boolean) => (allowed ? old.call('poll', {}) : refused(old.call('poll', {}), 'bad-signature'));
    await expect(before);
    await client.call('poll', {});
    await expect(after);
  }
});

const DAY = 86_400_000;
test('LEGACY_AUTH=sticky refuses the old form for 7 days after the last v2 message, across restarts', async (t) => {
  const store = new SqliteStore(':memory:');
  t.after(() => store.close());
  const who = someone();
  const fresh = () => new Authenticator(store, { publicUrls: [AUD], legacyAuth: 'sticky' });
  const T = 1_700_000_000_000;
  const v2 = (now: number) => fresh().authenticate(signV2(who, 'poll', {}, AUD, { timestamp: now }), '', '', now);
  const old = (now: number) => fresh().authenticate(signOld(who, 'poll', {}, { timestamp: now }), '', '', now);
  const isRefused = (call: Promise<unknown>) => assert.rejects(call, (error: RpcError) => error.code === 'bad-signature');
  await old(T);
  await v2(T + 1000);
  await isRefused(old(T + 2000));
  await isRefused(old(T + 7 * DAY));
  await v2(T + 6 * DAY);
  await isRefused(old(T + 12 * DAY));
  await old(T + 13 * DAY + 3_600_001);
});

test('LEGACY_AUTH=sticky counts from the last v2 message, not from an earlier message in the same hour', async (t) => {
  const store = new SqliteStore(':memory:');
  t.after(() => store.close());
  const who = someone();
  const auth = new Authenticator(store, { publicUrls: [AUD], legacyAuth: 'sticky' });
  const T = 1_700_000_000_000;
  for (const now of [T, T + 3_000_000]) {
    await auth.authenticate(signV2(who, 'poll', {}, AUD, { timestamp: now }), '', '', now);
  }
  const now = T + 3_000_000 + 7 * DAY - 1000;
  await assert.rejects(auth.authenticate(signOld(who, 'poll', {}, { timestamp: now }), '', '', now), RpcError);
});

test('a nonce is remembered for as long as its message could be replayed', async (t) => {
  const store = new SqliteStore(':memory:');
  t.after(() => store.close());
  const auth = new Authenticator(store, { publicUrls: [AUD], legacyAuth: 'allow' });
  const T = 1_700_000_000_000;
  const attempt = (request: RpcRequest, now: number) => auth.authenticate(request, '', '', now);
  // a timestamp may be at most 60 s ahead of the clock, so this message stays valid for two minutes
  const request = signV2(someone(), 'poll', {}, AUD, { timestamp: T + 60_000 });
  await attempt(request, T);
  for (const now of [T + 1, T + 30_000, T + 119_000, T + 120_000]) {
    // this call triggers a clean-up of the nonce cache
    await attempt(signV2(someone(), 'poll', {}, AUD, { timestamp: now }), now);
    await assert.rejects(attempt(request, now), (error: RpcError) => error.code === 'replayed');
  }
  await assert.rejects(attempt(request, T + 120_001), (error: RpcError) => error.code === 'clock-skew');
  const deletion = signOld(someone(), 'deleteService', { serviceFqn: FQN }, { timestamp: T + 300_000 });
  await attempt(deletion, T);
  await attempt(signV2(someone(), 'poll', {}, AUD, { timestamp: T + 500_000 }), T + 500_000);
  await assert.rejects(attempt(deletion, T + 600_000), (error: RpcError) => error.code === 'replayed');
});

test('an anonymous name can be used without a stored claim', async (t) => {
  const { server, client } = await start(t);
  const who = anonymous();
  assert.equal(who.username, anonymousNameFor(who.publicKey));
  const nobody = new Client(server.url, who);
  await nobody.publish(`${FQN}@${who.username}`, ['offer']);
  assert.equal((await client.take(FQN)).publicKey, who.publicKey);
  assert.equal((await client.call('getUser', { username: who.username })).available, true);
});

test('refuses a validly signed call under the anonymous name of a different key', async (t) => {
  const { server } = await start(t);
  const [owner, thief] = [anonymous(), someone()];
  const stolen = new Client(server.url, thief.as(owner.username));
  await refused(stolen.call('poll', {}), 'forbidden');
  await new Client(server.url, owner).call('poll', {});
  await refused(stolen.call('poll', {}), 'forbidden');
});

test('refuses the old form for anonymous names, even with LEGACY_AUTH=allow', async (t) => {
  const { server } = await start(t, { legacyAuth: 'allow' });
  const who = anonymous();
  await refused(new Client(server.url, who, 'old').call('poll', {}), 'bad-signature');
});

test('an anonymous caller must send its public key with each call, because the server does not store it', async (t) => {
  const { server } = await start(t);
  const nobody = new Client(server.url, anonymous());
  await nobody.call('poll', {});
  await refused(nobody.call('poll', {}, { publicKey: undefined }), 'unauthorized');
});

test('a key may use both a claimed name and its anonymous name', async (t) => {
  const { server, client } = await start(t);
  await client.call('poll', {});
  await new Client(server.url, client.identity.as(anonymousNameFor(client.identity.publicKey))).call('poll', {});
});

test('a name becomes free when its claim expires', async (t) => {
  const store = new SqliteStore(':memory:');
  t.after(() => store.close());
  const auth = new Authenticator(store, { publicUrls: [AUD], legacyAuth: 'sticky' });
  const T = 1_700_000_000_000;
  const owner = someone();
  const next = someone().as(owner.username);
  const poll = (who: typeof owner, now: number) =>
    auth.authenticate(signV2(who, 'poll', {}, AUD, { timestamp: now }), '', '', now);
  await poll(owner, T);
  await assert.rejects(poll(next, T + 364 * DAY), (error: RpcError) => error.code === 'name-taken');
  await poll(next, T + 365 * DAY);
  await assert.rejects(poll(owner, T + 365 * DAY + 1), (error: RpcError) => error.code === 'name-taken');
});
