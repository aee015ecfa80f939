/**
 * Measures the planning figures in docs/operations.md on one core, with file storage and with Redis: handshakes, renewals of
 * idle services, and the storage, memory and CPU time that an idle service needs.
 * Usage: `npm run bench -- capacity`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from '../server/dist/sqlite-driver.js';
import type { PushClient } from '../test/server/helpers.ts';
import { RedisProcess, redisMissing } from '../test/support/redis.ts';
import { SDP, handshake, openClient, openHosts } from './load/clients.ts';
import { throughput } from './load/generator.ts';
import { pinGenerator, startOurs, type Child } from './load/processes.ts';

const LANES = 200;
const TIME = 5000;
/** Number of offers of an idle service: the default pool size of the `<rondevu-service>` element. */
const POOL = 5;
const IDLE = 8000;
const WATCHED = 30_000;

const folder = mkdtempSync(join(tmpdir(), 'rondevu-bench-'));
const path = join(folder, 'capacity.db');

/** Memory in bytes and CPU time in s, from the Redis INFO command. */
async function infoOf(redis: RedisProcess): Promise<{ bytes: number; cpu: number }> {
  const socket = connect(redis.port, '127.0.0.1');
  socket.write('INFO\r\n');
  let text = '';
  for await (const data of socket) {
    text += String(data);
    const [bytes, system, user] = ['used_memory', 'used_cpu_sys', 'used_cpu_user'].map((name) => {
      const found = new RegExp(`^${name}:([\\d.]+)\\r`, 'm').exec(text);
      return found ? Number(found[1]) : NaN;
    });
    if (Number.isNaN(bytes! + system! + user!)) continue;
    socket.destroy();
    return { bytes: bytes!, cpu: system! + user! };
  }
  throw new Error('Redis sent no statistics');
}

function bytesOfFile(): number {
  const { database } = openDatabase(path);
  const [pages, free, size] = ['page_count', 'freelist_count', 'page_size'].map((name) =>
    Number(database.prepare(`PRAGMA ${name}`).get()![name]),
  );
  database.close();
  return (pages! - free!) * size!;
}

let count = 0;
const pool = (): string[] => Array.from({ length: POOL }, () => `${SDP}${++count}`);
const idsOf = async (host: PushClient, fqn: string): Promise<string[]> =>
  (await host.publish(fqn, pool())).offers.map(({ offerId }) => offerId);

async function measure(
  name: string,
  server: Child,
  stored: () => number | Promise<number>,
  redisCpu?: () => Promise<number>,
): Promise<void> {
  const idle: PushClient[] = [];
  const openMore = async (most: number): Promise<void> => {
    while (idle.length < most) {
      for (const { host, fqn } of await openHosts(server.url, 50)) {
        await idsOf(host, fqn);
        idle.push(host);
      }
    }
  };
  // the first services use heap memory that is already free after startup
  await openMore(IDLE / 4);
  const [memory, bytes] = [await server.memory(), await stored()];
  await openMore(IDLE * 1.25);
  // wait for the temporary data of calls to expire: an idle service has none
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  const [perService, perMemory] = [((await stored()) - bytes) / IDLE, ((await server.memory()) - memory) / IDLE];
  const before = server.cpu();
  await new Promise((resolve) => setTimeout(resolve, WATCHED));
  const share = (server.cpu() - before) / (WATCHED / 1000) / idle.length;
  for (const { socket } of idle) socket.terminate();
  const hosts = await openHosts(server.url, LANES);
  const joiners = await Promise.all(Array.from({ length: LANES }, () => openClient(server.url, 'joiner')));
  let id = 0;
  const redisBefore = await redisCpu?.();
  const handshakes = await throughput(LANES, 1, TIME, (lane) =>
    handshake(hosts[lane]!.host, hosts[lane]!.fqn, joiners[lane]!, id++),
  );
  if (redisCpu)
    console.log(`Redis: ${((((await redisCpu()) - redisBefore!) * 1e6) / id).toFixed(0)} µs of its core per handshake`);
  const pools = await Promise.all(hosts.map(({ host, fqn }) => idsOf(host, fqn)));
  const renewals = await throughput(LANES, 1, TIME, async (lane) => {
    const { host, fqn } = hosts[lane]!;
    const old = pools[lane]!;
    pools[lane] = await idsOf(host, fqn);
    await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: old });
  });
  for (const { socket } of [...hosts.map(({ host }) => host), ...joiners]) socket.terminate();
  console.log(
    `${name}: ${handshakes.toFixed(0)} handshakes/s; ${renewals.toFixed(0)} renewals/s of ${POOL} offers; an idle service: ` +
      `${(perService / 1024).toFixed(1)} KiB stored, ${(perMemory / 1024).toFixed(1)} KiB in the server, ${(share * 1e6).toFixed(1)} µs of a core per second`,
  );
}

pinGenerator();
const server = await startOurs(path);
await measure('a file', server, bytesOfFile);
await server.stop();
const missing = redisMissing();
if (missing) console.log(missing);
else {
  const redis = new RedisProcess();
  await redis.start();
  const shared = await startOurs(':memory:', { REDIS_URL: redis.url });
  await measure(
    'Redis',
    shared,
    async () => (await infoOf(redis)).bytes,
    async () => (await infoOf(redis)).cpu,
  );
  await shared.stop();
  await redis.close();
}
rmSync(folder, { recursive: true, force: true });
process.exit();
