/**
 * Links that answer and carry nothing on: the platform of one end loses the last messages of a link, and no later one shows the hole.
 * The other side waits for their acknowledgement, gives the link up after 15 to 30 s, and the next one brings them.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ServerProcess, until } from '../support/site.js';
import type { EndState } from './end.js';
import { Places, type Place } from './ends.js';

const server = new ServerProcess();
const places = new Places();
before(() => server.start());
after(async () => {
  await places.close();
  await server.close();
});

const PAIRS: [host: Place, joiner: Place][] = [
  ['chromium', 'firefox'],
  ['datachannel', 'chromium'],
];

/** From now on nothing that comes on the channel for messages is seen at this end of the link. */
const deafen = ({ connection }: EndState): void => {
  const { channel } = (connection as unknown as { link: { channel: RTCDataChannel } }).link;
  channel.onmessage = null;
};

describe('a link that loses its last messages', { concurrency: true }, () => {
  for (const [hostAt, joinerAt] of PAIRS) {
    for (const deaf of ['host', 'joiner'] as const) {
      it(`${hostAt} hosts for ${joinerAt}, lost at the ${deaf}`, { timeout: 120_000 }, async () => {
        const name = `stall-${hostAt}-${deaf}`;
        const host = await places.open(hostAt, { apiUrl: server.url, username: name, service: 'stalls:1.0.0' });
        const to = `stalls:1.0.0@${name}`;
        const joiner = await places.open(joinerAt, { apiUrl: server.url, username: `j-${name}`, to });
        await until('the host to have its connection', () => host.run(({ connection }) => connection?.isConnected()));
        const [receiver, sender] = deaf === 'host' ? [host, joiner] : [joiner, host];
        const stream = (count: number) =>
          sender.run((state, more) => {
            state.allowed += more;
            void state.stream(more, 1, 20_000);
          }, count);
        await stream(10);
        await until('the first messages', () => sender.run(({ outcomes }) => outcomes['delivered'] === 10));
        const before = await sender.run(({ connection }) => connection!.generation);
        await receiver.run(deafen);
        await stream(5);
        await until('the last messages', () => sender.run(({ outcomes }) => outcomes['delivered'] === 15));
        const { wrong, next, lost } = await receiver.run(({ wrong, next, lost }) => ({ wrong, next, lost }));
        assert.deepEqual({ wrong, next, lost }, { wrong: [], next: 15, lost: 0 });
        const after = await sender.run(({ connection, connections, events, outcomes }) => ({
          generations: connection!.generation,
          connections: connections.length,
          reasons: events.filter(([event]) => event === 'disconnected').map(([, , reason]) => reason),
          outcomes,
        }));
        assert.ok(after.generations > before, 'another link');
        assert.deepEqual([after.connections, after.outcomes], [1, { delivered: 15 }]);
        assert.deepEqual(after.reasons, ['nothing was acknowledged for 15 s']);
        for (const end of [joiner, host]) await end.close();
      });
    }
  }
});
