/**
 * Runs the current engine as host and joiner on a v0.5.4 signaling server (simulated by test/support/old-server.ts), with real
 * WebRTC. The engine works as it does on the current server, and sends nothing that a v0.5.4 server does not support.
 */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { RondevuError, type PublishOptions, type RondevuConnection } from '../../src/index.js';
import { until } from '../server/helpers.js';
import { OldServer } from '../support/old-server.js';
import { client, hosted } from './pair.js';

const FQN = 'chat:1.0.0@alice';
const NEW_METHODS = /^(withdrawOffers|getServiceById|getIceServers|signal|openSession)$/;

const hostedOnOldServer = async (t: TestContext, publish: Partial<PublishOptions> = {}) =>
  hosted(t, await OldServer.start(t), { maxOffers: 3, ...publish });
const messages = (connection: RondevuConnection): string[] => {
  const received: string[] = [];
  connection.on('message', (data) => received.push(String(data)));
  return received;
};
/** Asserts that the server received no method or parameter that v0.5.4 does not support. */
function assertOldCallsOnly({ calls }: OldServer): void {
  for (const { method, params } of calls) {
    assert.doesNotMatch(method, NEW_METHODS);
    assert.ok(!('wait' in params), `${method} with wait`);
    const offers = (params['offers'] ?? []) as object[];
    assert.ok(
      offers.every((offer) => !('for' in offer)),
      `${method} with offers[].for`,
    );
  }
}

describe('with a v0.5.4 server', { concurrency: 2 }, () => {
  test('two joiners connect in turn and exchange messages with the host', async (t) => {
    const { server, host, pool, opened } = await hostedOnOldServer(t);
    assert.equal(pool.offers.length, 3);
    assert.equal(server.free(FQN), 3, 'publishing replaces: each call brings all that is free');
    for (const name of ['bob', 'carol']) {
      const rondevu = await client(t, server, name);
      const connection = await rondevu.connectToService({ serviceFqn: FQN });
      await connection.opened;
      await until(() => opened.some(({ peer }) => peer?.username === name), 'connection:opened');
      const other = opened.find(({ peer }) => peer?.username === name)!;
      const [there, here] = [messages(other), messages(connection)];
      connection.send(`from ${name}`);
      other.send(`to ${name}`);
      await until(() => there.length === 1 && here.length === 1, 'both messages');
      assert.deepEqual([there, here], [[`from ${name}`], [`to ${name}`]]);
    }
    await until(() => server.free(FQN) === 3, 'the pool to be full again');
    assert.equal(opened.length, 2);
    assert.ok(opened.every((connection) => connection.isConnected()));
    assert.equal(host.signalingState, 'polling');
    assertOldCallsOnly(server);
  });

  test('connections recover and deliver queued messages after the peer connection is closed', async (t) => {
    const { server, opened } = await hostedOnOldServer(t);
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ serviceFqn: FQN });
    await connection.opened;
    await until(() => opened.length === 1, 'connection:opened');
    const other = opened[0]!;
    const [there, here] = [messages(other), messages(connection)];
    for (const side of [other, connection]) {
      side.getPeerConnection()!.close();
      await until(() => !connection.isConnected() && !other.isConnected(), 'both to notice');
      connection.send('b');
      other.send('a');
      await until(() => connection.isConnected() && other.isConnected(), 'the link to be back', 20_000);
      const rounds = side === other ? 1 : 2;
      await until(() => there.length === rounds && here.length === rounds, 'the messages');
    }
    assert.deepEqual([there, here, opened.length], [['b', 'b'], ['a', 'a'], 1]);
    assertOldCallsOnly(server);
  });

  test('two simultaneous joiners connect even though they get the same offer', async (t) => {
    const { server, opened } = await hostedOnOldServer(t);
    const connections = await Promise.all(
      ['bob', 'carol'].map(async (name) => (await client(t, server, name)).connectToService({ serviceFqn: FQN })),
    );
    await Promise.all(connections.map(({ opened: up }) => up));
    await until(() => opened.length === 2, 'both at the host');
  });

  test('joiners get only live offers after a renewal', async (t) => {
    // offers with a lifetime of 60 s are renewed after 1.2 s
    const { server, pool, opened } = await hostedOnOldServer(t, { ttl: 60_000, renewAt: 0.02 });
    for (const name of ['bob', 'carol', 'dave', 'erin']) {
      const before = pool.offers.map(({ offerId }) => offerId);
      await until(() => pool.offers.length === 3 && !pool.offers.some(({ offerId }) => before.includes(offerId)), 'the renewal');
      const listed = server.listed(FQN);
      assert.ok(listed.length > 0);
      const live = new Set(pool.offers.map(({ offerId }) => offerId));
      assert.deepEqual(
        listed.filter((offerId) => !live.has(offerId)),
        [],
        'the server lists offers that are gone',
      );
      const connection = await (await client(t, server, name)).connectToService({ serviceFqn: FQN });
      await connection.opened;
      await until(() => opened.some(({ peer }) => peer?.username === name), name);
    }
    assertOldCallsOnly(server);
  });

  test('the server does not hand out offers that the pool has dropped', async (t) => {
    const { server, pool } = await hostedOnOldServer(t, { maxOffers: 4 });
    pool.update({ maxOffers: 1 });
    await until(() => server.free(FQN) === 1, 'one offer to be left');
    assert.deepEqual(
      server.listed(FQN),
      pool.offers.map(({ offerId }) => offerId),
    );
    const connection = await (await client(t, server, 'bob')).connectToService({ serviceFqn: FQN });
    await connection.opened;
  });

  test('the joiner resends its answer if a publication by the host deleted it', async (t) => {
    const { server, pool, opened } = await hostedOnOldServer(t);
    let publication: () => void = () => undefined;
    const published = new Promise<void>((resolve) => (publication = resolve));
    let isHeld = true;
    server.onCall = async ({ method }, carryOut) => {
      if (isHeld && method === 'answerOffer') await published;
      if (isHeld && method === 'publishService') {
        isHeld = false;
        publication();
        // the host has already polled, and its publication now replaces the answered offer
        await until(() => server.answered(FQN) === 1, 'the answer');
      }
      return carryOut();
    };
    const bob = await client(t, server, 'bob');
    const joining = bob.connectToService({ serviceFqn: FQN });
    await until(() => server.calls.some(({ method }) => method === 'answerOffer'), 'the answer to be under way');
    pool.update({ maxOffers: 4 });
    const connection = await joining;
    await until(() => connection.isConnected() && opened.length === 1, 'the link', 20_000);
    assert.equal(server.calls.filter(({ method }) => method === 'getService').length, 1, 'the first offer did');
    assertOldCallsOnly(server);
  });

  test('a joiner requests a new offer if the answered offer yields no link', async (t) => {
    const { server, opened } = await hostedOnOldServer(t);
    const bob = await client(t, server, 'bob');
    let isDropped = false;
    server.onCall = ({ method, params }, carryOut) => {
      const result = carryOut();
      if (method === 'answerOffer' && !isDropped) server.drop(String(params['offerId']));
      isDropped ||= method === 'answerOffer';
      return result;
    };
    const connection = await bob.connectToService({ serviceFqn: FQN });
    await until(() => connection.isConnected() && opened.length === 1, 'the link', 20_000);
    assert.equal(server.calls.filter(({ method }) => method === 'getService').length, 2);
  });

  test('a joiner polls for a service because the server does not support waiting', async (t) => {
    const server = await OldServer.start(t);
    const bob = await client(t, server, 'bob');
    const waiting = bob.connectToService({ serviceFqn: FQN, wait: 30_000 });
    const asked = () => server.calls.filter(({ method }) => method === 'getService').length;
    await until(() => asked() >= 2, 'bob to ask twice');
    const host = await client(t, server, 'alice');
    await (await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 })).start();
    await (
      await waiting
    ).opened;
    assert.ok(asked() < 10, 'polled too often');
    assertOldCallsOnly(server);
  });

  test('error messages for an absent service are mapped to not-found', async (t) => {
    const server = await OldServer.start(t);
    const bob = await client(t, server, 'bob');
    const refused = (error: unknown) => error instanceof RondevuError && error.code === 'not-found';
    await assert.rejects(bob.connectToService({ serviceFqn: FQN }), refused);
    await assert.rejects(bob.connectToService({ service: 'chat:1.0.0' }), refused);
  });

  test('the host stops the service and emits failed if the server refuses later offers', async (t) => {
    const { server, pool } = await hostedOnOldServer(t);
    server.onCall = ({ method }, carryOut) => {
      if (method === 'publishService') throw new Error('Too many offers');
      return carryOut();
    };
    const seen: [event: string, isStarted: boolean, code: string][] = [];
    pool.on('offer:failed', (_id, { code }) => seen.push(['offer:failed', pool.isStarted, code]));
    pool.on('failed', ({ code }) => seen.push(['failed', pool.isStarted, code]));
    pool.update({ maxOffers: 5 });
    await until(() => seen.length === 2, 'the refusal');
    assert.deepEqual(seen, [
      ['offer:failed', false, 'too-large'],
      ['failed', false, 'too-large'],
    ]);
  });

  test('the host deletes the service on stop, because the server cannot withdraw offers', async (t) => {
    const { server, host } = await hostedOnOldServer(t);
    await host.stopFilling();
    assert.equal(server.free(FQN), 0);
    assert.ok(server.calls.some(({ method }) => method === 'deleteService'));
    assertOldCallsOnly(server);
  });

  test('the host tries to open a WebSocket at most once, and keeps polling', async (t) => {
    const { server, host } = await hostedOnOldServer(t);
    await until(() => server.calls.filter(({ method }) => method === 'poll').length >= 3, 'polls', 20_000);
    assert.ok(server.otherPaths.length <= 1, String(server.otherPaths));
    assert.equal(host.signalingState, 'polling');
  });
});
