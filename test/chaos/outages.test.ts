/**
 * Tests network outages on idle connections, with one message sent in each direction during the outage. Measures how soon the
 * outage is detected, which events the ends emit, and how soon messages flow again. `RONDEVU_CHAOS=full` runs 20 outages of
 * each length; the medians are printed.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { median } from '../support/median.js';
import { until } from '../support/until.js';
import { type End, type Place, usePlaces } from './ends.js';
import { UdpProxy } from './udp-proxy.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const ROUNDS = Number(process.env['CHAOS_ROUNDS'] ?? (FULL ? 20 : 1));
const PAIRS = (
  process.env['CHAOS_PAIRS'] ?? (FULL ? 'chromium-chromium,firefox-firefox,chromium-firefox,chromium-node' : 'chromium-firefox')
)
  .split(',')
  .map((pair) => pair.split('-') as [Place, Place]);
const OUTAGES = (process.env['CHAOS_OUTAGES'] ?? (FULL ? '2000,8000,20000' : '2000,8000')).split(',').map(Number);

const { server, places } = usePlaces();

const sendOne = (end: End): Promise<void> =>
  end.run((state) => {
    state.allowed = state.sent + 1;
    void state.stream(1, 1, 100);
  });
const received = (end: End): Promise<number> => end.run(({ next }) => next);
const names = (end: End): Promise<string[]> => end.run(({ events }) => events.splice(0).map(([name]) => name));

for (const [hostPlace, joinerPlace] of PAIRS) {
  describe(`a connection between ${hostPlace} and ${joinerPlace}`, () => {
    let host: End, joiner: End, rig: UdpProxy;
    before(async () => {
      rig = await UdpProxy.start(1);
      const username = `outages-${hostPlace}-${joinerPlace}`;
      ({ host, joiner } = await places.openPair(hostPlace, joinerPlace, { apiUrl: server.url, rigUrl: rig.url, username }));
    });
    after(async () => {
      await joiner.close();
      await host.close();
      await rig.close();
    });

    for (const length of OUTAGES) {
      it(`recovers from ${ROUNDS} outages of ${length} ms`, { timeout: 3_600_000 }, async () => {
        const delays: { host: number[]; joiner: number[] } = { host: [], joiner: [] };
        const detected: number[] = [];
        let [atHost, atJoiner] = [await received(host), await received(joiner)];
        await Promise.all([names(host), names(joiner)]);
        for (let round = 0; round < ROUNDS; round++) {
          const start = Date.now();
          rig.set({ blackhole: ['offerer', 'answerer'] });
          await pause(Math.min(1000, length / 2));
          await Promise.all([sendOne(host), sendOne(joiner)]);
          if (length >= 5000) {
            await until(
              async () =>
                (
                  await Promise.all([host, joiner].map((end) => end.run(({ connection }) => connection!.health !== 'alive')))
                ).every(Boolean),
              'the outage to be noticed at both sides',
            );
            detected.push(Date.now() - start);
          }
          await pause(Math.max(0, length - (Date.now() - start)));
          const end = Date.now();
          rig.set();
          atHost++;
          atJoiner++;
          await until(
            async () => (await received(host)) === atHost && (await received(joiner)) === atJoiner,
            'the messages sent during the outage',
          );
          delays.host.push((await host.run(({ lastAt }) => lastAt)) - end);
          delays.joiner.push((await joiner.run(({ lastAt }) => lastAt)) - end);
          await until(
            async () =>
              (
                await Promise.all(
                  [host, joiner].map((each) =>
                    each.run(({ connection }) => connection!.isConnected() && connection!.health === 'alive'),
                  ),
                )
              ).every(Boolean),
            'both to be connected',
          );
          const seen = [...(await names(host)), ...(await names(joiner))];
          if (length <= 2000) assert.deepEqual(seen, [], 'an outage of 2 s emits no event');
          else assert.ok(!seen.includes('reset') && !seen.includes('closed'), seen.join());
          await pause(1500);
        }
        for (const each of [host, joiner]) assert.deepEqual(await each.run(({ wrong }) => wrong), []);
        const text = detected.length ? `, detected at both sides after ${median(detected)} ms` : '';
        console.log(
          `  ${hostPlace} and ${joinerPlace}, ${ROUNDS} outages of ${length} ms: first delivery ${median(delays.host)} ms (host), ${median(delays.joiner)} ms (joiner) after its end${text}; all: ${delays.host.join(' ')} | ${delays.joiner.join(' ')}`,
        );
      });
    }
  });
}
