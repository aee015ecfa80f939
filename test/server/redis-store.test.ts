/**
 * Runs the conformance suite on RedisStore with a real Redis, and tests behaviour specific to Redis: Redis keys expire by
 * themselves, acknowledged data survives when Redis is killed, and the error for an unusable Redis does not quote the
 * password.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test, type TestContext } from 'node:test';
import { createClient } from '@redis/client';
import { createLog } from '../../server/src/log.js';
import { RedisConnection } from '../../server/src/redis-connection.js';
import { RedisStore } from '../../server/src/redis-store.js';
import type { PublishInput } from '../../server/src/store.js';
import { RedisProcess, redisMissing } from '../support/redis.js';
import { storeConformance } from './store-conformance.js';

describe('the Redis store', { skip: redisMissing() ?? false }, () => {
  // these tests kill Redis, which by default may acknowledge a write before it is on disk
  const redis = new RedisProcess('--appendfsync', 'always');
  before(() => redis.start());
  after(() => redis.close());

  const log = createLog('silent');
  const connect = (prefix = `${randomUUID()}:`): Promise<RedisConnection> => RedisConnection.open(redis.url, prefix, log);

  storeConformance('Redis', async () => new RedisStore(await connect()), 'end-by-themselves');

  async function openStore(t: TestContext, prefix?: string): Promise<{ store: RedisStore; connection: RedisConnection }> {
    const connection = await connect(prefix);
    const store = new RedisStore(connection);
    t.after(() => store.close());
    return { store, connection };
  }

  const ofAlice = (sdps: string[]): PublishInput => ({
    ...{ username: 'alice', publicKey: 'key-a', name: 'chat', version: '1.0.0', serviceFqn: 'chat:1.0.0@alice' },
    ...{ offers: sdps.map((sdp) => ({ sdp })), ttl: 60_000, instance: 'instance-1' },
  });
  const bob = { username: 'bob', publicKey: 'key-b', instance: 'bob-instance' };

  /** Writes every kind of data that a store holds. */
  async function exercise(store: RedisStore): Promise<void> {
    const now = Date.now();
    await store.claim('alice', 'key-a', true, now);
    const { service } = await store.publish(ofAlice(['one', 'two', 'three']), 100, now);
    const offer = (await store.lease(service, bob, now + 8000, now))!;
    await store.addCandidates(offer, { ...bob, role: 'answerer', parkedUntil: now + 10_000 }, [{ candidate: 'c' }], now);
    await store.answer(offer, { ...bob, publicKey: 'key-b', sdp: 'answer' }, now);
    await store.addCandidates(offer, { username: 'alice', publicKey: 'key-a', role: 'offerer' }, [{ candidate: 'd' }], now + 5);
    await store.takeAnswer(offer, 0);
    await store.useOnce('token', now + 1000, now);
  }

  test('every Redis key expires by itself, except sets whose entries are swept', async (t) => {
    const { store, connection } = await openStore(t);
    await exercise(store);
    const keys = (await connection.command('KEYS', `${connection.prefix}*`)) as string[];
    assert.ok(keys.length >= 14, keys.join());
    const endless: string[] = [];
    for (const key of keys)
      if (Number(await connection.command('PTTL', key)) < 0) endless.push(key.slice(connection.prefix.length));
    // these sets do not expire, because the store sweeps their entries
    assert.deepEqual(endless.sort(), ['answered:{}', 'free:{}', 'publishers:{}']);
  });

  test('the number of Redis keys for ended services is bounded', async (t) => {
    const { store, connection } = await openStore(t);
    const now = Date.now();
    for (let i = 0; i < 40; i++) {
      const of = { name: `n${i}`, serviceFqn: `n${i}:1.0.0@alice`, ttl: 1000, metadata: 'm' };
      await store.publish({ ...ofAlice(['a']), ...of }, 100, now + 2000 * i, 10);
    }
    const keys = async (pattern: string) => (await connection.command('KEYS', connection.prefix + pattern)) as string[];
    assert.equal((await keys('*:service:*')).length, 11);
    assert.equal((await keys('id:*')).length, 11);
    for (const key of await keys('*:metadata:*')) assert.ok(Number(await connection.command('PTTL', key)) <= 2000, key);
    assert.equal(await connection.command('HEXISTS', (await keys('*:service:*'))[0]!, 'metadata'), 0);
  });

  test('an index expires a minute after its instance is withdrawn, unless the instance has published since', async (t) => {
    const { store, connection } = await openStore(t);
    const now = Date.now();
    await store.publish({ ...ofAlice(['a']), ttl: 3_600_000 }, 100, now);
    const left = async (): Promise<number> =>
      Number(await connection.command('PTTL', `${connection.prefix}at:{alice key-a/instance-1}`));
    await store.withdrawInstance('alice key-a', 'instance-1', now - 1);
    assert.ok((await left()) > 3_000_000, 'a newer publication extends the lifetime of the index');
    await store.withdrawInstance('alice key-a', 'instance-1', now);
    assert.ok((await left()) <= 60_000);
    await store.publish({ ...ofAlice(['b']), ttl: 3_600_000 }, 100, now + 1);
    assert.ok((await left()) > 3_000_000, 'the next publication extends the lifetime of the index again');
  });

  test('the indexes of an instance do not accumulate expired services and answers', async (t) => {
    const { store, connection } = await openStore(t);
    const now = Date.now();
    for (let i = 0; i < 20; i++) {
      const of = { name: `n${i}`, serviceFqn: `n${i}:1.0.0@alice`, ttl: 1000 };
      const at = now + 100_000 * i;
      const { offers } = await store.publish({ ...ofAlice(['a']), ...of }, 100, at);
      await store.answer(offers[0]!, { ...bob, sdp: 'answer' }, at);
    }
    const count = async (index: string) => Number(await connection.command('ZCARD', connection.prefix + index));
    assert.equal(await count('at:{alice key-a/instance-1}'), 2, 'the last service, and the time of its publication');
    assert.equal(await count('by:{bob key-b/bob-instance}'), 1);
  });

  test('an answered or withdrawn offer does not count as free', async (t) => {
    const { store } = await openStore(t);
    await exercise(store);
    assert.equal(await store.countFreeOffers(Date.now()), 2);
    await store.withdrawInstance('alice key-a', 'instance-1', Date.now());
    assert.equal(await store.countFreeOffers(Date.now()), 0);
  });

  test('an instance that reconnects keeps the offers that it published after it was presumed gone', async (t) => {
    const { store } = await openStore(t);
    const now = Date.now();
    const { service } = await store.publish(ofAlice(['before', 'again']), 100, now);
    await store.publish(ofAlice(['again', 'after']), 100, now + 2);
    assert.equal((await store.withdrawInstance('alice key-a', 'instance-1', now + 1)).length, 1);
    assert.deepEqual((await store.listUnanswered(service, 10, now + 2)).map(({ sdp }) => sdp).sort(), ['after', 'again']);
  });

  test('two stores on one Redis never lease the same offer at the same time', async (t) => {
    const prefix = `${randomUUID()}:`;
    const stores = [(await openStore(t, prefix)).store, (await openStore(t, prefix)).store];
    const now = Date.now();
    const sdps = Array.from({ length: 50 }, (_, index) => `offer ${index}`);
    const { service } = await stores[0]!.publish(ofAlice(sdps), 100, now);
    const leases = await Promise.all(
      Array.from({ length: 80 }, (_, index) =>
        stores[index % 2]!.lease(service, { ...bob, instance: `bob-${index}` }, now + 8000, now),
      ),
    );
    const ids = leases.filter((offer) => offer !== undefined).map(({ offerId }) => offerId);
    assert.equal(ids.length, 50);
    assert.equal(new Set(ids).size, 50);
  });

  test('acknowledged data survives when Redis is killed and restarted', async (t) => {
    const { store } = await openStore(t);
    const now = Date.now();
    const claimed: string[] = [];
    let isOver = false;
    const writing = (async () => {
      for (let i = 0; !isOver; i++) {
        assert.equal(await store.claim(`user-${i}`, `key-${i}`, true, now), 'ok');
        claimed.push(`user-${i}`);
      }
    })();
    for (const length of [20, 40, 60]) {
      while (claimed.length < length) await new Promise(setImmediate);
      await redis.kill();
      await redis.start();
    }
    const before = claimed.length;
    while (claimed.length < before + 10) await new Promise(setImmediate);
    isOver = true;
    await writing;
    for (const username of claimed) assert.ok(await store.getUser(username, now), username);
  });

  test('refuses a Redis that is configured to evict keys', async (t) => {
    const evicting = new RedisProcess('--maxmemory', '64mb', '--maxmemory-policy', 'volatile-lru');
    t.after(() => evicting.close());
    await evicting.start();
    await assert.rejects(RedisConnection.open(evicting.url, 'x:', log), /maxmemory-policy is volatile-lru.*noeviction/);
  });

  test('the error for an unreachable Redis contains its address but not its password', async () => {
    await assert.rejects(RedisConnection.open('redis://user:geheim@127.0.0.1:1', 'x:', log), (error: Error) => {
      assert.match(error.message, /Redis at 127\.0\.0\.1:1 \(REDIS_URL\) cannot be used/);
      assert.doesNotMatch(error.message, /geheim/);
      return true;
    });
  });

  /** Opens a separate Redis connection for the test itself, without RedisConnection. */
  async function admin(t: TestContext, url = redis.url): Promise<(...args: string[]) => Promise<unknown>> {
    const client = createClient({ url });
    await client.connect();
    t.after(() => client.destroy());
    return (...args) => client.sendCommand(args);
  }

  test('reports a wrong password, a missing permission or a closed port immediately, without the password', async (t) => {
    const run = await admin(t);
    await run('ACL', 'SETUSER', 'narrow', 'on', '>geheim', '+@all', '-set', '~*', '&*');
    for (const [user, reason] of [
      ['narrow:falsch', /WRONGPASS/],
      ['narrow:geheim', /NOPERM.*'set'/],
    ] as const) {
      await assert.rejects(RedisConnection.open(redis.url.replace('//', `//${user}@`), 'x:', log), (error: Error) => {
        assert.match(error.message, /^Redis at 127\.0\.0\.1:\d+ \(REDIS_URL\) cannot be used: /);
        assert.match(error.message, reason);
        assert.doesNotMatch(error.message, /geheim|falsch/);
        return true;
      });
    }
    await assert.rejects(RedisConnection.open('redis://127.0.0.1:1', 'x:', log), /ECONNREFUSED/);
  });

  test('ping and startup fail if Redis refuses writes', async (t) => {
    const { store } = await openStore(t);
    await store.ping();
    const run = await admin(t);
    await run('CONFIG', 'SET', 'maxmemory', '1');
    await assert.rejects(store.ping(), /OOM/);
    await run('CONFIG', 'SET', 'maxmemory', '0');
    await store.ping();
    await run('REPLICAOF', '127.0.0.1', '1');
    await assert.rejects(store.ping(), /READONLY/);
    await assert.rejects(connect(), /cannot be used: READONLY/);
    await run('REPLICAOF', 'NO', 'ONE');
    await store.ping();
  });
});
