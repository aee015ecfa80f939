/**
 * One contract for every WebRTC implementation, each tested against itself and against Chromium. Additional abilities of each
 * implementation are listed in abilities.json, which docs/hosting-in-node.md shows: an ability must be present if it is listed
 * as true, and absent otherwise. RONDEVU_HOSTS=full also tests werift and Firefox.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { NODE_PLACES, type End, type Place, usePlaces } from '../chaos/ends.js';
import { until } from '../support/until.js';

const ABILITIES = JSON.parse(readFileSync(new URL('abilities.json', import.meta.url), 'utf8')) as Record<
  string,
  Record<string, boolean>
>;
const PLACES: Place[] =
  process.env['RONDEVU_HOSTS'] === 'full'
    ? ['datachannel', 'node', 'werift', 'chromium', 'firefox']
    : ['datachannel', 'node', 'chromium'];
const nameOf = (place: Place): string => (place in NODE_PLACES ? NODE_PLACES[place as 'node'] : place);

const { server, places } = usePlaces();

let pairs = 0;
/** Opens a host that echoes messages, and a joiner. */
async function open(hostAt: Place, joinerAt: Place): Promise<{ host: End; joiner: End; close(): Promise<void> }> {
  const name = `contract${++pairs}`;
  const host = await places.open(hostAt, { apiUrl: server.url, username: name, service: 'contract:1.0.0', plain: true });
  await host.run(({ rondevu }) => {
    rondevu.on('connection:opened', (_id, connection) => {
      connection.on('message', (data) => {
        if (data !== 'quiet') connection.send(data);
      });
    });
  });
  const joiner = await places.open(joinerAt, {
    apiUrl: server.url,
    username: `${name}j`,
    to: `contract:1.0.0@${name}`,
    plain: true,
  });
  await until(() => host.run(({ connection }) => connection?.isConnected()), 'the host to have its connection');
  return {
    host,
    joiner,
    close: async () => {
      await joiner.close();
      await host.close();
    },
  };
}

/**
 * Sends messages to the host, and returns the sizes whose echoes differ. The function runs in the page or process of the
 * joiner.
 */
async function echoes(end: Parameters<Parameters<End['run']>[0]>[0], sizes: number[]): Promise<string[]> {
  const connection = end.connection!;
  const wrong: string[] = [];
  for (const size of sizes) {
    const bytes = Uint8Array.from({ length: size }, (_, index) => (index * 7 + size) % 251);
    for (const data of [bytes, `${size} ü€😀`.repeat(Math.ceil(size / 16))]) {
      const back = await new Promise<string | ArrayBuffer>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`nothing came back of ${size} bytes`)), 20_000);
        connection.once('message', (reply) => (clearTimeout(timer), resolve(reply)));
        connection.send(data);
      });
      const same =
        typeof data === 'string'
          ? back === data
          : typeof back !== 'string' && back.byteLength === size && new Uint8Array(back).every((byte, i) => byte === data[i]);
      if (!same) wrong.push(`${typeof data} of ${size}`);
    }
  }
  return wrong;
}

for (const place of PLACES) {
  for (const other of new Set<Place>([place, 'chromium'])) {
    for (const [hostAt, joinerAt] of place === other
      ? [[place, place] as const]
      : [[place, other] as const, [other, place] as const]) {
      describe(`a host on ${nameOf(hostAt)} with a joiner on ${nameOf(joinerAt)}`, () => {
        let pair: Awaited<ReturnType<typeof open>>;
        before(async () => {
          pair = await open(hostAt, joinerAt);
        });
        after(() => pair.close());

        it('echoes text and bytes of every size unchanged', async () => {
          assert.deepEqual(await pair.joiner.run(echoes, [0, 1, 15_000, 16_384, 65_536, 300_000, 1_048_576]), []);
        });

        it('loses no message when a link is closed behind the engine’s back', async () => {
          for (const end of [pair.joiner, pair.host, pair.joiner]) {
            const outcomes = await end.run(async ({ connection }) => {
              const sent = Array.from({ length: 20 }, () => connection!.send('quiet'));
              connection!.getPeerConnection()!.close();
              sent.push(...Array.from({ length: 20 }, () => connection!.send('quiet')));
              return [...new Set(await Promise.all(sent.map(({ delivered }) => delivered)))];
            });
            assert.deepEqual(outcomes, ['delivered']);
          }
          assert.deepEqual(await pair.joiner.run(echoes, [100]), []);
        });
      });
    }
  }

  describe(`the WebRTC abilities of ${nameOf(place)}`, () => {
    const abilities = ABILITIES[nameOf(place)]!;
    const shown: Record<string, boolean> = {};
    let pair: Awaited<ReturnType<typeof open>>;
    before(async () => {
      pair = await open(place, 'chromium');
    });
    after(() => pair.close());

    it('probes whether connection statistics are available', async () => {
      await pair.joiner.run(echoes, [100_000]);
      const stats = await pair.host.run(async ({ connection }) => {
        const { roundTripTime, bytesSent, bytesReceived, path, protocol } = (await connection!.getStats())!;
        return { roundTripTime, bytesSent, bytesReceived, path, protocol };
      });
      shown['round-trip time'] = typeof stats.roundTripTime === 'number';
      // the path is local, so a larger value would indicate a wrong unit
      if (shown['round-trip time']) assert.ok(stats.roundTripTime! < 1000, `${stats.roundTripTime} ms`);
      shown['bytes sent and received'] = stats.bytesSent > 100_000 && stats.bytesReceived > 100_000;
      shown['kind of path'] = stats.path !== undefined;
      shown['protocol of the path'] = stats.protocol === 'udp';
    });

    it('probes whether an ICE restart works', async () => {
      shown['ICE restart'] = await pair.host.run(async ({ connection }) => {
        const ufrag = (): string | undefined =>
          /a=ice-ufrag:(\S+)/.exec(connection!.getPeerConnection()?.remoteDescription?.sdp ?? '')?.[1];
        const [before, generation] = [ufrag(), connection!.generation];
        connection!.restartIce();
        for (let waited = 0; waited < 5000 && ufrag() === before; waited += 20)
          await new Promise((resolve) => setTimeout(resolve, 20));
        return ufrag() !== before && connection!.generation === generation;
      });
      assert.deepEqual(await pair.joiner.run(echoes, [1000]), [], 'what is sent after it');
    });

    it('probes whether messages sent just before close are delivered', async () => {
      await pair.joiner.run((end) => {
        (end as { tail?: number }).tail = 0;
        end.connection!.on('message', () => (end as { tail?: number }).tail!++);
      });
      await pair.host.run(async ({ connection }) => {
        for (let i = 0; i < 200; i++) connection!.send(`tail ${i} ${'x'.repeat(2000)}`);
        await connection!.close();
      });
      await until(() => pair.joiner.run(({ connection }) => connection!.getState() === 'closed'), 'the joiner to close');
      shown['the tail arrives before the end'] = (await pair.joiner.run((end) => (end as { tail?: number }).tail)) === 200;
    });

    it('the probed abilities match abilities.json', () => {
      assert.deepEqual(shown, abilities);
    });
  });
}
