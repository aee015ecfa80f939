/**
 * Tests which ICE servers getIceServers returns, to which callers and how often, and that a real coturn server accepts only
 * the issued credentials.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_TURN, readConfig, type ServerConfig, type TurnConfig } from '../../server/src/index.js';
import { Turn } from '../../server/src/turn.js';
import { coturnMissing, startCoturn } from '../support/coturn.js';
import type { ServicePage } from '../../src/protocol/index.js';
import { anonymous, Client, PushClient, refused, someone, startServer } from './helpers.js';

const NOW = 1_767_225_600_000;
const SECRETS = ['the first secret of all', 'the one before the first'];
const turnOf = (more: Partial<TurnConfig> = {}): TurnConfig => ({
  ...DEFAULT_TURN,
  stunUrls: ['stun:turn.example.org'],
  urls: ['turn:turn.example.org'],
  secrets: SECRETS,
  ...more,
});
const caller = (name: string, address = '192.0.2.1') => ({ username: name, publicKey: `key of ${name}`, address });

test('a server without ICE servers returns an empty list and lacks the `ice` capability', async (t) => {
  const { url } = await startServer(t);
  const { caps } = (await (await fetch(url)).json()) as { caps: string[] };
  assert.ok(!caps.includes('ice'));
  const { iceServers } = await new Client(url, someone()).call('getIceServers', {});
  assert.deepEqual(iceServers, []);
});

test('TURN credentials contain their expiry time and a stable id per key', async (t) => {
  const { url } = await startServer(t, { turn: turnOf({ ttl: 60 }) });
  assert.ok(((await (await fetch(url)).json()) as { caps: string[] }).caps.includes('ice'));
  const bob = new Client(url, someone('bob'));
  const before = Date.now();
  const [one, two] = [await bob.call('getIceServers', {}), await bob.call('getIceServers', {})];
  const other = await new Client(url, someone('carol')).call('getIceServers', {});
  assert.equal(one.ttl, 60);
  assert.ok(one.expiresAt >= before + 59_000 && one.expiresAt <= Date.now() + 60_000);
  assert.deepEqual(one.iceServers[0], { urls: ['stun:turn.example.org'] });
  const [end, id] = one.iceServers[1]!.username!.split(':');
  assert.equal(Number(end) * 1000, one.expiresAt);
  assert.match(id!, /^[\w-]{22}$/);
  assert.equal(two.iceServers[1]!.username!.split(':')[1], id);
  assert.notEqual(other.iceServers[1]!.username!.split(':')[1], id);
  await refused(new Client(url, someone('old'), 'old').call('getIceServers', {}), 'bad-signature');
});

test('TURN_FOR=claimed gives only STUN to callers without a claimed name', async (t) => {
  const { url } = await startServer(t, { turn: turnOf({ for: 'claimed' }) });
  const stranger = await new Client(url, anonymous()).call('getIceServers', {});
  assert.deepEqual(
    stranger.iceServers.map(({ urls }) => urls),
    [['stun:turn.example.org']],
  );
  assert.equal((await new Client(url, someone()).call('getIceServers', {})).iceServers.length, 2);
});

test('limits the number of TURN credentials per key and per address in an hour', () => {
  const turn = new Turn(turnOf({ perKey: 2, perAddress: 5 }));
  const ask = (name: string, at: number, address?: string) => turn.iceServers(caller(name, address), true, at);
  ask('bob', NOW);
  ask('bob', NOW + 1000);
  assert.throws(() => ask('bob', NOW + 2000), { code: 'rate-limited', details: { retryAfter: 3_598_000 } });
  for (const name of ['carol', 'dora', 'eve']) ask(name, NOW + 2000);
  assert.throws(() => ask('frank', NOW + 2000), { code: 'rate-limited', message: /this address: at most 5 an hour/ });
  ask('frank', NOW + 2000, '192.0.2.2');
  assert.throws(() => ask('bob', NOW + 3_599_999), { code: 'rate-limited' });
  ask('bob', NOW + 3_600_000);
});

test(
  'a real coturn server accepts fresh credentials made with either secret, but no forged or expired credentials',
  { skip: coturnMissing() },
  async (t) => {
    const coturn = await startCoturn(t, SECRETS);
    const made = (secrets: string[], now: number) => {
      const [, turn] = new Turn(turnOf({ secrets, ttl: 60 })).iceServers(caller('bob'), true, now).iceServers;
      return { username: turn!.username!, credential: turn!.credential! };
    };
    const fresh = made(SECRETS, Date.now());
    assert.equal(coturn.allocates(fresh), true, 'the first secret');
    assert.equal(coturn.allocates(made(SECRETS.toReversed(), Date.now())), true, 'the second secret');
    assert.equal(coturn.allocates(made(['a secret of somebody else'], Date.now())), false, 'forged');
    assert.equal(coturn.allocates(made(SECRETS, Date.now() - 120_000)), false, 'expired');
    const [end, id] = fresh.username.split(':');
    assert.equal(coturn.allocates({ ...fresh, username: `${Number(end) + 3600}:${id}` }), false, 'with a forged expiry time');
  },
);

test('readConfig reads the TURN settings and rejects invalid ones', () => {
  const read = (env: Record<string, string>): TurnConfig => (readConfig([], env) as ServerConfig).turn;
  const good = { TURN_URLS: 'turn:a.example:3478?transport=udp, turns:a.example:5349', TURN_SECRET: SECRETS.join(',') };
  assert.deepEqual(read({ ...good, STUN_URLS: 'stun:a.example', TURN_TTL: '60', TURN_FOR: 'claimed' }), {
    ...DEFAULT_TURN,
    stunUrls: ['stun:a.example'],
    urls: ['turn:a.example:3478?transport=udp', 'turns:a.example:5349'],
    secrets: SECRETS,
    ttl: 60,
    for: 'claimed',
  });
  assert.deepEqual(read({}), DEFAULT_TURN);
  const bad: [Record<string, string>, RegExp][] = [
    [{ TURN_URLS: 'turn.example.org' }, /TURN_URLS must be addresses such as turn:.+ got "turn.example.org"/],
    [{ STUN_URLS: 'turn:a' }, /STUN_URLS must be .+ got "turn:a"/],
    [{ TURN_URLS: 'turn:a' }, /TURN_SECRET must be set/],
    [{ ...good, TURN_SECRET: 'short' }, /TURN_SECRET must have 16 characters or more, got 5$/],
    [{ ...good, TURN_TTL: '59' }, /TURN_TTL must be .+ got "59"/],
    [{ ...good, TURN_FOR: 'nobody' }, /TURN_FOR must be all or claimed, got "nobody"/],
  ];
  for (const [env, text] of bad) assert.throws(() => read(env), { message: text });
});

test('leased offers and new sessions include ICE servers, which are reused while they are valid', async (t) => {
  const server = await startServer(t, { turn: turnOf({ ttl: 60 }) });
  const host = await PushClient.open(server.url, someone());
  assert.equal(host.session.iceServers?.length, 2);
  const fqn = `x:1.0.0@${host.username}`;
  await host.publish(fqn, ['one', 'two']);
  const joiner = new Client(server.url);
  const [first, second] = [await joiner.take(fqn), await joiner.take(fqn)];
  assert.deepEqual(first.iceServers, second.iceServers);
  assert.ok(first.iceServers && first.iceTtl! > 30 && first.iceTtl! <= 60);
  const listed = (await joiner.call('getService', { serviceFqn: fqn, limit: 1 })) as ServicePage;
  assert.equal(listed.services[0]?.iceServers, undefined);
});

test('only new ICE servers count against the budget, and they are omitted if the budget is exhausted', () => {
  const turn = new Turn(turnOf({ ttl: 60, perKey: 1 }));
  const first = turn.iceServersIfAvailable(caller('bob'), true, NOW)!;
  assert.deepEqual(turn.iceServersIfAvailable(caller('bob'), true, NOW + 29_000)!.iceServers, first.iceServers);
  assert.equal(turn.iceServersIfAvailable(caller('bob'), true, NOW + 29_000)!.ttl, 31);
  assert.equal(turn.iceServersIfAvailable(caller('bob'), true, NOW + 31_000), undefined);
  assert.equal(new Turn(DEFAULT_TURN).iceServersIfAvailable(caller('bob'), true, NOW), undefined);
});
