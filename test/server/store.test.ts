/**
 * Runs the conformance suite on SqliteStore, in memory and with a file, and tests that the data in a file survives a restart
 * and that a file written by a newer server is refused.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import { temporaryFile } from './helpers.js';
import { storeConformance } from './store-conformance.js';

storeConformance('SQLite in memory', async () => new SqliteStore(':memory:'));
storeConformance('SQLite on a file', async (t) => new SqliteStore(temporaryFile(t)));

test('claims, services and offers persist when a database file is reopened', async (t) => {
  const path = temporaryFile(t);
  const first = new SqliteStore(path);
  await first.claim('alice', 'key-a', true, 1000);
  const input = { username: 'alice', publicKey: 'key-a', name: 'chat', version: '1.0.0', serviceFqn: 'chat:1.0.0@alice' };
  const { service, offers } = await first.publish({ ...input, offers: [{ sdp: 'a' }], ttl: 60_000 }, 10, 1000);
  await first.close();

  const second = new SqliteStore(path);
  assert.equal((await second.getUser('alice', 2000))?.publicKey, 'key-a');
  assert.equal((await second.getService(service.serviceId, 2000))?.serviceFqn, 'chat:1.0.0@alice');
  assert.equal((await second.getOffer(offers[0]!, 2000))?.sdp, 'a');
  await second.close();
});

test('a service id is kept for 30 days after the service has expired', async () => {
  const store = new SqliteStore(':memory:');
  const [MINUTE, DAY] = [60_000, 86_400_000];
  const base = { username: 'alice', publicKey: 'key-a', name: 'chat', version: '1.0.0', serviceFqn: 'chat:1.0.0@alice' };
  const publish = async (now: number): Promise<string> =>
    (await store.publish({ ...base, offers: [{ sdp: `at ${now}` }], ttl: MINUTE }, 10, now)).service.serviceId;
  await store.claim('alice', 'key-a', true, 0);
  const id = await publish(0);
  // each publication extends the lifetime of the id, even if the service already exists
  for (let now = 0; now < 3 * 3_600_000; now += 20 * MINUTE) assert.equal(await publish(now), id);
  const last = 3 * 3_600_000 - 20 * MINUTE + MINUTE;
  await store.sweep(last + 30 * DAY - 1);
  assert.equal(await publish(last + 30 * DAY - 1), id);
  const end = last + 30 * DAY - 1 + MINUTE;
  await store.sweep(end + 30 * DAY + 3_600_001);
  assert.notEqual(await publish(end + 30 * DAY + 3_600_001), id);
  await store.close();
});

test('the number of rows for ended services is bounded, and their metadata is cleared', async (t) => {
  const path = temporaryFile(t);
  const store = new SqliteStore(path);
  const base = { username: 'alice', publicKey: 'key-a', version: '1.0.0', ttl: 1000, metadata: 'm'.repeat(1000) };
  const publish = (name: string, now: number) =>
    store.publish({ ...base, name, serviceFqn: `${name}:1.0.0@alice`, offers: [{ sdp: 'a' }] }, 10, now, 10);
  for (let i = 0; i < 40; i++) await publish(`n${i}`, 2000 * i);
  const Database = createRequire(import.meta.url)('libsql') as new (path: string) => {
    prepare(sql: string): { all(): { metadata: string | null }[] };
    close(): void;
  };
  const rows = (): { metadata: string | null }[] => {
    const db = new Database(path);
    const found = db.prepare('SELECT metadata FROM services').all();
    db.close();
    return found;
  };
  // ten ended services, the newest service, and at most one service that was live when the newest was published
  assert.ok(rows().length <= 12, `${rows().length} rows`);
  assert.ok(
    rows().filter(({ metadata }) => metadata !== null).length <= 2,
    'a new service clears the metadata of those that ended',
  );
  await store.sweep(80_000 + 3_600_000);
  assert.ok(rows().length > 10);
  assert.ok(
    rows().every(({ metadata }) => metadata === null),
    'the sweep clears the rest',
  );
  await store.close();
});

test('the error for a file written by a newer server suggests updating the server', async (t) => {
  const path = temporaryFile(t);
  await new SqliteStore(path).close();
  const Database = createRequire(import.meta.url)('libsql') as new (path: string) => { exec(sql: string): void; close(): void };
  const db = new Database(path);
  db.exec('PRAGMA user_version = 99');
  db.close();
  assert.throws(() => new SqliteStore(path), /schema version 99.*update the server/);
});

test('ping throws after the store has been closed', async () => {
  const store = new SqliteStore(':memory:');
  await store.ping();
  await store.close();
  await assert.rejects(store.ping());
});
