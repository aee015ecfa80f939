/**
 * Recovery of a service, with real WebRTC in Node: a server that loses its store, connections that wait for their peers in a full
 * service, and applications that close connections and links inside event listeners.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ValidationError, type PublishOptions } from '../../src/index.js';
import { startServer, until } from '../server/helpers.js';
import { client, hosted, pair } from './pair.js';

const FQN = 'chat:1.0.0@alice';

describe('recovery of a service', { concurrency: 3 }, () => {
  test('publishes its offers again after the server has lost them', async (t) => {
    const { server, host, pool } = await hosted(t, await startServer(t));
    await until(() => host.signalingState === 'push', 'the push socket to open');
    await server.close();
    const fresh = await startServer(t, { port: server.port });
    let published = 0;
    pool.on('published', () => published++);
    await until(() => published > 0, 'the offers to be published again', 20_000);
    const bob = await client(t, fresh, 'bob');
    const connection = await bob.connectToService({ serviceFqn: FQN, wait: 10_000 });
    await connection.opened;
  });

  test('a full service lets a peer return after its directed offer has expired', async (t) => {
    const { pool, opened, join } = await pair(t, { maxConnections: 2, ttl: 1500 });
    const { rondevu, connection } = await join('bob');
    const other = opened[0]!;
    rondevu.hint('hide');
    let rotations = 0;
    pool.on('connection:rotated', () => rotations++);
    await until(() => other.isRotating(), 'the host to notice the lost link');
    await until(() => rotations > 0 && pool.offers.length > 0, 'a directed offer');
    await new Promise((resolve) => setTimeout(resolve, 1500)); // the offer expires, and none is published in its place
    await join('carol');
    rondevu.hint('show');
    await until(() => connection.isConnected() && other.isConnected(), 'bob to return', 20_000);
  });

  test('a full service readmits a peer that left while the server was down', async (t) => {
    const { server, host, opened, join } = await pair(t, { maxConnections: 1 });
    const { rondevu, connection } = await join('bob');
    await until(() => host.signalingState === 'push', 'the push socket to open');
    await server.close();
    rondevu.hint('hide');
    await until(() => opened[0]!.isRotating(), 'the host to notice the lost link');
    await until(() => host.signalingState === 'offline', 'the directed offer to be refused');
    await startServer(t, { port: server.port });
    rondevu.hint('show');
    await until(() => connection.isConnected() && opened[0]!.isConnected(), 'bob to return', 60_000);
  });

  test('a full service lets a peer return after `accept` has failed once', async (t) => {
    let fails = false;
    t.mock.method(console, 'error', () => undefined);
    const accept = () => {
      if (!fails) return true;
      fails = false;
      throw new Error('the database is not available');
    };
    const { opened, join } = await pair(t, { maxConnections: 1, accept });
    const { rondevu, connection } = await join('bob');
    fails = true;
    rondevu.hint('hide');
    await until(() => opened[0]!.isRotating(), 'the host to notice the lost link');
    rondevu.hint('show');
    await until(() => !fails, 'the failure');
    await until(() => connection.isConnected() && opened[0]!.isConnected(), 'bob to return', 60_000);
  });

  test('a connection closed by a `disconnected` listener is replaced when its peer returns after a reload', async (t) => {
    const { server, pool, opened, join } = await pair(t);
    const { rondevu, other } = await join('bob');
    // the page was reloaded, and the heartbeat has not noticed it yet
    t.mock.method(other, 'probe', () => Promise.resolve(false));
    other.on('disconnected', () => void other.close());
    const reloaded = await client(t, server, 'bob', { keypair: rondevu.getKeypair() });
    const connection = await reloaded.connectToService({ serviceFqn: FQN, wait: 10_000 });
    await connection.opened;
    await until(() => opened.length === 2, 'a new connection');
    assert.equal(other.getState(), 'closed');
    assert.deepEqual(pool.connections, [opened[1]]);
  });

  test('an answer to an offer whose peer connection was closed does not count towards maxConnections', async (t) => {
    const made: RTCPeerConnection[] = [];
    const offerFactory: NonNullable<PublishOptions['offerFactory']> = async (pc) => {
      made.push(pc);
      const dc = pc.createDataChannel('x');
      return { dc, offer: await pc.createOffer() };
    };
    const { server, host } = await hosted(t, await startServer(t), { maxOffers: 1, maxConnections: 1, offerFactory });
    const failures: string[] = [];
    host.on('offer:failed', (_id, { code }) => failures.push(code));
    for (const pc of made) pc.close();
    const bob = await client(t, server, 'bob');
    const first = await bob.connectToService({ serviceFqn: FQN, wait: 10_000 });
    await until(() => failures.length > 0, 'the failure to be reported');
    assert.equal(failures[0], 'offer-gone');
    await first.close();
    const carol = await client(t, server, 'carol');
    const connection = await carol.connectToService({ serviceFqn: FQN, wait: 10_000 });
    await connection.opened; // there is a place
  });

  test('a joiner reconnects more slowly if the host closes every link as soon as it is up', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    connection.on('connected', () => setTimeout(() => other.getPeerConnection()?.close()));
    const delays: number[] = [];
    // a link that never comes up also causes a delay, but before a later attempt
    connection.on('reconnect:scheduled', ({ attempt, delay }) => attempt === 1 && delays.push(delay));
    other.getPeerConnection()?.close();
    await until(() => delays.some((delay) => delay > 0), 'a delay', 60_000);
    assert.ok(delays.length > 20, `the first links are replaced immediately: ${delays}`);
  });
});

test('two start calls both resolve when offers are published, and stop rejects a pending start call', async (t) => {
  const host = await client(t, await startServer(t), 'alice');
  const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 });
  const counts = Promise.all([pool.start(), pool.start()].map((starting) => starting.then(() => pool.offers.length)));
  assert.deepEqual(await counts, [1, 1]);
  await pool.stop();
  const stopped = pool.start();
  await Promise.all([assert.rejects(stopped, { code: 'closed' }), pool.stop()]);
});

test('a hint does not restart a service that the server has refused', async (t) => {
  const server = await startServer(t, { authorize: (call) => call.action !== 'publish' });
  const host = await client(t, server, 'alice');
  const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 });
  await assert.rejects(pool.start(), { code: 'forbidden' });
  host.hint('show');
  assert.equal(pool.isStarted, false);
});

test('update refuses invalid options, and ignores an option that is undefined', async (t) => {
  const { pool } = await hosted(t, await startServer(t));
  for (const changes of [{ maxOffers: -1 }, { maxOffers: NaN }, { ttl: '1' }, { accept: 'no' }, { hidden: true }, null])
    assert.throws(() => pool.update(changes as never), ValidationError);
  pool.update({ maxOffers: undefined, maxConnections: undefined, accept: undefined } as never);
  assert.equal(pool.offers.length, 2);
});

test('a connection that was closed before it was started does not search', async (t) => {
  const bob = await client(t, await startServer(t), 'bob');
  const connection = await bob.prepareConnection({ serviceFqn: FQN });
  await connection.close();
  connection.start(1000);
  assert.deepEqual([connection.getState(), bob.signalingState], ['closed', 'idle']);
});
