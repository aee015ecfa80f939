/**
 * Tests servers with a full disk, a wrong clock or a database that another process has locked, and the database file after a
 * clean shutdown.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, renameSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import { ClaimClock } from '../../server/src/claim-clock.js';
import { openDatabase } from '../../server/src/sqlite-driver.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import { Client, Identity, refused, signV2, someone, spawnServer, startServer, temporaryFile, until } from './helpers.js';

const local = (storage: string): string[] => ['--port', '0', '--host', '127.0.0.1', '--storage', storage];
const status = async (url: string, path: string): Promise<number> => (await fetch(url + path)).status;

test('/health and /ready return 503 while the server cannot write', async (t) => {
  const path = temporaryFile(t);
  const server = await spawnServer(t, local(path), { LOG_LEVEL: 'silent' });
  const host = new Client(server.url);
  const publish = (sdp: string): Promise<boolean> =>
    host.publish(`x:1.0.0@${host.username}`, [sdp]).then(
      () => true,
      () => false,
    );
  assert.ok(await publish('first'));
  assert.deepEqual([await status(server.url, '/health'), await status(server.url, '/ready')], [200, 200]);
  // simulates a full disk: the files of the server process cannot grow
  const limit = (size: string): unknown => execFileSync('prlimit', ['--pid', String(server.process.pid), `--fsize=${size}:`]);
  limit(String(Math.max(statSync(path).size, statSync(`${path}-wal`).size)));
  let count = 0;
  await until(async () => !(await publish(`${count++} `.padEnd(20_000, 'x'))), 'a write to fail');
  for (const where of ['/health', '/ready'])
    await until(async () => (await status(server.url, where)) === 503, `503 at ${where}`);
  limit('unlimited');
  for (const where of ['/health', '/ready'])
    await until(async () => (await status(server.url, where)) === 200, `200 at ${where}`);
  assert.ok(await publish('last'));
});

test('/health returns 503 while the database file is missing, because writes would be lost', async (t) => {
  const path = temporaryFile(t);
  const server = await startServer(t, { storagePath: path, logLevel: 'silent' });
  assert.equal(await status(server.url, '/health'), 200);
  renameSync(path, `${path}.away`);
  await until(async () => (await status(server.url, '/health')) === 503, '503');
  renameSync(`${path}.away`, path);
  await until(async () => (await status(server.url, '/health')) === 200, '200');
});

test('a database lock held by another process delays only writes', async (t) => {
  const path = temporaryFile(t);
  const server = await startServer(t, { storagePath: path, logLevel: 'silent' });
  const host = new Client(server.url);
  await host.publish(`x:1.0.0@${host.username}`, ['first']);
  const { database: other } = openDatabase(path);
  t.after(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  let isWritten = false;
  const writing = host.publish(`x:1.0.0@${host.username}`, ['second']).then(() => (isWritten = true));
  for (let i = 0; i < 3; i++) assert.equal(await status(server.url, '/'), 200);
  assert.equal(isWritten, false);
  other.exec('ROLLBACK');
  await writing;
  other.exec('BEGIN IMMEDIATE');
  await refused(host.publish(`x:1.0.0@${host.username}`, ['third']), 'unavailable');
  assert.equal(await status(server.url, '/health'), 503);
  other.exec('ROLLBACK');
  await host.publish(`x:1.0.0@${host.username}`, ['fourth']);
});

test('the server exits with an error that names the database if another process has locked it', async (t) => {
  const path = temporaryFile(t);
  const { database: other } = openDatabase(path);
  t.after(() => other.close());
  other.exec('PRAGMA journal_mode = WAL; CREATE TABLE x (a); PRAGMA locking_mode = EXCLUSIVE; INSERT INTO x VALUES (1)');
  const server = await spawnServer(t, local(path));
  assert.deepEqual(await server.ended, [1, null]);
  assert.match(server.output(), /the database \S+ cannot be used: database is locked.*no other process locks it\.\n$/);
});

test('a clean shutdown leaves all data in the database file itself', async (t) => {
  const path = temporaryFile(t);
  const server = await spawnServer(t, local(path));
  const host = someone('kept');
  await new Client(server.url, host).publish(`x:1.0.0@${host.username}`, ['offer']);
  server.process.kill('SIGTERM');
  assert.deepEqual(await server.ended, [0, null]);
  assert.ok(!existsSync(`${path}-wal`) || statSync(`${path}-wal`).size === 0, 'the write-ahead log is empty');
  const copy = temporaryFile(t);
  copyFileSync(path, copy);
  const again = await startServer(t, { storagePath: copy });
  assert.equal((await new Client(again.url).take(`x:1.0.0@${host.username}`)).sdp, 'offer');
});

const [HOUR, DAY, YEAR] = [3_600_000, 86_400_000, 365 * 86_400_000];

test('a name survives a system clock that is briefly two years ahead', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const server = await startServer(t, { storagePath: temporaryFile(t), logLevel: 'silent' });
  const host = new Client(server.url);
  const { serviceId } = await host.publish(`x:1.0.0@${host.username}`, ['offer'], { ttl: DAY });
  const present = Date.now();
  t.mock.timers.setTime(present + 2 * YEAR);
  const thief = new Client(server.url, new Identity(host.username));
  await refused(thief.call('poll', {}), 'name-taken');
  const sweeps = async (): Promise<string | undefined> =>
    /store_seconds_count{operation="sweep"} (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1];
  await until(async () => (await sweeps()) !== undefined, 'a sweep', 20_000);
  t.mock.timers.setTime(present);
  await refused(thief.call('poll', {}), 'name-taken');
  assert.equal((await new Client(server.url).call('getServiceById', { serviceId })).sdp, 'offer');
});

test('a clock jump is accepted once it has lasted for a day', () => {
  let [uptime, doubts] = [0, 0];
  const start = Date.UTC(2026, 0, 1);
  const clock = new ClaimClock(
    undefined,
    start,
    () => doubts++,
    () => uptime,
  );
  for (const jump of [2 * YEAR, -2 * YEAR, 25 * HOUR]) {
    uptime += HOUR;
    const before = clock.at(start + uptime);
    assert.equal(before, start + uptime);
    assert.equal(clock.at(start + uptime + jump), start + uptime);
    uptime += DAY - 1;
    assert.equal(clock.at(start + uptime + jump), start + uptime);
    assert.equal(clock.at(start + uptime), start + uptime, 'back');
  }
  assert.equal(doubts, 3);
  clock.at(start + uptime + YEAR);
  uptime += DAY;
  assert.equal(clock.at(start + uptime + YEAR), start + uptime + YEAR);
  assert.equal(clock.at(start + uptime + YEAR + 23 * HOUR), start + uptime + YEAR + 23 * HOUR, 'a suspension of under a day');
});

test('the claim clock detects a wrong system clock at startup from the last use of a claim', () => {
  let uptime = 0;
  const lastUse = Date.UTC(2026, 0, 1);
  const started = (now: number): ClaimClock =>
    new ClaimClock(
      lastUse,
      now,
      () => undefined,
      () => uptime,
    );
  assert.equal(started(lastUse + 29 * DAY).at(lastUse + 29 * DAY), lastUse + 29 * DAY);
  assert.equal(started(lastUse + 2 * YEAR).at(lastUse + 2 * YEAR), lastUse);
  assert.equal(started(0).at(0), lastUse);
  const late = started(lastUse + 2 * YEAR);
  late.at(lastUse + 2 * YEAR);
  uptime += DAY;
  assert.equal(late.at(lastUse + 2 * YEAR + DAY), lastUse + 2 * YEAR + DAY, 'the server was down for two years');
});

test('the claim clock returns whole milliseconds while it ignores the system clock', () => {
  let uptime = 0.25;
  const lastUse = Date.UTC(2026, 0, 1);
  for (const [last, start] of [
    [lastUse, lastUse + 40 * DAY],
    [undefined, lastUse],
  ] as const) {
    const clock = new ClaimClock(
      last,
      start,
      () => undefined,
      () => uptime,
    );
    for (let i = 0; i < 10; i++) {
      uptime += 7.3;
      assert.ok(Number.isInteger(clock.at(lastUse + 2 * YEAR)));
    }
  }
});

test('names can be claimed and renewed after the server has been unused for 40 days', async (t) => {
  const path = temporaryFile(t);
  const host = someone();
  const lastUse = Date.now() - 40 * DAY;
  const store = new SqliteStore(path);
  await store.claim(host.username, host.publicKey, true, lastUse);
  // this claim is old enough to be renewed by its next use
  const old = someone();
  await store.claim(old.username, old.publicKey, true, lastUse - 20 * DAY);
  await store.close();
  const { url } = await startServer(t, { storagePath: path, logLevel: 'silent' });
  for (const identity of [someone(), old, host]) {
    const client = new Client(url, identity);
    await client.publish(`x:1.0.0@${client.username}`, ['offer']);
  }
});

test('repeated restarts with a clock two years ahead do not expire a claim', async (t) => {
  const path = temporaryFile(t);
  const [idle, active] = [someone(), someone()];
  const start = Date.UTC(2026, 0, 1);
  for (let i = 0; i < 14; i++) {
    const store = new SqliteStore(path);
    const clock = new ClaimClock(await store.lastUse(), i ? start + 2 * YEAR : start, () => undefined);
    const now = clock.at(i ? start + 2 * YEAR : start);
    if (i === 0) await store.claim(idle.username, idle.publicKey, true, now);
    await store.claim(active.username, active.publicKey, true, now);
    await store.sweep(now);
    assert.ok(await store.getUser(idle.username, now), `after ${i} restarts`);
    await store.close();
  }
});

test('handles an h2c upgrade request with a body as HTTP/1.1, and keeps the connection open', async (t) => {
  const { port, url } = await startServer(t);
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  let received = '';
  socket.on('data', (data) => (received += String(data)));
  const upgrade = `Host: 127.0.0.1:${port}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n`;
  const call = JSON.stringify(signV2(someone(), 'poll', {}, url));
  socket.write(`POST /rpc HTTP/1.1\r\n${upgrade}Content-Length: ${call.length}\r\n\r\n${call.slice(0, 50)}`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.write(call.slice(50));
  await until(() => received.includes('"iceCandidates"'), 'the reply to the call');
  assert.match(received, /^HTTP\/1\.1 200 /);
  received = '';
  socket.write(`GET /health HTTP/1.1\r\n${upgrade}\r\n`);
  await until(() => received.includes('"status":"ok"'), 'the reply to the second request');
  received = '';
  socket.write(`GET /nothing HTTP/1.1\r\n${upgrade.replace('Connection: Upgrade', 'Connection: close, Upgrade')}\r\n`);
  await once(socket, 'close');
  assert.match(received, /^HTTP\/1\.1 404 /);
});
