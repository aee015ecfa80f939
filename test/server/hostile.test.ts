/**
 * Runs honest clients alongside a hostile client that makes every kind of call at a rate just under its limit: all
 * honest handshakes must complete, `/health` must always respond, and the data stored for the hostile client must stay within
 * the limits. `npm run bench -- attack hostile` measures the latencies.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/limits.js';
import { attackFromOneAddress, attackWithOneKey, type Hostility } from '../support/hostile.js';
import { PushClient, someone, spawnServer, until } from './helpers.js';

const HANDSHAKES = 10;
/**
 * Number of hostile calls per second, below the rate limit because this process also runs the honest clients; the
 * benchmark uses the full rate.
 */
const CALLS_A_SECOND = 100;

async function handshakesDuring(t: TestContext, attack: (url: string) => Hostility | Promise<Hostility>): Promise<void> {
  const server = await spawnServer(t, ['--port', '0', '--host', '127.0.0.1', '--storage', ':memory:', '--log-level', 'error']);
  const [host, joiner] = [
    await PushClient.open(server.url, someone('host')),
    await PushClient.open(server.url, someone('joiner')),
  ];
  const fqn = `calm:1.0.0@${host.username}`;
  const hostility = await attack(server.url);
  t.after(() => hostility.stop());
  await until(() => [...hostility.made.values()].reduce((sum, count) => sum + count, 0) > 200, 'the attack', 30_000);
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  };
  for (let i = 0; i < HANDSHAKES; i++) {
    const waiting = joiner.take(fqn, { wait: 20_000 });
    await host.publish(fqn, [`offer ${i}`]);
    await joiner.answer(await waiting, `answer ${i}`);
    assert.equal((await host.event('answer', i)).data.sdp, `answer ${i}`);
    assert.equal((await fetch(`${server.url}/health`)).status, 200);
    assert.ok((await metric('rondevu_waiting_joiners')) <= DEFAULT_LIMITS.maxWaitingPerAddress);
  }
  assert.ok((await metric('rondevu_sockets')) <= 2 + DEFAULT_LIMITS.maxSocketsPerKey);
  assert.ok([...hostility.answered.keys()].length >= 10, [...hostility.answered.keys()].join());
  assert.equal(server.process.exitCode, null);
}

test('honest handshakes complete while one hostile address makes every kind of call', { timeout: 120_000 }, (t) =>
  handshakesDuring(t, (url) => attackFromOneAddress(url, CALLS_A_SECOND)),
);

test('honest handshakes complete while one hostile key makes calls over 50 sockets', { timeout: 120_000 }, (t) =>
  handshakesDuring(t, (url) => attackWithOneKey(url, 50, CALLS_A_SECOND)),
);
