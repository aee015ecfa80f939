/**
 * Tests links that are alive but make no progress: the platform at one end loses the last messages of a link, and no later
 * message reveals the gap. After 30 to 60 s without an acknowledgement, the sender drops the link and replays the messages on
 * the next link.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { until } from '../support/until.js';
import type { EndState } from './end.js';
import { type Place, usePlaces } from './ends.js';

declare const window: Window & { got: string[]; last: RTCDataChannel };

const { server, places } = usePlaces();

const PAIRS: [host: Place, joiner: Place][] = [
  ['chromium', 'firefox'],
  ['datachannel', 'chromium'],
];

/** Makes this end drop everything that arrives on the message channel of the current link. */
const ignoreMessages = ({ connection }: EndState): void => {
  const { channel } = (connection as unknown as { link: { channel: RTCDataChannel } }).link;
  channel.onmessage = null;
};

describe('a connection whose link loses its last messages', { concurrency: true }, () => {
  for (const [hostAt, joinerAt] of PAIRS) {
    for (const lossySide of ['host', 'joiner'] as const) {
      it(
        `replaces the link between ${hostAt} and ${joinerAt} if the ${lossySide} loses messages`,
        { timeout: 240_000 },
        async () => {
          const name = `stall-${hostAt}-${lossySide}`;
          const { host, joiner } = await places.openPair(hostAt, joinerAt, { apiUrl: server.url, username: name });
          const [receiver, sender] = lossySide === 'host' ? [host, joiner] : [joiner, host];
          const stream = (count: number) =>
            sender.run((state, more) => {
              state.allowed += more;
              void state.stream(more, 1, 20_000);
            }, count);
          await stream(10);
          await until(() => sender.run(({ outcomes }) => outcomes['delivered'] === 10), 'the first messages');
          const before = await sender.run(({ connection }) => connection!.generation);
          await receiver.run(ignoreMessages);
          await stream(5);
          await until(() => sender.run(({ outcomes }) => outcomes['delivered'] === 15), 'the last messages', 120_000);
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
          assert.deepEqual(after.reasons, ['nothing was acknowledged for 30 s']);
          for (const end of [joiner, host]) await end.close();
        },
      );
    }
  }

  it('replaces the link if an additional channel loses messages', { timeout: 240_000 }, async () => {
    const options = { apiUrl: server.url, username: 'stall-channel' };
    const { host, joiner } = await places.openPair('datachannel', 'chromium', options);
    // the last data channel that the page creates belongs to the additional channel
    await joiner.page!.evaluate(() => {
      const { createDataChannel } = RTCPeerConnection.prototype;
      RTCPeerConnection.prototype.createDataChannel = function (...all) {
        return (window.last = createDataChannel.apply(this, all));
      };
    });
    await joiner.run(({ connection }) => {
      window.got = [];
      connection!.createChannel('x').on('message', (data) => window.got.push(data as string));
    });
    await until(() => host.run(({ connection }) => connection!.getChannel('x')?.readyState === 'open'), 'the channel');
    const send = (text: string) => host.run(({ connection }, data) => connection!.getChannel('x')!.send(data).delivered, text);
    assert.equal(await send('one'), 'delivered');
    await joiner.run(() => void (window.last.onmessage = null));
    assert.equal(await send('two'), 'delivered');
    assert.deepEqual(await joiner.run(() => window.got), ['one', 'two']);
    const reasons = await host.run(({ events }) => events.filter(([event]) => event === 'disconnected').map(([, , why]) => why));
    assert.deepEqual(reasons, ['nothing was acknowledged for 30 s']);
    for (const end of [joiner, host]) await end.close();
  });
});
