/**
 * Tests additional channels, created by either end, while links are cut: every channel delivers each message exactly once and
 * in order. `RONDEVU_CHAOS=full` sends 2000 messages in each direction on each of 5 channels, with 20 rotations; the default
 * run is shorter.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until } from '../support/until.js';
import type { EndState } from './end.js';
import { type Place, usePlaces } from './ends.js';
import { UdpProxy } from './udp-proxy.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const COUNT = Number(process.env['CHAOS_MESSAGES'] ?? (FULL ? 2000 : 200));
const ROTATIONS = Number(process.env['CHAOS_ROUNDS'] ?? (FULL ? 20 : 4));
const PAIRS: [Place, Place][] = [
  ['chromium', 'firefox'],
  ['firefox', 'chromium'],
  ['chromium', 'datachannel'],
];

const { server, places } = usePlaces();

interface Tally {
  next: Record<string, number>;
  wrong: string[];
  low: number;
  /** Creates a channel or accepts the peer's channel, sends messages on it, and checks the received messages. */
  use(label: string): void;
}
type Tallied = EndState & { tally: Tally };

/** Starts listening for channels before either end creates one. This function runs in the page or process of the end. */
function prepare(end: EndState, count: number): void {
  const tally: Tally = { next: {}, wrong: [], low: 0, use: (label) => use(label) };
  (end as Tallied).tally = tally;
  const connection = end.connection!;
  const use = (label: string): void => {
    if (label in tally.next) return;
    tally.next[label] = 0;
    const channel = connection.createChannel(label);
    channel.bufferedAmountLowThreshold = 10_000;
    channel.on('bufferedAmountLow', () => tally.low++);
    channel.on('message', (data) => {
      const expected = `${label} ${tally.next[label]!++} `;
      const text = typeof data === 'string' ? data : new TextDecoder().decode(data);
      if (!text.startsWith(expected) && tally.wrong.length < 5)
        tally.wrong.push(`${expected} was expected, ${text.slice(0, 20)} came`);
    });
    void (async () => {
      for (let i = 0; i < count; i++) {
        channel.send(`${label} ${i} ${'x'.repeat((i * 37) % 2000)}`);
        if (i % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
        // if more than 1000 messages were queued, the oldest would be dropped
        while (channel.getQueueSize() > 900) await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
  };
  connection.on('channel', ({ label }) => use(label));
}

for (const [one, other] of PAIRS) {
  describe(`a connection with additional channels between ${one} and ${other}`, () => {
    it(
      `delivers each message once and in order: 5 channels, ${COUNT} messages each way, ${ROTATIONS} rotations`,
      { timeout: 600_000 },
      async () => {
        const rig = await UdpProxy.start(1);
        const options = { apiUrl: server.url, rigUrl: rig.url, username: `channels-${one}-${other}` };
        const { host, joiner } = await places.openPair(one, other, options);
        const all = ['a', 'b', 'c', 'd', 'e'];
        // both ends create `c`
        const make = (end: EndState, ours: string[]): void => ours.forEach((label) => (end as Tallied).tally.use(label));
        for (const end of [host, joiner]) await end.run(prepare, COUNT);
        await Promise.all([host.run(make, ['a', 'b', 'c']), joiner.run(make, ['c', 'd', 'e'])]);
        for (let round = 0; round < ROTATIONS; round++) {
          const side = round % 2 ? host : joiner;
          const generation = await side.run(({ connection }) => {
            connection!.getPeerConnection()?.close();
            return connection!.generation;
          });
          await until(async () => {
            const up = await side.run(
              ({ connection }, before) => connection!.generation > before && connection!.isConnected(),
              generation,
            );
            return up && (await (side === host ? joiner : host).run(({ connection }) => connection!.isConnected()));
          }, 'the next link');
        }
        for (const end of [host, joiner]) {
          const tally = () => end.run((state) => ({ ...(state as Tallied).tally, use: undefined }));
          await until(async () => {
            const { next } = await tally();
            return all.every((label) => next[label]! >= COUNT);
          }, 'all messages');
          // messages from this end may still be in flight
          await until(async () => (await tally()).low > 0, 'the threshold to be in force');
          const { next, wrong } = await tally();
          assert.deepEqual([wrong, next], [[], Object.fromEntries(all.map((label) => [label, COUNT]))], `${end.place}`);
        }
        for (const end of [host, joiner]) await end.close();
        await rig.close();
      },
    );
  });
}
