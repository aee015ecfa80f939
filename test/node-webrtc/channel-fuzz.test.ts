/**
 * Sends arbitrary input over the real data channels of connections, with real WebRTC in Node. Invalid input ends only the
 * connection on which it arrives, with a single error, and every message from an honest joiner arrives exactly once.
 * CHANNEL_FUZZ_RUNS sets the number of inputs, and FUZZ_SEED replays a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { Grammar, sendHostile } from '../delivery/fuzz-grammar.js';
import { until } from '../server/helpers.js';
import { Random, seedOf } from '../support/random.js';
import { client, pair } from './pair.js';

/** Number of inputs in a CI run. */
const USUAL = 300;
const RUNS = Number(process.env['CHANNEL_FUZZ_RUNS'] ?? USUAL);
const SEED = seedOf('FUZZ_SEED', RUNS > USUAL);
/** Maximum number of inputs per connection; most connections end earlier. */
const EACH = 100;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const heap = (): number => (collectGarbage(), process.memoryUsage().heapUsed);

test(`a host survives ${RUNS} hostile inputs over real channels (seed ${SEED})`, { timeout: 3_600_000 }, async (t) => {
  const random = new Random(SEED);
  const grammar = new Grammar(random);
  t.mock.method(console, 'warn', () => undefined);
  const { join, opened, server } = await pair(t, {
    connectionConfig: { reconnectEnabled: false } as never,
  });
  const honest = await join('carol');
  const got: unknown[] = [];
  honest.other.on('message', (data) => got.push(data));
  const mallory = await client(t, server, 'mallory');
  let errors = 0;
  let before = 0;
  for (let done = 0, peer = 0; done < RUNS; peer++) {
    opened.splice(0);
    const connection = await mallory.connectToService({
      serviceFqn: 'chat:1.0.0@alice',
      wait: 10_000,
      connectionConfig: { reconnectEnabled: false },
    });
    await connection.opened;
    await until(() => opened.length > 0, 'the hostile connection');
    const other = opened[0]!;
    let failed = 0;
    other.on('failed', () => failed++).on('message', () => undefined);
    const { link } = connection as unknown as { link: WebRtcLink };
    for (let i = 0; i < EACH && done < RUNS && other.isConnected() && link.isOpen; i++, done++) {
      sendHostile(link, random, grammar, i + 1);
      if (i % 5 === 4) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(await honest.connection.send(`${peer}`).delivered, 'delivered');
    assert.ok(failed <= 1, `${failed} errors of one connection`);
    errors += failed;
    await connection.close();
    if (other.getState() === 'failed') await other.close();
    await until(() => /closed|failed/.test(other.getState()), 'the end of the hostile connection');
    if (peer === 5) before = heap();
  }
  assert.deepEqual(
    got,
    Array.from({ length: got.length }, (_, i) => `${i}`),
  );
  const grown = before ? heap() - before : 0;
  console.log(
    `${RUNS} inputs, ${got.length} connections, ${errors} ended with an error, heap ${(grown / 1e6).toFixed(1)} MB more`,
  );
  assert.ok(errors > 0, 'the inputs must reach the checks');
  assert.ok(grown < 20_000_000, `${grown} bytes more`);
});
