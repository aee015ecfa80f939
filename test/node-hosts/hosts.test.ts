/**
 * Connects Node programs and pages, with either as the host, and sends numbered messages in both directions while the link is
 * closed several times behind the engine's back. RONDEVU_HOSTS=full sends 1000 messages in each direction and closes the link
 * 10 times, with both browsers and all three WebRTC packages. The default is a short run without Firefox and without
 * @roamhq/wrtc, which crashes the process in about one in ten full runs when a link closes during a send
 * (docs/hosting-in-node.md).
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EndState } from '../chaos/end.js';
import { type Place, usePlaces } from '../chaos/ends.js';
import { until } from '../support/until.js';

const FULL = process.env['RONDEVU_HOSTS'] === 'full';
const MESSAGES = FULL ? 1000 : 200;
const CLOSES = FULL ? 10 : 4;
const BROWSERS: Place[] = FULL ? ['chromium', 'firefox'] : ['chromium'];
const NODES: Place[] = FULL ? ['datachannel', 'node', 'werift'] : ['datachannel', 'werift'];

/**
 * Returns the state of one end of the connection as JSON, for debugging. The function runs in the page or process of that end,
 * so it must not refer to anything outside its own scope.
 */
const stateOf = ({ connection, sent, next, outcomes, events, streaming }: EndState): string => {
  const pc = connection?.getPeerConnection();
  return JSON.stringify({
    sent,
    streaming,
    next,
    outcomes,
    state: connection?.getState(),
    generation: connection?.generation,
    bufferedAmount: connection?.bufferedAmount,
    pc: pc && [pc.connectionState, pc.iceConnectionState, pc.signalingState],
    events: events.slice(-12).map(([name, at, detail]) => [name, Math.round(performance.now() - at), detail]),
  });
};

const { server, places } = usePlaces();

for (const browser of BROWSERS) {
  for (const node of NODES) {
    for (const [hostAt, joinerAt] of [
      [node, browser],
      [browser, node],
    ] as const) {
      describe(`a host on ${hostAt} with a joiner on ${joinerAt}`, () => {
        it(
          `delivers ${MESSAGES} messages per direction exactly once and in order while the link is closed ${CLOSES} times`,
          { timeout: 300_000 },
          async (t) => {
            const name = `host-${hostAt}-${joinerAt}`;
            const { host, joiner } = await places.openPair(hostAt, joinerAt, { apiUrl: server.url, username: name });
            const ends = [host, joiner];
            for (const [index, end] of ends.entries())
              void end.run((state, count, seed) => void state.stream(count, seed, 20_000), MESSAGES, index);
            for (let round = 0; round < CLOSES; round++) {
              const allowed = Math.ceil((MESSAGES * (round + 1)) / CLOSES);
              for (const end of ends) await end.run((state, count) => void (state.allowed = count), allowed);
              const side = ends[round % 2]!;
              const generation = await side.run(({ connection }) => {
                const before = connection!.generation;
                connection!.getPeerConnection()?.close();
                return before;
              });
              await until(
                async () =>
                  side.run(({ connection }, old) => connection!.generation > old && connection!.isConnected(), generation),
                `the link after close ${round}`,
              );
            }
            const read = () =>
              Promise.all(
                ends.map((end) =>
                  end.run(({ next, wrong, outcomes, lost, connections }) => ({
                    next,
                    wrong,
                    outcomes,
                    lost,
                    connections: connections.length,
                  })),
                ),
              );
            try {
              await until(
                async () => (await read()).every(({ outcomes }) => outcomes['delivered'] === MESSAGES),
                'all to be delivered',
              );
            } catch (error) {
              for (const end of ends) t.diagnostic(`${end.place}: ${await end.run(stateOf)}`);
              throw error;
            }
            const whole = { next: MESSAGES, wrong: [], outcomes: { delivered: MESSAGES }, lost: 0, connections: 1 };
            assert.deepEqual(await read(), [whole, whole]);
            for (const end of ends) await end.close();
          },
        );
      });
    }
  }
}
