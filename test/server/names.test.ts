/**
 * Tests the sessions of a username that passes to a different key, on one server and on two servers that share a Redis.
 * store-conformance.ts tests the stores.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test, type TestContext } from 'node:test';
import { createServer, type RunningServer } from '../../server/src/index.js';
import { createLog } from '../../server/src/log.js';
import { RedisConnection } from '../../server/src/redis-connection.js';
import { openDatabase } from '../../server/src/sqlite-driver.js';
import { RedisProcess, redisMissing } from '../support/redis.js';
import { Client, Identity, PushClient, newInstance, refused, someone, startServer, temporaryFile, until } from './helpers.js';

const sid = 'abcdefgh';
let names = 0;
const freshName = (): string => `passes-on-${++names}`;

/** Expires the claim to a username in the store, as happens after a year without a call. */
type Expire = (username: string) => Promise<unknown>;

/** @param start returns two servers with the same data, or one server twice, and a function that expires a claim */
function suite(start: (t: TestContext) => Promise<[RunningServer, RunningServer, Expire]>): void {
  test('the sessions of a name end when the name is released', async (t) => {
    const [one, two] = await start(t);
    const identity = new Identity(freshName());
    const [here, there] = [await PushClient.open(one.url, identity), await PushClient.open(two.url, identity)];
    const other = await PushClient.open(one.url, someone());
    await new Client(one.url, identity).call('releaseUsername', {});
    assert.deepEqual([await here.closed, await there.closed], [4403, 4403]);
    await other.call('poll', {});
    await until(() => one.sessions + (one === two ? 0 : two.sessions) === 1);
  });

  test('a session of the former key cannot publish or receive once a different key has claimed the name', async (t) => {
    const [one, two] = await start(t);
    const name = freshName();
    const [former, heir] = [new Identity(name), new Identity(name)];
    const fqn = `chat:1.0.0@${name}`;
    const old = await PushClient.open(two.url, former);
    await old.call('poll', {});
    await new Client(one.url, former).call('releaseUsername', {});
    const late = old.publish(fqn, ['late']).then(
      () => 'published',
      () => 'refused',
    );
    const holder = await PushClient.open(one.url, heir);
    await holder.publish(fqn, ['offer']);
    assert.equal(await late, 'refused');
    const joiner = new Client(two.url, someone(), 'v2', newInstance());
    const offer = await joiner.take(fqn);
    assert.deepEqual([offer.sdp, offer.publicKey], ['offer', heir.publicKey]);
    await joiner.answer(offer);
    await holder.event('answer');
    await joiner.call('signal', { to: name, sid, sdp: 'for the heir' });
    assert.equal((await holder.event('signal')).data.sdp, 'for the heir');
    assert.deepEqual(old.events, []);
  });

  test('the sessions of a key end when a different key claims its expired name', async (t) => {
    const [one, two, expire] = await start(t);
    const name = freshName();
    const former = await PushClient.open(two.url, new Identity(name));
    await former.call('poll', {});
    await expire(name);
    const heir = await PushClient.open(one.url, new Identity(name));
    await heir.publish(`chat:1.0.0@${name}`, ['offer']);
    assert.equal(await former.closed, 4403);
    await heir.call('poll', {});
  });

  test('permission to signal does not pass to the next holder of a name, in either direction', async (t) => {
    const [one, two] = await start(t);
    const name = freshName();
    const [former, heir] = [new Identity(name), new Identity(name)];
    const host = await PushClient.open(one.url, former);
    const joiner = await PushClient.open(two.url, someone());
    await host.publish(`chat:1.0.0@${name}`, ['offer']);
    await joiner.answer(await joiner.take(`chat:1.0.0@${name}`));
    await joiner.call('signal', { to: name, sid, sdp: 'hello' });
    await host.event('signal');
    await host.http.call('releaseUsername', {});
    const next = await PushClient.open(one.url, heir, host.instance);
    await refused(joiner.call('signal', { to: name, sid, sdp: 'secret' }), 'forbidden');
    await refused(next.call('signal', { to: joiner.username, sid, sdp: 'from a stranger' }), 'forbidden');
    assert.deepEqual(next.events, []);
  });

  test('the mailbox of an instance does not pass to the next holder of the name', async (t) => {
    const [one, two] = await start(t);
    const name = freshName();
    const [former, heir] = [new Identity(name), new Identity(name)];
    const fqn = `chat:1.0.0@${name}`;
    const host = await PushClient.open(one.url, former);
    const { epoch } = host.session;
    await host.publish(fqn, ['offer']);
    host.socket.terminate();
    const joiner = new Client(two.url);
    await joiner.answer(await joiner.take(fqn), 'for the former holder');
    await new Client(one.url, former).call('releaseUsername', {});
    const next = await PushClient.open(two.url, heir, host.instance, { epoch, seq: 0 });
    await next.event('resync');
    assert.deepEqual(next.eventsOf('answer'), []);
    const { answers } = await new Client(one.url, heir, 'v2', host.instance).call('poll', { since: 0 });
    assert.deepEqual(answers, []);
  });

  test('a directed offer for the former holder of a name does not go to the next holder', async (t) => {
    const [one, two] = await start(t);
    const name = freshName();
    const [former, heir] = [new Identity(name), new Identity(name)];
    await new Client(one.url, former).call('poll', {});
    const host = await PushClient.open(one.url, someone('host'));
    const fqn = `chat:1.0.0@${host.username}`;
    await host.call('publishService', { serviceFqn: fqn, offers: [{ sdp: 'for the former', for: name }] });
    await new Client(one.url, former).call('releaseUsername', {});
    await refused(new Client(two.url, heir, 'v2', newInstance()).take(fqn), 'no-offer');
  });

  test('the end of the former holder’s instance does not end the offers of the next holder', async (t) => {
    const [one, two] = await start(t);
    const name = freshName();
    const [former, heir] = [new Identity(name), new Identity(name)];
    const instance = newInstance();
    const fqn = `chat:1.0.0@${name}`;
    const old = await PushClient.open(one.url, former, instance);
    await old.publish(fqn, ['old']);
    await new Client(one.url, former).call('releaseUsername', {});
    await old.closed;
    const next = await PushClient.open(two.url, heir, instance);
    await next.publish(fqn, ['new']);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1000);
    t.after(() => clearInterval(timer));
    await until(() => ticks >= 4, 'the end of the grace period of the former session');
    assert.equal((await new Client(one.url).take(fqn)).sdp, 'new');
  });

  test('a signal reaches at most 32 sockets of a user, and each socket beyond the first is charged', async (t) => {
    const [one, two] = await start(t);
    const sinks = [await PushClient.open(one.url, someone())];
    const sender = await PushClient.open(two.url, someone());
    const [sink] = sinks as [PushClient];
    await sink.publish(`chat:1.0.0@${sink.username}`, ['offer']);
    await sender.answer(await sender.take(`chat:1.0.0@${sink.username}`));
    while (sinks.length < 40) sinks.push(await PushClient.open(one.url, sink.http.identity));
    const sdp = 'x'.repeat(60_000);
    await sender.call('signal', { to: sink.username, sid, sdp });
    const reached = (): number => sinks.filter((each) => each.eventsOf('signal').length).length;
    await until(() => reached() === 32);
    await refused(
      (async () => {
        for (let i = 0; i < 12; i++) await sender.call('signal', { to: sink.username, sid, sdp });
      })(),
      'rate-limited',
    );
    assert.equal(reached(), 32);
  });

  test('a session under a different name of the same key stays open', async (t) => {
    const [one, two] = await start(t);
    const identity = new Identity(freshName());
    const second = identity.as(freshName());
    await new Client(one.url, identity).call('releaseUsername', {});
    const session = await PushClient.open(two.url, second);
    await session.publish(`chat:1.0.0@${second.username}`, ['offer']);
    await new Client(one.url, new Identity(identity.username)).call('poll', {});
    await session.call('poll', {});
  });
}

describe('name transfer on one server', () => {
  suite(async (t) => {
    const storagePath = temporaryFile(t);
    const server = await startServer(t, { storagePath });
    const expire: Expire = async (username) => {
      const { database } = openDatabase(storagePath);
      database.prepare('UPDATE users SET expires_at = 1 WHERE username = ?').run(username);
      database.close();
    };
    return [server, server, expire];
  });
});

describe('name transfer on two servers that share a Redis', { skip: redisMissing() ?? false }, () => {
  const redis = new RedisProcess();
  before(() => redis.start());
  after(() => redis.close());
  suite(async (t) => {
    const options = { port: 0, host: '127.0.0.1', redisUrl: redis.url, redisPrefix: `${randomUUID()}:` };
    const servers = [await createServer(options), await createServer(options)] as const;
    const connection = await RedisConnection.open(redis.url, options.redisPrefix, createLog('silent'));
    t.after(() => Promise.all([connection.close(), ...servers.map((server) => server.close())]));
    const expire: Expire = (username) => connection.command('HSET', `${options.redisPrefix}user:{${username}}`, 'expiresAt', '1');
    return [...servers, expire];
  });
});
