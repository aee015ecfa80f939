/**
 * Services with real WebRTC in Node: discovery, admission and limits, cleanup on the server after a service stops, and errors
 * from the server or the platform.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { createServer, type RunningServer } from '../../server/src/index.js';
import { RondevuError, type OffererConnection } from '../../src/index.js';
import { Client, someone, startServer, until } from '../server/helpers.js';
import { NodePeerConnection } from '../support/old-host.js';
import { client, hosted, sendRaw } from './pair.js';

const FQN = 'chat:1.0.0@alice';

/** Number of offers that the server lists for a client other than the host. */
const offersOn = async (server: RunningServer, serviceFqn = FQN): Promise<number> => {
  const reply = await new Client(server.url, someone('stranger')).call('getService', { serviceFqn, limit: 100 });
  return (reply as { count: number }).count;
};
const hasCode = (code: string) => (error: unknown) => error instanceof RondevuError && error.code === code;

describe('services', { concurrency: 3 }, () => {
  test('discovery binds the connection to the peer that it found', async (t) => {
    const { server } = await hosted(t, await startServer(t));
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ service: 'chat:1.0.0' });
    await connection.opened;
    assert.equal(connection.serviceFqn, FQN);
    assert.equal(connection.peer?.username, 'alice');
    const byName = await bob.connectToService({ service: 'chat:1.0.0', username: 'alice' });
    await byName.opened;
  });

  test('failover does not send messages for the first host to the second host', async (t) => {
    const { server, host } = await hosted(t, await startServer(t));
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ service: 'chat:1.0.0', failover: true });
    await connection.opened;
    assert.equal(connection.peer?.username, 'alice');
    const sid = connection.sessionId;
    const spare = await client(t, server, 'dora');
    await (await spare.publishService({ service: 'chat:1.0.0', maxOffers: 1 })).start();
    const got: unknown[] = [];
    spare.on('connection:opened', (_id, other) => other.on('message', (data) => got.push(data)));
    const lost: unknown[] = [];
    connection.on('reset', (messages) => lost.push(...messages.map(({ data }) => data)));
    // alice leaves without closing the connection
    host.hint('hide');
    await until(() => !connection.isConnected(), 'the loss');
    const unsent = connection.send('for alice');
    await until(() => connection.isConnected(), 'the other provider');
    assert.deepEqual([connection.peer?.username, connection.serviceFqn], ['dora', 'chat:1.0.0@dora']);
    assert.notEqual(connection.sessionId, sid);
    assert.deepEqual([lost, await unsent.delivered], [['for alice'], 'dropped']);
    assert.equal(await connection.send('for dora').delivered, 'delivered');
    assert.deepEqual(got, ['for dora']);
  });

  test('an offerFactory can combine durable delivery with its own channel', async (t) => {
    const raw: unknown[] = [];
    const { server, opened } = await hosted(t, await startServer(t), {
      offerFactory: async (pc) => {
        const dc = pc.createDataChannel('own');
        dc.onmessage = ({ data }) => void raw.push(data);
        return { dc, offer: await pc.createOffer(), durable: true };
      },
    });
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ serviceFqn: FQN });
    await connection.opened;
    await until(() => opened.length === 1, 'the connection at the host');
    const got: unknown[] = [];
    opened[0]!.on('message', (data) => got.push(data));
    assert.equal(await connection.send('durable').delivered, 'delivered');
    await until(() => connection.getDataChannel()?.readyState === 'open', 'the channel of the factory');
    assert.equal(connection.getDataChannel()!.label, 'own');
    await sendRaw(connection.getDataChannel()!, () => raw.length > 0);
    // durable delivery must also work on the next link
    connection.getPeerConnection()!.close();
    assert.equal(await connection.send('again').delivered, 'delivered');
    assert.deepEqual([got, raw[0]], [['durable', 'again'], 'raw']);
  });

  test('findService supports direct, random and paginated searches, even under its older names', async (t) => {
    const { server, host } = await hosted(t, await startServer(t));
    const bob = await client(t, server, 'bob');
    for (const found of [await bob.findService(FQN), await bob.getService(FQN)]) {
      assert.ok('offerId' in found);
      assert.deepEqual([found.username, found.publicKey], ['alice', host.getPublicKey()]);
    }
    await until(async () => (await bob.discoverServices('chat:1.0.0')).count === 1, 'a free offer'); // two were just leased
    const page = await bob.findService('chat:1.0.0', { mode: 'paginated', limit: 5, offset: 0 });
    assert.deepEqual([page.count, page.limit, page.offset, page.services[0]!.serviceFqn], [1, 5, 0, FQN]);
    assert.equal((await bob.findService('chat:1.0.0', { mode: 'paginated', offset: 1 })).count, 0);
    const dora = await client(t, server, 'dora');
    await (await dora.publishService({ service: 'chat:1.1.0', maxOffers: 2 })).start();
    assert.equal((await bob.discoverService('chat:1.0.0')).username, 'dora');
    await assert.rejects(bob.findService('chat:1.0.0@nobody'), hasCode('not-found'));
  });

  test('an instance does not find its own offers, but a different instance of the same user does', async (t) => {
    const { server, host } = await hosted(t, await startServer(t));
    await assert.rejects(
      host.connectToService({ service: 'chat:1.0.0' }),
      (error) => error instanceof RondevuError && /^(no-offer|not-found|own-offer)$/.test(error.code),
    );
    const twin = await client(t, server, 'alice', { keypair: host.getKeypair() });
    await (
      await twin.connectToService({ serviceFqn: FQN })
    ).opened;
  });

  test('a search waits for a host no longer than `wait`, and can be aborted', async (t) => {
    const server = await startServer(t);
    const bob = await client(t, server, 'bob');
    await assert.rejects(bob.connectToService({ serviceFqn: FQN }), hasCode('not-found'));
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = bob.connectToService({ serviceFqn: FQN, wait: 60_000, signal: controller.signal });
    const waiting = bob.connectToService({ serviceFqn: FQN, wait: 60_000 });
    await until(() => server.waiting === 2, 'both to be queued');
    controller.abort(reason);
    await assert.rejects(aborted, (error) => error === reason);
    const host = await client(t, server, 'alice');
    await (await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 })).start();
    await (
      await waiting
    ).opened;
    await assert.rejects(
      bob.connectToService({ serviceFqn: FQN, signal: AbortSignal.abort(reason) }),
      (error) => error === reason,
    );
  });

  test('the `signal` option ends a search, but has no effect once an offer has been answered', async (t) => {
    const server = await startServer(t);
    const bob = await client(t, server, 'bob');
    const controller = new AbortController();
    const { signal } = controller;
    const listeners = () => getEventListeners(signal, 'abort').length;
    const endless = await bob.connectToService({ serviceFqn: FQN, wait: Infinity, signal });
    const closed = await bob.connectToService({ serviceFqn: FQN, wait: Infinity, signal });
    await assert.rejects(bob.connectToService({ serviceFqn: FQN, signal }), hasCode('not-found'));
    await closed.close();
    await until(() => listeners() === 1, 'only the search that continues to listen');

    await hosted(t, server);
    const second = await bob.connectToService({ serviceFqn: FQN, wait: 10_000, signal });
    await Promise.all([endless.opened, second.opened]);
    assert.equal(listeners(), 0);
    controller.abort();
    assert.deepEqual([endless.getState(), second.getState()], ['connected', 'connected']);

    const other = new AbortController();
    const search = await bob.connectToService({ service: 'absent:1.0.0', wait: Infinity, signal: other.signal });
    other.abort();
    assert.equal(search.getState(), 'closed');
  });

  test('accept decides who may join, and refuses a joiner by throwing or returning false', async (t) => {
    t.mock.method(console, 'error', () => undefined);
    const asked: (string | undefined)[] = [];
    const { server, host, opened } = await hosted(t, await startServer(t), {
      accept: async ({ username }) => {
        asked.push(username);
        if (username === 'eve') throw new Error('mine');
        return username === 'bob';
      },
    });
    for (const name of ['mallory', 'eve']) {
      const stranger = await client(t, server, name);
      await stranger.connectToService({ serviceFqn: FQN });
      await until(() => asked.includes(name), 'accept to be called');
    }
    const bob = await client(t, server, 'bob');
    await (
      await bob.connectToService({ serviceFqn: FQN, wait: 20_000 })
    ).opened;
    await until(() => opened.length === 1, 'bob');
    assert.deepEqual(
      host.getActiveConnections().map(({ peer }) => peer?.username),
      ['bob'],
    );
  });

  test('a service at maxConnections admits the next joiner when a peer leaves', async (t) => {
    const { server, host, pool } = await hosted(t, await startServer(t), { maxConnections: 2, maxOffers: 3 });
    const join = async (name: string, wait = 0) => (await client(t, server, name)).connectToService({ serviceFqn: FQN, wait });
    const [bob, carol] = [await join('bob'), await join('carol')];
    await Promise.all([bob.opened, carol.opened]);
    await until(() => pool.connections.length === 2 && pool.offers.length === 0, 'no offer to be free');
    await assert.rejects(join('dave'), (error) => error instanceof RondevuError && /^(no-offer|not-found)$/.test(error.code));
    const dave = join('erin', 20_000);
    await until(() => server.waiting === 1, 'the third one to wait');
    await bob.close();
    await (
      await dave
    ).opened;
    // the channel does not open at both peers at exactly the same time
    const names = () => host.getActiveConnections().map(({ peer }) => peer?.username);
    await until(() => names().includes('erin'), 'erin at the host');
    assert.deepEqual(names().sort(), ['carol', 'erin']);
  });

  test('three simultaneous joins by one client create three connections', async (t) => {
    const { server, opened } = await hosted(t, await startServer(t), { maxOffers: 3 });
    const bob = await client(t, server, 'bob');
    const joined = await Promise.all([1, 2, 3].map(() => bob.connectToService({ serviceFqn: FQN, wait: 10_000 })));
    await Promise.all(joined.map(({ opened: up }) => up));
    await until(() => opened.length === 3, 'three connections at the host');
    const received = joined.map(
      (connection) => new Promise<string>((resolve) => connection.on('message', (data) => resolve(String(data)))),
    );
    opened.forEach((connection, index) => connection.send(`to ${index}`));
    assert.deepEqual((await Promise.all(received)).sort(), ['to 0', 'to 1', 'to 2']);
  });

  test('stopFilling closes the connections and leaves no offer on the server', async (t) => {
    const { server, host } = await hosted(t, await startServer(t));
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ serviceFqn: FQN });
    await connection.opened;
    await until(async () => (await offersOn(server)) > 0, 'the pool to be listed');
    await host.stopFilling();
    assert.equal(await offersOn(server), 0);
    assert.deepEqual([host.getOfferCount(), host.getServiceStatus()], [0, { active: false, offerCount: 0 }]);
    await until(() => connection.getState() === 'closed', 'the joiner to end');
    await host.startFilling();
    await (
      await bob.connectToService({ serviceFqn: FQN, wait: 5000 })
    ).opened;
  });

  test('close leaves no offers or sessions on the server', async (t) => {
    const { server, host } = await hosted(t, await startServer(t));
    await until(() => server.sessions === 1, 'the push socket');
    await Promise.all([host.close(), host.close()]);
    await host.close();
    assert.equal(await offersOn(server), 0);
    await until(() => server.sessions === 0, 'the socket to close');
  });

  test('update withdraws excess offers and creates missing offers', async (t) => {
    const { server, pool } = await hosted(t, await startServer(t), { maxOffers: 4 });
    assert.equal(pool.offers.length, 4);
    pool.update({ maxOffers: 1 });
    await until(() => pool.offers.length === 1, 'three to go');
    pool.update({ maxOffers: 3 });
    await until(() => pool.offers.length === 3, 'two to come');
    assert.equal(await offersOn(server), 1, 'a page lists one offer a service');
  });

  test('start waits for an unreachable server, and then publishes the service', async (t) => {
    const first = await createServer({ port: 0, host: '127.0.0.1', storagePath: ':memory:' });
    const { url, port } = first;
    await first.close();
    const host = await client(t, { url }, 'alice');
    const failures: RondevuError[] = [];
    host.on('offer:failed', (_id, error) => failures.push(error));
    const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 });
    let started = 0;
    const starting = Promise.all([pool.start(), pool.start()]).then(() => started++);
    await until(() => failures.length > 0, 'the failure');
    assert.deepEqual([failures[0]?.code, failures[0]?.willRetry, pool.offers.length], ['unavailable', true, 0]);
    await new Promise(setImmediate);
    assert.equal(started, 0, 'start does not resolve while nothing is published');
    await startServer(t, { port });
    await starting;
    assert.equal(pool.offers.length, 1);
  });

  test('start rejects if the service is stopped or refused before its first offer is published', async (t) => {
    const first = await createServer({ port: 0, host: '127.0.0.1', storagePath: ':memory:' });
    const { url, port } = first;
    await first.close();
    const starting = async () => {
      const host = await client(t, { url }, 'alice');
      const failed = new Promise<void>((resolve) => host.once('offer:failed', () => resolve()));
      const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 });
      const promise = pool.start();
      await failed;
      return { pool, promise };
    };
    const [stopped, refused] = [await starting(), await starting()];
    const both = Promise.all([
      assert.rejects(stopped.promise, hasCode('closed')),
      assert.rejects(refused.promise, hasCode('name-taken')),
    ]);
    await stopped.pool.stop();
    const server = await startServer(t, { port });
    await new Client(server.url, someone().as('alice')).call('poll', {});
    await both;
    assert.equal(refused.pool.isStarted, false);
  });

  test('a joiner connects even if its answer reaches the host only after six seconds', async (t) => {
    /** WebSocket that delays `answer` events, but no other events. */
    class LateWebSocket extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols);
        const deliver = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage')!.set!;
        Object.defineProperty(this, 'onmessage', {
          set: (handler: ((event: WebSocket.MessageEvent) => void) | null) =>
            deliver.call(this, (event: WebSocket.MessageEvent) => {
              const isAnswer = (JSON.parse(String(event.data)) as { event?: string }).event === 'answer';
              setTimeout(() => handler?.(event), isAnswer ? 6000 : 0);
            }),
        });
      }
    }
    const server = await startServer(t);
    const host = await client(t, server, 'alice', { webSocket: LateWebSocket as unknown as typeof globalThis.WebSocket });
    await (await host.publishService({ service: 'chat:1.0.0', maxOffers: 2 })).start();
    const opened: OffererConnection[] = [];
    host.on('connection:opened', (_id, other) => opened.push(other));
    const bob = await client(t, server, 'bob');
    await until(() => host.api.socket?.isOpen === true, 'push', 30_000);
    const connection = await bob.connectToService({ serviceFqn: FQN });
    await until(() => connection.isConnected(), 'the connection', 60_000);
    assert.equal(await connection.send('hello').delivered, 'delivered');
    await until(() => opened.length > 0);
    assert.equal(opened.length, 1);
  });

  test('offers that cannot be renewed are kept until a renewal succeeds', async (t) => {
    let isAway = false;
    const server = await startServer(t, {
      authorize({ action }) {
        if (isAway && action === 'publish') throw new Error('the store is away');
        return true;
      },
    });
    const host = await client(t, server, 'alice');
    const failures: RondevuError[] = [];
    host.on('offer:failed', (_id, error) => failures.push(error));
    // offers are renewed after 3 s, long before they expire
    const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 2, ttl: 60_000, renewAt: 0.05 });
    await pool.start();
    const before = pool.offers.map(({ offerId }) => offerId);
    isAway = true;
    await until(() => failures.length > 0, 'the renewal to fail', 15_000);
    assert.deepEqual([failures[0]!.code, failures[0]!.willRetry], ['unavailable', true]);
    assert.deepEqual(
      pool.offers.map(({ offerId }) => offerId),
      before,
    );
    const bob = await client(t, server, 'bob');
    await (
      await bob.connectToService({ service: FQN })
    ).opened;
    isAway = false;
    await until(
      () => pool.offers.length === 2 && pool.offers.every(({ offerId }) => !before.includes(offerId)),
      'new ones',
      15_000,
    );
  });

  test('start rejects without a retry if the username is taken', async (t) => {
    const { server } = await hosted(t, await startServer(t));
    const impostor = await client(t, server, 'alice');
    const failures: RondevuError[] = [];
    impostor.on('offer:failed', (_id, error) => failures.push(error));
    const pool = await impostor.publishService({ service: 'chat:1.0.0', maxOffers: 1 });
    await assert.rejects(pool.start(), hasCode('name-taken'));
    assert.deepEqual(
      failures.map(({ code, willRetry }) => [code, willRetry]),
      [['name-taken', false]],
    );
    assert.equal(pool.isStarted, false);
  });

  test('a username lost to a different key after a server reset is reported', async (t) => {
    const { server, host, pool } = await hosted(t, await startServer(t));
    await until(() => host.signalingState === 'push', 'the push socket');
    const failures: RondevuError[] = [];
    const ofPool: string[] = [];
    host.on('offer:failed', (_id, error) => failures.push(error));
    pool.on('failed', ({ code }) => ofPool.push(code));
    await server.close();
    const fresh = await startServer(t, { port: server.port });
    await new Client(fresh.url, someone().as('alice')).call('poll', {});
    pool.update({ maxOffers: 3 });
    await until(() => failures.some(({ code }) => code === 'name-taken'), 'the refusal to be reported', 15_000);
    assert.ok(ofPool.includes('name-taken'));
    await new Promise(setImmediate); // an unhandled rejection would fail the test
  });

  test('the pool fills up after temporary failures to create peer connections', async (t) => {
    const server = await startServer(t);
    let refused = 0;
    const Refusing = new Proxy(NodePeerConnection, {
      construct(target, args: [RTCConfiguration]) {
        if (refused++ < 2) throw new TypeError('too many peer connections');
        return new target(...args);
      },
    });
    const host = await client(t, server, 'alice', { rtcPeerConnection: Refusing });
    const failures: RondevuError[] = [];
    host.on('offer:failed', (_id, error) => failures.push(error));
    const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 3 });
    await pool.start();
    assert.ok(failures.length > 0 && failures.every(({ willRetry }) => willRetry));
    await until(() => pool.offers.length === 3, 'the pool to be full', 15_000);
  });
});

// not part of the suite, whose tests run concurrently and would share the altered clock
test('setting the wall clock back neither stops offer renewal nor delays calls', async (t) => {
  const now = Date.now.bind(Date);
  let shift = 0;
  t.after(() => (Date.now = now));
  Date.now = () => now() + shift;
  const server = await startServer(t);
  const host = await client(t, server, 'alice', { batching: { maxBatchSize: 10, maxWaitTime: 10, throttleInterval: 10 } });
  let created = 0;
  host.on('offer:created', () => created++);
  await (await host.publishService({ service: 'chat:1.0.0', maxOffers: 1, ttl: 3000 })).start();
  shift = -3_600_000;
  await until(() => created > 1, 'the renewal', 15_000);
  await host.api
    .useBatcher({ maxBatchSize: 10 })
    .then((batcher) => batcher.add({ method: 'x', message: '', signature: '' }, true));
  shift = -7_200_000;
  await host.api.useBatcher({}).then((batcher) => batcher.add({ method: 'x', message: '', signature: '' }));
});
