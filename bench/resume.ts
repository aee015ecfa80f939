/**
 * Measures how soon messages flow again after a peer connection is closed without notifying the engine: on the remote side,
 * from the close event; on the closing side, from the call to `close()`. Alternates with measurements of a raw connection setup
 * for comparison.
 * Usage: `npm run bench -- resume [chromium|firefox] [rounds]`.
 */
import type { RondevuConnection } from '../dist/src/index.js';
import { createServer } from '../server/dist/index.js';
import { launch, type BrowserName } from '../test/support/browsers.ts';
import { median } from '../test/support/median.ts';
import { blankPage, openPage, serveFiles } from '../test/support/site.ts';
import { until } from '../test/support/until.ts';

interface BenchWindow {
  connection: RondevuConnection;
  /** Like Date.now(), but with fractions of a millisecond; both pages share the same clock. */
  now(): number;
  closedAt: number;
  messageAt: number;
}
declare const window: Window & BenchWindow;

const browserName = (process.argv[2] ?? 'chromium') as BrowserName;
const rounds = Number(process.argv[3] ?? 20);

const server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.' });
const site = await serveFiles(() => ({ '/': { body: blankPage(server.url) } }));
const browser = await launch(browserName);
const [host, joiner] = [await openPage(browser, site.url), await openPage(browser, site.url)];
const opened = host.evaluate(async (apiUrl) => {
  const service = document.createElement('rondevu-service');
  for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'bench:1.0.0', username: 'bench' }))
    service.setAttribute(key, value);
  document.body.append(service);
  window.connection = await new Promise((resolve) =>
    service.addEventListener('rondevu-connection', (event) =>
      resolve((event as CustomEvent<{ connection: RondevuConnection }>).detail.connection),
    ),
  );
}, server.url);
await joiner.evaluate(async (apiUrl) => {
  const element = document.createElement('rondevu-connect');
  for (const [key, value] of Object.entries({ 'api-url': apiUrl, to: 'bench:1.0.0@bench', identity: 'none' }))
    element.setAttribute(key, value);
  document.body.append(element);
  window.connection = (await element.ready) as unknown as RondevuConnection;
}, server.url);
await opened;
for (const page of [host, joiner]) {
  await page.evaluate(() => {
    window.now = () => performance.timeOrigin + performance.now();
    window.connection.on('disconnected', () => {
      window.closedAt = window.now();
      // the first message to arrive when the peer is back
      window.connection.send('again');
    });
    window.connection.on('message', () => (window.messageAt ||= window.now()));
  });
}

/** Connects two raw peer connections in one page; returns the time from construction to the first round trip, in ms. */
const raw = (): Promise<number> =>
  joiner.evaluate(async () => {
    const start = performance.now();
    const [a, b] = [new RTCPeerConnection(), new RTCPeerConnection()];
    a.onicecandidate = ({ candidate }) => void (candidate && b.addIceCandidate(candidate));
    b.onicecandidate = ({ candidate }) => void (candidate && a.addIceCandidate(candidate));
    const [from, to] = [a, b].map((pc) => pc.createDataChannel('raw', { negotiated: true, id: 1 })) as [
      RTCDataChannel,
      RTCDataChannel,
    ];
    to.onmessage = ({ data }) => to.send(data as string);
    const done = new Promise<void>((resolve) => (from.onmessage = () => resolve()));
    from.onopen = () => from.send('x');
    await a.setLocalDescription(await a.createOffer());
    await b.setRemoteDescription(a.localDescription!);
    await b.setLocalDescription(await b.createAnswer());
    await a.setRemoteDescription(b.localDescription!);
    await done;
    const time = performance.now() - start;
    a.close();
    b.close();
    return time;
  });

const ratios: number[] = [];
const times = { remote: [] as number[], own: [] as number[], raw: [] as number[] };
for (let round = -2; round < rounds; round++) {
  const [closed, other] = round % 2 ? [host, joiner] : [joiner, host];
  const cost = await raw();
  await until(() => host.evaluate(() => document.querySelector('rondevu-service')!.offerCount >= 5), 'the pool to be full');
  for (const page of [host, joiner]) await page.evaluate(() => void (window.closedAt = window.messageAt = 0));
  const at = await closed.evaluate(() => {
    const now = window.now();
    window.connection.getPeerConnection()!.close();
    return now;
  });
  await until(
    async () => (await Promise.all([host, joiner].map((page) => page.evaluate(() => window.messageAt > 0)))).every(Boolean),
    'messages both ways',
  );
  if (round < 0) continue; // warm-up
  const heard = await other.evaluate(() => ({ closedAt: window.closedAt, messageAt: window.messageAt }));
  times.raw.push(cost);
  times.remote.push(heard.messageAt - heard.closedAt);
  times.own.push((await closed.evaluate(() => window.messageAt)) - at);
  ratios.push((heard.messageAt - heard.closedAt) / cost);
}
console.log(
  `first delivery after a raw close: ${median(ratios).toFixed(1)} × a raw connect, from the other side's close event ` +
    `(${median(times.remote).toFixed(0)} ms, raw ${median(times.raw).toFixed(0)} ms); ` +
    `on the closed side ${median(times.own).toFixed(0)} ms, ${Math.max(...times.own).toFixed(0)} at most (${rounds} rounds, ${browserName})`,
);

await browser.close();
await site.close();
await server.close();
