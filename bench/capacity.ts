/**
 * The figures that docs/operations.md plans with, on one core, with a file and with Redis: handshakes, renewals of idle services,
 * and what such a service costs in the store, in memory and in time. `npm run bench -- capacity`
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSql } from '../server/dist/sqlite-driver.js';
import type { PushClient } from '../test/server/helpers.ts';
import { RedisProcess, redisMissing } from '../test/support/redis.ts';
import { SDP, handshake, openClient, openHosts } from './load/clients.ts';
import { throughput } from './load/generator.ts';
import { pinGenerator, startOurs, type Child } from './load/processes.ts';

const LANES = 200;
const TIME = 5000;
/** Offers of an idle service, the pool of the `<rondevu-host>` element. */
const POOL = 5;
const IDLE = 2000;
const WATCHED = 30_000;

const folder = mkdtempSync(join(tmpdir(), 'rondevu-bench-'));
const path = join(folder, 'capacity.db');

async function infoOf(redis: RedisProcess): Promise<number> {
  const socket = connect(redis.port, '127.0.0.1');
  socket.write('INFO memory\r\n');
  for await (const text of socket) {
    socket.destroy();
    return Number(/used_memory:(\d+)/.exec(String(text))![1]);
  }
  throw new Error('Redis told nothing');
}

function bytesOfFile(): number {
  const { database } = openSql(path);
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

async function measure(name: string, server: Child, stored: () => number | Promise<number>): Promise<void> {
  const hosts = await openHosts(server.url, LANES);
  const joiners = await Promise.all(Array.from({ length: LANES }, () => openClient(server.url, 'joiner')));
  let id = 0;
  const handshakes = await throughput(LANES, 1, TIME, (lane) =>
    handshake(hosts[lane]!.host, hosts[lane]!.fqn, joiners[lane]!, id++),
  );
  const pools = await Promise.all(hosts.map(({ host, fqn }) => idsOf(host, fqn)));
  const renewals = await throughput(LANES, 1, TIME, async (lane) => {
    const { host, fqn } = hosts[lane]!;
    const old = pools[lane]!;
    pools[lane] = await idsOf(host, fqn);
    await host.call('withdrawOffers', { serviceFqn: fqn, offerIds: old });
  });
  for (const { socket } of [...hosts.map(({ host }) => host), ...joiners]) socket.terminate();

  const [memory, bytes] = [await server.memory(), await stored()];
  const idle: PushClient[] = [];
  while (idle.length < IDLE) {
    for (const { host, fqn } of await openHosts(server.url, 50)) {
      await idsOf(host, fqn);
      idle.push(host);
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  const [perService, perMemory] = [((await stored()) - bytes) / IDLE, ((await server.memory()) - memory) / IDLE];
  const before = server.cpu();
  await new Promise((resolve) => setTimeout(resolve, WATCHED));
  const share = (server.cpu() - before) / (WATCHED / 1000) / IDLE;
  for (const { socket } of idle) socket.terminate();
  console.log(
    `${name}: ${handshakes.toFixed(0)} handshakes/s; ${renewals.toFixed(0)} renewals/s of ${POOL} offers; an idle service: ` +
      `${(perService / 1024).toFixed(1)} KiB stored, ${(perMemory / 1024).toFixed(1)} KiB in the server, ${(share * 1e6).toFixed(1)} µs of a core a second`,
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
  await measure('Redis', shared, () => infoOf(redis));
  await shared.stop();
  await redis.close();
}
rmSync(folder, { recursive: true, force: true });
process.exit();
