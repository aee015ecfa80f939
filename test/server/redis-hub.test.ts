/**
 * Tests cases that occur only with several servers: Redis loses a mailbox, a mailbox grows too large, a publisher reconnects
 * to a different server, or a server starts while instances appear silent.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test, type TestContext } from 'node:test';
import { MAX_KEPT_BYTES } from '../../server/src/hub.js';
import { createLog } from '../../server/src/log.js';
import { principalOf } from '../../server/src/principal.js';
import { RedisConnection } from '../../server/src/redis-connection.js';
import { RedisHub } from '../../server/src/redis-hub.js';
import { Unread } from '../../server/src/unread.js';
import { RedisStore } from '../../server/src/redis-store.js';
import { RedisProcess, redisMissing } from '../support/redis.js';
import { Client, PushClient, PushSocket, newInstance, openSessionFrame, someone, startServer, until } from './helpers.js';

describe('several servers that share a Redis', { skip: redisMissing() ?? false }, () => {
  const redis = new RedisProcess();
  before(() => redis.start());
  after(() => redis.close());

  async function start(t: TestContext) {
    const redisPrefix = `${randomUUID()}:`;
    const servers = [
      await startServer(t, { redisUrl: redis.url, redisPrefix }),
      await startServer(t, { redisUrl: redis.url, redisPrefix }),
    ] as const;
    const connection = await RedisConnection.open(redis.url, redisPrefix, createLog('silent'));
    t.after(() => connection.close());
    return { servers, urls: servers.map(({ url }) => url) as [string, string], connection, redisPrefix };
  }

  test('a session is discarded if its client disconnects while the session is being opened', async (t) => {
    const { servers, urls, connection, redisPrefix } = await start(t);
    const forgotten = t.mock.method(Unread.prototype, 'forget'); // `forget` is called when a socket has closed
    const open = RedisHub.prototype.opened;
    let isOpened = false;
    const opened = t.mock.method(RedisHub.prototype, 'opened', async function (this: RedisHub, ...args: Parameters<typeof open>) {
      await until(() => forgotten.mock.callCount() === 1, 'the end of the socket');
      const position = await open.apply(this, args);
      isOpened = true;
      return position;
    });
    const identity = someone('host');
    const instance = newInstance();
    const { socket } = await new PushSocket(urls[0]).connect();
    socket.send(JSON.stringify({ id: 1, ...openSessionFrame(urls[0], identity, instance) }));
    await until(() => opened.mock.callCount() === 1, 'the hub to be called');
    socket.terminate();
    await until(() => isOpened, 'the hub to have opened the session');
    await until(() => servers[0].sessions === 0, 'the session to be forgotten');
    const at = `${redisPrefix}hub:{${principalOf(identity)}}:at:${instance}`;
    await until(async () => Number(await connection.command('EXISTS', at)) === 0, 'the Redis key to be deleted');
  });

  test('a client gets `resync` after Redis has lost its mailbox, and event numbers keep increasing', async (t) => {
    const { urls, connection, redisPrefix } = await start(t);
    const host = await PushClient.open(urls[0], someone('host'));
    const fqn = `x:1.0.0@${host.username}`;
    await host.publish(fqn, ['one', 'two', 'three']);
    for (let i = 0; i < 2; i++) {
      const joiner = new Client(urls[1]);
      await joiner.answer(await joiner.take(fqn));
    }
    const seen = (await host.event('answer', 1)).seq;
    const base = `${redisPrefix}hub:{${principalOf(host.http.identity)}}:`;
    await connection.command('DEL', `${base}at:${host.instance}`, `${base}mail:${host.instance}`);
    const { seq } = await host.event('resync');
    assert.ok(seq > seen, `resync ${seq} comes after ${seen}`);
    const joiner = new Client(urls[1]);
    await joiner.answer(await joiner.take(fqn));
    assert.ok((await host.event('answer', 2)).seq > seq);
  });

  test('a late notification that a name was released does not end the session of its current holder', async (t) => {
    const { urls, connection } = await start(t);
    const [host, other] = [await PushClient.open(urls[0], someone('host')), await PushClient.open(urls[1], someone('other'))];
    await other.publish(`x:1.0.0@${other.username}`, ['offer']);
    await host.answer(await host.take(`x:1.0.0@${other.username}`));
    await connection.publish('names', host.username);
    // the signal is sent after `names`, so `names` has arrived when the signal arrives
    await other.call('signal', { to: host.username, sid: 'abcdefgh', sdp: 'after it' });
    await host.event('signal');
    await host.call('poll', {});
    assert.equal(host.socket.readyState, host.socket.OPEN, 'the session of the holder is open');
  });

  test('a client that has missed more bytes than a mailbox holds gets `resync`', async (t) => {
    const { urls } = await start(t);
    const [one, two] = [await PushClient.open(urls[0], someone('one')), await PushClient.open(urls[1], someone('two'))];
    await one.publish(`x:1.0.0@${one.username}`, ['offer']);
    await two.answer(await two.take(`x:1.0.0@${one.username}`));
    const { seq } = await one.event('answer');
    const { epoch } = one.session;
    one.socket.pause(); // the client reads nothing, but its socket stays open
    const texts = Array.from({ length: 40 }, (_, index) => `${index} ${'x'.repeat(60_000)}`);
    for (const sdp of texts) await two.call('signal', { to: one.username, sid: 'abcdefgh', sdp });
    one.socket.terminate();
    const back = await PushClient.open(urls[1], one.http.identity, one.instance, { epoch, seq });
    await back.event('resync');
    const numbers = (): number[] => back.eventsOf('signal').map(({ data }) => Number.parseInt(data.sdp!));
    await until(() => numbers().at(-1) === 39, 'the last signal');
    assert.ok(numbers().length < 20, `${numbers().length} came`);
  });

  test('events for several instances count against the byte limit of their user', async (t) => {
    const { urls, connection, redisPrefix } = await start(t);
    const one = await PushClient.open(urls[0], someone('one'));
    await PushClient.open(urls[1], one.http.identity, newInstance());
    const two = await PushClient.open(urls[1], someone('two'));
    await one.publish(`x:1.0.0@${one.username}`, ['offer']);
    await two.answer(await two.take(`x:1.0.0@${one.username}`));
    const sdp = 'x'.repeat(60_000);
    for (let i = 0; i < 40; i++) await two.call('signal', { to: one.username, sid: 'abcdefgh', sdp });
    const pattern = `${redisPrefix}hub:{${principalOf(one.http.identity)}}:event:*`;
    const kept = ((await connection.command('KEYS', pattern)) as string[]).length;
    assert.ok(kept > 0 && kept * sdp.length <= MAX_KEPT_BYTES, `${kept} events are kept`);
  });

  test('the set of publishers of a service drops expired instances and expires with the service', async (t) => {
    const { connection, redisPrefix } = await start(t);
    const store = new RedisStore(connection);
    const hub = new RedisHub(connection, store, createLog('silent'), () => undefined, 3);
    t.after(() => hub.close());
    const publishers = `${redisPrefix}publishers:{service}`;
    for (let i = 0; i < 10; i++) {
      const instance = `instance-${i}`;
      await hub.touch('user key', instance, Date.now());
      await hub.published('user key', instance, 'service', 60_000);
      // simulates an instance that goes silent and expires
      if (i < 9) await connection.command('DEL', `${redisPrefix}hub:{user key}:at:${instance}`);
    }
    assert.ok(Number(await connection.command('SCARD', publishers)) <= 3);
    assert.equal(await connection.command('SISMEMBER', publishers, 'instance-9'), 1);
    assert.ok(Number(await connection.command('PTTL', publishers)) <= 60_000);
  });

  test('the joiner gets `taken` even if the publisher reconnects before it has acknowledged the answer', async (t) => {
    const { urls } = await start(t);
    const host = await PushClient.open(urls[0], someone('host'));
    const joiner = await PushClient.open(urls[0], someone('joiner'));
    const fqn = `x:1.0.0@${host.username}`;
    await host.publish(fqn, ['offer']);
    await joiner.answer(await joiner.take(fqn));
    const { seq } = await host.event('answer'); // not acknowledged
    host.socket.terminate();
    await PushClient.open(urls[1], host.http.identity, host.instance, { epoch: host.session.epoch, seq });
    await joiner.event('taken');
  });

  test('a server that has just started does not expire an instance that may still reconnect', async (t) => {
    const past = String(Date.now() - 1000); // a time before any of the servers started
    const { connection, redisPrefix, urls } = await start(t);
    const host = new Client(urls[0], someone('host'), 'v2', newInstance());
    const fqn = `x:1.0.0@${host.username}`;
    const { offers } = await host.publish(fqn, ['offer']);
    // simulates a period in which all servers were down
    await connection.command('HSET', `${redisPrefix}hub:{${principalOf(host.identity)}}:at:${host.instance}`, 'deadline', past);
    await connection.command('ZADD', `${redisPrefix}alive:{}`, past, `${principalOf(host.identity)}/${host.instance}`);
    await startServer(t, { redisUrl: redis.url, redisPrefix });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1000);
    t.after(() => clearInterval(timer));
    await until(() => ticks >= 3, 'three seconds to pass');
    assert.equal((await new Client(urls[1]).take(fqn)).offerId, offers[0]!.offerId);
  });
});
