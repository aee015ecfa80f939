/**
 * Tests an end that disappears because its tab crashes or its page is closed. The peer keeps its connection object and emits
 * `reset` when a client with the same key returns. Each message from the peer is either delivered or reported as lost.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until } from '../support/until.js';
import { type End, usePlaces } from './ends.js';
import { UdpProxy } from './udp-proxy.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const ROUNDS = Number(process.env['CHAOS_ROUNDS'] ?? (FULL ? 20 : 2));

const { server, places } = usePlaces();

/** Ends a page without warning: crashes the tab in Chromium, closes the page in Firefox. */
async function kill(end: End): Promise<void> {
  const page = end.page!;
  if (end.place === 'chromium') {
    const session = await page.createCDPSession();
    session.send('Page.crash').catch(() => undefined);
    await new Promise((resolve) => page.once('error', resolve));
  }
  await page.close().catch(() => undefined);
}

for (const place of ['chromium', 'firefox'] as const) {
  describe(`a host whose joiner in ${place} is killed`, () => {
    it(`reports every undelivered message as lost in each of ${ROUNDS} rounds`, { timeout: 1_200_000 }, async () => {
      const rig = await UdpProxy.start(1);
      const common = { apiUrl: server.url, rigUrl: rig.url };
      const username = `kill-${place}`;
      const joinerOptions = { username: `j-${username}`, to: `chaos:1.0.0@${username}`, keep: true };
      const pair = await places.openPair(place, place, { ...common, username }, joinerOptions);
      const { host } = pair;
      let { joiner } = pair;
      let sent = 0;
      for (let round = 0; round < ROUNDS; round++) {
        sent += 500;
        void host.run((state, count) => {
          state.allowed = count;
          if (!state.streaming) void state.stream(500, 1, 20_000);
        }, sent);
        await until(() => joiner.run(({ next }) => next > 0), 'some to be under way');
        await kill(joiner);
        joiner = await places.open(place, { ...common, ...joinerOptions });
        await until(
          async () =>
            host.run(({ outcomes }, count) => Object.values(outcomes).reduce((sum, each) => sum + each, 0) === count, sent),
          'all to have an outcome',
        );
        const { outcomes, lost, connections, events } = await host.run(
          ({ outcomes: told, lost: count, connections: all, events: seen }) => ({
            outcomes: told,
            lost: count,
            connections: all.length,
            events: seen.splice(0).map(([name]) => name),
          }),
        );
        assert.equal(connections, 1, 'the same connection object');
        assert.ok(events.includes('reset'), events.join());
        assert.equal(outcomes['unknown'] ?? 0, lost, 'what is unknown was told as lost, and nothing else');
        assert.equal((outcomes['delivered'] ?? 0) + lost, sent);
        // the new page received its messages in order, starting after the lost messages
        assert.deepEqual(await joiner.run(({ wrong }) => wrong), []);
        console.log(`  ${place}, round ${round + 1}: ${outcomes['delivered']} delivered, ${lost} lost of ${sent}`);
      }
      await joiner.close();
      await host.close();
      await rig.close();
    });
  });
}
