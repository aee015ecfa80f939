/**
 * Tests exactly-once, in-order delivery under path failures: both ends send numbered messages through a proxy while a seeded
 * sequence of cuts interrupts the path. `RONDEVU_CHAOS=full` makes 100 cuts for every pair, while each end sends 10 000
 * messages. `CHAOS_SEED` replays a failure; `CHAOS_PAIRS=chromium-firefox,…` selects pairs.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { until } from '../support/until.js';
import { CUTS, type Field } from './cuts.js';
import { type End, type Place, usePlaces } from './ends.js';
import { Random, seedOf } from '../support/random.js';
import { UdpProxy } from './udp-proxy.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const SEED = seedOf('CHAOS_SEED', FULL);
const COUNT = Number(process.env['CHAOS_CUTS'] ?? (FULL ? 100 : 10));
const MESSAGES = Number(process.env['CHAOS_MESSAGES'] ?? (FULL ? 10_000 : 600));
const PAIRS = (
  process.env['CHAOS_PAIRS'] ?? 'chromium-chromium,firefox-firefox,chromium-firefox,firefox-chromium,chromium-datachannel'
)
  .split(',')
  .map((pair) => pair.split('-') as [Place, Place]);
/** Maximum message length, in bytes: 1 MiB in full runs, 64 KiB otherwise. */
const MAX_LENGTH = FULL ? 1_048_576 : 65_536;

const { server, places } = usePlaces();

async function progress(end: End) {
  return end.run(({ next, wrong, sent, outcomes, lost, streaming, bytes, connections, connection, events }) => ({
    next,
    wrong,
    sent,
    outcomes,
    lost,
    streaming,
    bytes,
    connections: connections.length,
    state: connection!.getState(),
    events: events.filter(([name]) => /closed|reset/.test(name)),
  }));
}

for (const [hostPlace, joinerPlace] of PAIRS) {
  describe(`a connection between ${hostPlace} and ${joinerPlace}, seed ${SEED}`, () => {
    let field: Field;
    before(async () => {
      const rig = await UdpProxy.start(SEED);
      const name = `host-${hostPlace}-${joinerPlace}`.slice(0, 32);
      const options = { apiUrl: server.url, rigUrl: rig.url, username: name };
      field = { ...(await places.openPair(hostPlace, joinerPlace, options)), rig, server, random: new Random(SEED) };
    });
    after(async () => {
      await field.joiner.close();
      await field.host.close();
      await field.rig.close();
    });

    it(`delivers ${MESSAGES} messages each way exactly once despite ${COUNT} cuts`, { timeout: 3_600_000 }, async () => {
      const { host, joiner, random } = field;
      const kinds = Object.keys(CUTS);
      // each kind occurs equally often, except for a random remainder, and the order is shuffled
      const drawn = random.shuffle(
        Array.from(
          { length: COUNT },
          (_, i) => kinds[i < COUNT - (COUNT % kinds.length) ? i % kinds.length : random.between(0, kinds.length - 1)]!,
        ),
      );
      for (const [end, seed] of [
        [host, SEED],
        [joiner, SEED + 1],
      ] as const) {
        void end.run((state, count, from, max) => void state.stream(count, from, max), MESSAGES, seed, MAX_LENGTH);
      }
      for (const [index, kind] of drawn.entries()) {
        const allowed = Math.ceil((MESSAGES * (index + 1)) / COUNT);
        for (const end of [host, joiner]) await end.run((state, count) => void (state.allowed = count), allowed);
        await CUTS[kind]!(field);
        await until(
          async () =>
            (await Promise.all([host, joiner].map((end) => end.run(({ connection }) => connection!.isConnected())))).every(
              Boolean,
            ),
          `both to be connected again after cut ${index}, ${kind}`,
        );
        await new Promise((resolve) => setTimeout(resolve, random.between(0, 500)));
        const [a, b] = [await progress(host), await progress(joiner)];
        assert.deepEqual([a.wrong, b.wrong], [[], []], `after cut ${index}, ${kind}`);
        if (index % 10 === 9 || FULL) console.log(`  cut ${index + 1} of ${COUNT}: ${kind}; ${a.next} and ${b.next} received`);
      }
      const done = async (): Promise<boolean> => {
        const [a, b] = [await progress(host), await progress(joiner)];
        return !a.streaming && !b.streaming && a.next === MESSAGES && b.next === MESSAGES;
      };
      await until(done, 'all messages to arrive', FULL ? 1_200_000 : 120_000).catch(async (error: Error) => {
        throw new Error(`${error.message}; ${JSON.stringify([await progress(host), await progress(joiner)])}`);
      });
      const delivered = async (end: End): Promise<boolean> =>
        end.run(({ outcomes }, count) => outcomes['delivered'] === count, MESSAGES);
      await until(async () => (await delivered(host)) && (await delivered(joiner)), 'all to be told as delivered');
      for (const end of [await progress(host), await progress(joiner)]) {
        assert.deepEqual(
          [end.wrong, end.next, end.sent, end.outcomes, end.lost, end.connections, end.events],
          [[], MESSAGES, MESSAGES, { delivered: MESSAGES }, 0, 1, []],
        );
      }
    });
  });
}
