/**
 * Measures the cost of guaranteed delivery: bytes per second in 16 KiB messages, and short text messages per second,
 * alternately over a Rondevu connection and over a raw data channel with the same water marks, in the same two pages. Prints
 * the medians of the ratios.
 * Usage: `npm run bench -- throughput [chromium|firefox] [rounds]`.
 */
import type { RondevuConnection } from '../dist/src/index.js';
import { createServer } from '../server/dist/index.js';
import { launch, type BrowserName } from '../test/support/browsers.ts';
import { median } from '../test/support/median.ts';
import { blankPage, openPage, serveFiles } from '../test/support/site.ts';

interface BenchWindow {
  /** Number of received messages, and the number to wait for. */
  got: number;
  wanted: number;
  done: (() => void) | undefined;
  pc: RTCPeerConnection;
  raw: RTCDataChannel;
  ours: RondevuConnection;
  receive(): void;
}
declare const window: Window & BenchWindow;

const browserName = (process.argv[2] ?? 'chromium') as BrowserName;
const rounds = Number(process.argv[3] ?? 7);
const HIGH_WATER = 262_144;
const LOW_WATER = 65_536;
const KINDS = [
  { name: '16 KiB messages', length: 16_384, count: 3000, text: false },
  { name: 'short text', length: 24, count: 60_000, text: true },
];

const server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.' });
const site = await serveFiles(() => ({ '/': { body: blankPage(server.url) } }));
const browser = await launch(browserName);
const [host, joiner] = [await openPage(browser, site.url), await openPage(browser, site.url)];
for (const page of [host, joiner]) {
  await page.evaluate(() => {
    window.got = 0;
    window.receive = () => {
      if (++window.got === window.wanted) window.done?.();
    };
  });
}
await host.evaluate(async (apiUrl) => {
  const service = document.createElement('rondevu-service');
  for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'bench:1.0.0', username: 'bench' }))
    service.setAttribute(key, value);
  service.addEventListener('rondevu-connection', (event) => {
    (event as CustomEvent<{ connection: RondevuConnection }>).detail.connection.on('message', window.receive);
  });
  document.body.append(service);
  await service.ready;
}, server.url);
await joiner.evaluate(async (apiUrl) => {
  const element = document.createElement('rondevu-connect');
  for (const [key, value] of Object.entries({ 'api-url': apiUrl, to: 'bench:1.0.0@bench', identity: 'none' }))
    element.setAttribute(key, value);
  document.body.append(element);
  window.ours = (await element.ready) as unknown as RondevuConnection;
}, server.url);

// sets up the raw channel; this process passes the descriptions between the pages
const describe = async (page: typeof host, remote?: RTCSessionDescriptionInit): Promise<RTCSessionDescriptionInit> =>
  page.evaluate(
    async (description, low) => {
      window.pc ??= new RTCPeerConnection({ iceServers: [] });
      const { pc } = window;
      if (!window.raw) {
        window.raw = pc.createDataChannel('raw', { negotiated: true, id: 5 });
        window.raw.binaryType = 'arraybuffer';
        window.raw.bufferedAmountLowThreshold = low;
        window.raw.onmessage = () => window.receive();
      }
      if (description) await pc.setRemoteDescription(description);
      if (description?.type === 'answer') return description;
      await pc.setLocalDescription(description ? await pc.createAnswer() : await pc.createOffer());
      if (pc.iceGatheringState !== 'complete')
        await new Promise<void>(
          (resolve) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve()),
        );
      return pc.localDescription!.toJSON() as RTCSessionDescriptionInit;
    },
    remote,
    LOW_WATER,
  );
await describe(host, await describe(joiner, await describe(host)));
await joiner.evaluate(async () => {
  if (window.raw.readyState !== 'open') await new Promise((resolve) => (window.raw.onopen = resolve));
});

/** Returns the time until the peer has received all `count` messages, in ms. */
async function measure(way: 'ours' | 'raw', { length, count, text }: (typeof KINDS)[number]): Promise<number> {
  const arrived = host.evaluate((wanted) => {
    window.got = 0;
    window.wanted = wanted;
    return new Promise<void>((resolve) => (window.done = resolve));
  }, count);
  const start = performance.now();
  await joiner.evaluate(
    async (which, size, total, asText, high) => {
      const data = asText ? 'x'.repeat(size) : new Uint8Array(size);
      const { raw, ours } = window;
      for (let i = 0; i < total; i++) {
        if (which === 'raw') {
          if (raw.bufferedAmount >= high) await new Promise((resolve) => (raw.onbufferedamountlow = resolve));
          raw.send(data as string);
        } else {
          // the connection applies the same water marks internally
          ours.send(data);
        }
      }
    },
    way,
    length,
    count,
    text,
    HIGH_WATER,
  );
  await arrived;
  return performance.now() - start;
}

for (const kind of KINDS) {
  const ratios: number[] = [];
  const rates = { ours: [] as number[], raw: [] as number[] };
  for (let round = -1; round < rounds; round++) {
    const [ours, raw] = [await measure('ours', kind), await measure('raw', kind)];
    if (round < 0) continue; // warm-up
    ratios.push(raw / ours);
    for (const [way, time] of Object.entries({ ours, raw })) rates[way as 'ours' | 'raw'].push((kind.count / time) * 1000);
  }
  const show = (rate: number): string =>
    kind.text ? `${Math.round(rate)} messages/s` : `${((rate * kind.length) / 1e6).toFixed(1)} MB/s`;
  console.log(
    `${kind.name}: ${median(ratios).toFixed(2)} × raw (ours ${show(median(rates.ours))}, raw ${show(median(rates.raw))}, ${rounds} pairs, ${browserName})`,
  );
}

await browser.close();
await site.close();
await server.close();
