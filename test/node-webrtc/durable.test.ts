/**
 * Tests the durable API of v0.9.0 with real WebRTC in Node. RONDEVU_CHAOS=full sends 2000 messages per channel and direction
 * over 20 rotations.
 */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { runInNewContext } from 'node:vm';
import type { DurableChannel, DurableService, DurableServiceConfig } from '../../src/index.js';
import { startServer, until } from '../server/helpers.js';
import { client } from './pair.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';

/** Creates a client alice that exposes a service, and a client bob. */
async function setUp(t: TestContext, config: Partial<DurableServiceConfig> = {}) {
  const server = await startServer(t);
  const alice = await client(t, server, 'alice');
  const bob = await client(t, server, 'bob');
  const handled: { channel: DurableChannel; id: string }[] = [];
  const service = await alice.exposeService({
    username: 'alice',
    privateKey: alice.getKeypair().privateKey,
    serviceFqn: 'chat@1.0.0',
    isPublic: true,
    poolSize: 2,
    handler: (channel, id) => void handled.push({ channel, id }),
    ...config,
  });
  return { server, alice, bob, service, handled };
}

const told = (service: DurableService): string[] => {
  const log: string[] = [];
  for (const name of ['published', 'connection', 'disconnection', 'ttl-refreshed', 'error', 'closed'] as const)
    service.on(name, (...args: unknown[]) => log.push([name, ...args.map(String)].join(' ')));
  return log;
};

describe('the durable API', { concurrency: 3 }, () => {
  test('passes a new channel to the service handler, and delivers previously queued messages', async (t) => {
    const { bob, service, handled } = await setUp(t);
    const log = told(service);
    const { serviceId, uuid, expiresAt } = await service.start();
    assert.equal(uuid, serviceId);
    assert.ok(expiresAt > Date.now());
    assert.deepEqual(service.getServiceInfo(), { serviceId, uuid, expiresAt, serviceFqn: 'chat:1.0.0@alice' });
    const connection = await bob.connect('alice', 'chat@1.0.0');
    const states: string[] = [];
    connection.on('state', (state, previous) => states.push(`${previous} → ${state}`));
    const channel = connection.createChannel('main');
    channel.send('queued');
    assert.deepEqual([channel.readyState, channel.getQueueSize(), connection.getState()], ['connecting', 1, 'connecting']);
    await connection.connect();
    assert.ok(connection.isConnected());
    await until(() => handled.length === 1, 'the handler');
    const { channel: there, id } = handled[0]!;
    assert.deepEqual([there.label, id, service.getActiveConnections()], ['main', connection.connectionId, [id]]);
    const got: unknown[] = [];
    there.on('message', (data) => got.push(data));
    assert.equal(await channel.send('second').delivered, 'delivered');
    assert.deepEqual(got, ['queued', 'second']);
    assert.equal(connection.getChannel('main'), channel);
    const { username, verified, serviceFqn } = connection.connectionInfo;
    assert.deepEqual([username, verified, serviceFqn], ['alice', true, 'chat:1.0.0@alice']);
    await connection.close();
    await until(() => service.getActiveConnections().length === 0, 'the connection to close at the service');
    assert.throws(() => channel.send('late'), /closed/);
    await service.stop();
    assert.deepEqual(states, ['connecting → connected', 'connected → closed']);
    // publishing an offer in place of a used offer also refreshes the service
    assert.deepEqual(
      log.filter((line) => !line.startsWith('ttl-refreshed')),
      [`published ${serviceId} ${serviceId}`, `connection ${id}`, `disconnection ${id}`, 'closed'],
    );
    assert.equal(service.getServiceInfo(), null);
  });

  test('finds a non-public service only by its id, for the first link and for later links', async (t) => {
    const { bob, alice, service, handled } = await setUp(t, { isPublic: false });
    const { uuid } = await service.start();
    const missing = await bob.connect('alice', 'chat:1.0.0', { connectionTimeout: 300 });
    const failures: boolean[] = [];
    missing.on('failed', (_error, permanent) => failures.push(permanent));
    await assert.rejects(missing.connect(), /not found|no offer|gave up/i);
    assert.deepEqual([missing.getState(), failures], ['failed', [true]]);
    await assert.rejects(bob.findService('chat:1.0.0', { mode: 'random' }), { code: 'not-found' });
    const connection = await bob.connectByUuid(uuid);
    await connection.connect();
    const channel = connection.createChannel('x');
    await channel.send('one').delivered;
    const got: unknown[] = [];
    handled[0]!.channel.on('message', (data) => got.push(data));
    alice.getActiveConnections()[0]!.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    channel.send('two');
    await until(() => got.length === 1, 'the message sent while the link was down');
    assert.deepEqual([got, channel.readyState, connection.getState()], [['two'], 'open', 'connected']);
    assert.equal((await bob.connectByUuid(uuid)).connectionInfo.uuid, uuid);
    assert.equal((await (await bob.connectByUuid(uuid)).connect(), handled.length), 1);
  });

  test('renews a service before it expires', async (t) => {
    const { service } = await setUp(t, { ttl: 2000, ttlRefreshMargin: 0.5 });
    const refreshed: number[] = [];
    service.on('ttl-refreshed', (at) => refreshed.push(at));
    const { expiresAt } = await service.start();
    await until(() => refreshed.length >= 2, 'two refreshes');
    assert.ok(refreshed[0]! > expiresAt && refreshed[1]! > refreshed[0]!);
    assert.equal(service.getServiceInfo()!.expiresAt, refreshed.at(-1));
  });

  test('delivers messages exactly once and in order on 5 channels across rotations', async (t) => {
    const [count, rotations] = FULL ? [2000, 20] : [300, 5];
    const { bob, alice, service, handled } = await setUp(t);
    await service.start();
    const connection = await bob.connect('alice', 'chat@1.0.0', { maxQueueSize: count });
    await connection.connect();
    await until(() => alice.getActiveConnections().length === 1, 'the connection at the host');
    const host = alice.getActiveConnections()[0]!;
    const ours = ['a', 'b', 'c'].map((label) => connection.createChannel(label));
    const theirs = ['d', 'e'].map((label) => host.createChannel(label, { maxQueueSize: count }));
    await until(() => handled.length === 3 && ['d', 'e'].every((label) => connection.getChannel(label)), 'all at both sides');
    const pairs = [
      ...ours.map((here) => [here, handled.find(({ channel }) => channel.label === here.label)!.channel] as const),
      ...theirs.map((there) => [connection.getChannel(there.label)!, there] as const),
    ];
    const flows = pairs.flatMap(([one, other]) => [
      { from: one, to: other },
      { from: other, to: one },
    ]);
    let low = 0;
    const got = flows.map(({ from, to }) => {
      const messages: number[] = [];
      from.bufferedAmountLowThreshold = 2000;
      from.on('bufferedAmountLow', () => low++);
      to.on('message', (data) => messages.push(Number((data as string).split(' ')[0])));
      return messages;
    });
    const links = new Set<unknown>();
    for (let round = 0; round < rotations; round++) {
      for (let index = (round * count) / rotations; index < ((round + 1) * count) / rotations; index++)
        for (const { from } of flows) from.send(`${index} ${'x'.repeat((index * 37) % 500)}`);
      const pc = host.getPeerConnection();
      links.add(pc);
      // in alternate rounds, close the link while all messages are in flight, or after some have arrived
      if (round % 2) await new Promise((resolve) => setTimeout(resolve, 50));
      pc!.close();
      await until(() => host.getPeerConnection() !== pc && host.isConnected() && connection.isConnected(), `link ${round + 2}`);
    }
    await until(() => got.every((messages) => messages.length >= count), 'all messages', 60_000);
    const all = Array.from({ length: count }, (_, index) => index);
    for (const [index, messages] of got.entries()) assert.deepEqual(messages, all, `flow ${index}`);
    assert.equal(links.size, rotations);
    await until(() => low > 0, 'bufferedAmountLow');
  });

  test('reports the number and the content of messages dropped by a full queue', async (t) => {
    const { bob, service, handled } = await setUp(t);
    const connection = await bob.connect('alice', 'chat@1.0.0', { maxQueueSize: 3 });
    const channel = connection.createChannel('small');
    const dropped: unknown[] = [];
    channel.on('queueOverflow', (count, messages) => dropped.push(count, ...messages.map(({ data }) => data)));
    for (let index = 0; index < 5; index++) channel.send(`${index}`);
    assert.deepEqual([dropped, channel.getQueueSize()], [[1, '0', 1, '1'], 3]);
    await service.start();
    await connection.connect();
    await until(() => handled.length === 1, 'the channel at the service');
    assert.equal(connection.createChannel('other', { maxQueueSize: 7 }).config.maxQueueSize, 7);
  });

  test("applies each peer's own queue limits to every channel", async (t) => {
    const { bob, service, handled } = await setUp(t, { maxQueueSize: 7, maxMessageAge: 1234 });
    await service.start();
    const connection = await bob.connect('alice', 'chat@1.0.0', { maxQueueSize: 5 });
    await connection.connect();
    const channel = connection.createChannel('x');
    await until(() => handled.length === 1, 'the channel at the service');
    const { maxQueueSize, maxMessageAge } = handled[0]!.channel.config;
    assert.deepEqual([maxQueueSize, maxMessageAge, channel.config.maxQueueSize], [7, 1234, 5]);
  });

  test('searches for a service on every connect() call, and never before the first call', async (t) => {
    const { bob, service } = await setUp(t);
    // connectionTimeout is also the time limit for setting up a link
    const connection = await bob.connect('alice', 'chat@1.0.0', { connectionTimeout: 3000 });
    bob.hint('online');
    assert.equal(connection.getState(), 'connecting');
    const codes: string[] = [];
    connection.on('failed', ({ code }) => codes.push(code));
    await assert.rejects(connection.connect(), { code: 'not-found' });
    assert.deepEqual(codes, ['not-found']);
    const again = connection.connect();
    await service.start();
    await again;
    assert.ok(connection.isConnected());
  });

  test('can stop a waiting service, and can expose a stopped service again', async (t) => {
    const { alice, service } = await setUp(t);
    const config = { username: 'alice', serviceFqn: 'chat@1.0.0', isPublic: true, handler: () => undefined };
    const { uuid } = await service.start();
    await assert.rejects(alice.exposeService(config), { code: 'already-published' });
    await service.stop();
    assert.equal((await (await alice.exposeService(config)).start()).uuid, uuid);
    const away = await client(t, { url: 'http://127.0.0.1:9' }, 'alice');
    const waiting = await away.exposeService(config);
    const starting = assert.rejects(waiting.start());
    await new Promise((resolve) => waiting.once('error', resolve));
    await waiting.stop();
    await starting;
  });

  test('reports errors thrown by the service handler, and keeps the service running', async (t) => {
    const { bob, service } = await setUp(t, {
      handler: ({ label }) => {
        if (label === 'bad') throw new Error('no such room');
        if (label === 'foreign') throw runInNewContext('new TypeError("of another realm")');
      },
    });
    const errors: string[] = [];
    service.on('error', (error, context) => errors.push(`${context}: ${error.message}`));
    await service.start();
    const connection = await bob.connect('alice', 'chat@1.0.0');
    await connection.connect();
    connection.createChannel('bad');
    assert.equal(await connection.createChannel('good').send('x').delivered, 'delivered');
    await until(() => errors.length === 1, 'the error');
    connection.createChannel('foreign');
    await until(() => errors.length === 2, 'the error of another realm');
    assert.deepEqual(errors, ['handler of bad: no such room', 'handler of foreign: of another realm']);
  });

  test('rejects invalid options without revealing a private key', async (t) => {
    const { alice, bob } = await setUp(t);
    const handler = () => undefined;
    const base = { username: 'alice', serviceFqn: 'other@1.0.0', handler };
    const key = bob.getKeypair().privateKey;
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ username: 'carol' }, /username must be the instance's, alice, got "carol"/],
      [{ privateKey: key }, /privateKey must be the instance's/],
      [{ serviceFqn: 'other' }, /serviceFqn/],
      [{ serviceFqn: 'other:1.0.0@bob' }, /is not a service of alice/],
      [{ ttlRefreshMargin: 2 }, /ttlRefreshMargin must be a share between 0 and 1, got 2/],
      [{ handler: 1 }, /handler/],
      [{ poolsize: 1 }, /poolSize.*got "poolsize"/],
    ];
    for (const [change, message] of wrong) {
      const error = await alice.exposeService({ ...base, ...change } as never).catch((reason: Error) => reason);
      assert.match((error as Error).message, message);
      assert.ok(!(error as Error).message.includes(key));
    }
    await assert.rejects(bob.connect('alice', 'nonsense'), /connect: serviceFqn/);
    await assert.rejects(bob.connectByUuid('nonsense'), /the UUID of a service, got "nonsense"/);
    await assert.rejects(
      bob.connect('alice', 'x@1.0.0', { maxQueueSize: -1 }),
      /maxQueueSize must be a number of 0 or more, got -1/,
    );
    await assert.rejects(bob.connectToService({ serviceId: crypto.randomUUID(), username: 'alice' }), /serviceId alone/);
  });
});
