/**
 * Measures how one hostile client affects `/health`, honest handshakes and the server's memory. The first measurement is made
 * without load. The hostile client then makes every call at the limit of its allowance, first from one IP address, then with
 * one key over 50 sockets.
 */
import { Worker } from 'node:worker_threads';
import { attackFromOneAddress, attackWithOneKey, type Hostility } from '../../test/support/hostile.ts';
import { handshake, openClient, openHosts } from './clients.ts';
import { percentile } from './generator.ts';
import { start, type Child } from './processes.ts';

const SOCKETS = 50;
/** Sends 20 requests per second from a separate thread, because the main thread may be busy. */
const PROBE = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { get, Agent } = require('node:http');
  const agent = new Agent({ keepAlive: true });
  setInterval(() => {
    const since = performance.now();
    get(workerData, { agent }, (reply) => reply.resume().on('end', () => parentPort.postMessage(performance.now() - since)))
      .on('error', () => parentPort.postMessage(Infinity));
  }, 50);`;

interface Measured {
  health: number[];
  handshakes: number[];
  failed: number;
  memory: number;
  cpu: number;
  loop: { p95: number; worst: number };
}

async function measure(server: Child, seconds: number): Promise<Measured> {
  const [[host], joiner] = await Promise.all([openHosts(server.url, 1), openClient(server.url, 'joiner')]);
  const health: number[] = [];
  const probe = new Worker(PROBE, { eval: true, workerData: `${server.url}/health` });
  probe.on('message', (time: number) => health.push(time));
  const handshakes: number[] = [];
  let [failed, count] = [0, 0];
  await server.loopDelay(); // resets the measurement
  const [begin, before] = [performance.now(), server.cpu()];
  while (performance.now() - begin < seconds * 1000) {
    const since = performance.now();
    await handshake(host!.host, host!.fqn, joiner, count++).then(
      () => handshakes.push(performance.now() - since),
      () => failed++,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const cpu = (server.cpu() - before) / ((performance.now() - begin) / 1000);
  await probe.terminate();
  const loop = await server.loopDelay();
  const memory = await server.memory();
  await Promise.all([host!.host.close(), joiner.close()]);
  return { health, handshakes, failed, memory, cpu, loop };
}

function show(name: string, { health, handshakes, failed, memory, cpu, loop }: Measured, hostility?: Hostility): void {
  const ms = (values: number[], share: number): string => `${percentile(values, share).toFixed(1)} ms`;
  console.log(
    `${name}: /health p50 ${ms(health, 0.5)}, p95 ${ms(health, 0.95)}, worst ${ms(health, 1)}; ` +
      `${handshakes.length} handshakes (${failed} failed), p95 ${ms(handshakes, 0.95)}; ` +
      `${(memory / 1_048_576).toFixed(0)} MiB in use, ${(cpu * 100).toFixed(0)} % of a core, ` +
      `event loop late by p95 ${loop.p95.toFixed(1)} ms, worst ${loop.worst.toFixed(1)} ms`,
  );
  if (!hostility) return;
  const calls = [...hostility.made].map(([method, count]) => `${method} ${hostility.answered.get(method) ?? 0}/${count}`);
  console.log(`  answered of made: ${calls.join(', ')}`);
}

export async function runHostile(seconds: number): Promise<void> {
  const scenes: [name: string, attack: (url: string) => Hostility | Promise<Hostility>][] = [
    ['every call from one address', attackFromOneAddress],
    [`one key over ${SOCKETS} sockets`, (url) => attackWithOneKey(url, SOCKETS)],
  ];
  for (const [name, attack] of scenes) {
    const args = ['server/dist/main.js', '--port', '0', '--host', '127.0.0.1', '--storage', ':memory:', '--log-level', 'error'];
    const server = await start(args, /on http:\/\/[^:]+:(\d+)/);
    const quiet = await measure(server, Math.max(5, seconds / 4));
    show('quiet', quiet);
    const hostility = await attack(server.url);
    const hostile = await measure(server, seconds);
    hostility.stop();
    show(name, hostile, hostility);
    const rise = percentile(hostile.health, 0.95) - percentile(quiet.health, 0.95);
    console.log(`  /health p95 rises by ${rise.toFixed(1)} ms (allowed: 50)`);
    await server.stop();
  }
}
