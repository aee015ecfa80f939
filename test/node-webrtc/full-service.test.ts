/** `maxConnections` and `accept`: the errors that a joiner gets if the service is full or rejects the joiner. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConnectionError, RondevuError, type AnswererConnection } from '../../src/index.js';
import { until } from '../server/helpers.js';
import { client, pair } from './pair.js';

const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof RondevuError ? error.code : String(error)),
  );

describe('a full service', { concurrency: 2 }, () => {
  test('keeps the place of a joiner that has lost its link until the joiner closes its connection', async (t) => {
    const { server, pool, opened, join } = await pair(t, { maxConnections: 1 });
    const { rondevu, connection, other } = await join('bob');
    await until(() => pool.offers.length === 0, 'no offer while bob is there');
    rondevu.hint('hide');
    await until(() => other.isRotating(), 'the host to notice');
    const carol = await client(t, server, 'carol');
    assert.equal(await codeOf(carol.connectToService({ serviceFqn: pool.fqn, wait: 3000 })), 'no-offer');
    assert.equal(pool.offers.length, 0);
    rondevu.hint('show');
    await until(() => connection.isConnected() && other.isConnected(), 'bob to be back', 20_000);
    assert.equal(opened.length, 1);
    await connection.close();
    const joined = await carol.connectToService({ serviceFqn: pool.fqn, wait: 20_000 });
    await joined.opened;
  });

  test('withdraws excess offers when maxConnections is lowered', async (t) => {
    const { pool, join } = await pair(t, { maxOffers: 3 });
    await join('bob');
    await until(() => pool.offers.length === 3, 'the pool to be full again');
    pool.update({ maxConnections: 2 });
    await until(() => pool.offers.length === 1, 'room for one more');
    pool.update({ maxConnections: 1 });
    await until(() => pool.offers.length === 0, 'no room');
  });

  test('reports service-full to a joiner that arrives too late', async (t) => {
    let decide: () => void = () => undefined;
    const decided = new Promise<void>((resolve) => (decide = resolve));
    let asked = 0;
    const accept = async () => (asked++, await decided, true);
    const { server, pool, opened } = await pair(t, { maxOffers: 2, accept });
    const connections = await Promise.all(
      ['bob', 'carol'].map(async (name) => (await client(t, server, name)).connectToService({ serviceFqn: pool.fqn })),
    );
    await until(() => asked === 2, 'both to ask');
    pool.update({ maxConnections: 1 });
    decide();
    const codes = await Promise.all(connections.map((connection) => codeOf(connection.opened)));
    assert.deepEqual(codes.sort(), ['no error', 'service-full']);
    await until(() => opened.length === 1, 'the admitted joiner');
  });

  test('a joiner refused by accept fails with forbidden and does not retry', async (t) => {
    let asked = 0;
    const { server, pool } = await pair(t, { accept: () => (asked++, false) });
    const bob = await client(t, server, 'bob');
    const connection = await bob.connectToService({ serviceFqn: pool.fqn });
    assert.equal(await codeOf(connection.opened), 'forbidden');
    assert.equal(connection.getState(), 'failed');
    assert.equal(asked, 1);
  });

  test('a refuse signal does not end an established session', async (t) => {
    const { join } = await pair(t, {});
    const { rondevu, connection } = await join('bob');
    const errors: (ConnectionError | RondevuError)[] = [];
    connection.on('failed', (error) => errors.push(error));
    connection.receiveSignal('refuse forbidden');
    assert.ok(connection.isConnected());
    rondevu.hint('hide');
    await until(() => !connection.isConnected(), 'the loss');
    rondevu.hint('show');
    (connection satisfies AnswererConnection).receiveSignal('refuse forbidden');
    await until(() => connection.isConnected(), 'bob to be back', 20_000);
    assert.ok(errors.every(({ willRetry }) => willRetry));
  });
});
