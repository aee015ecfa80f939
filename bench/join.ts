/**
 * Measures the time to join, from the request to the first reply, alternately with the engine and with bare RTCPeerConnections
 * over a bare `ws` relay, in the same two pages. In both cases, the host creates its offer and gathers its candidates
 * beforehand. Prints the median of the ratios.
 * Usage: `npm run bench -- join [chromium|firefox] [rounds]`.
 */
import { once } from 'node:events';
import { WebSocketServer, type WebSocket as NodeSocket } from 'ws';
import type { Rondevu } from '../dist/src/index.js';
import type { AddressInfo } from 'node:net';
import { createServer } from '../server/dist/index.js';
import { launch, type BrowserName } from '../test/support/browsers.ts';
import { median } from '../test/support/median.ts';
import { blankPage, openPage, serveFiles } from '../test/support/site.ts';
import { until } from '../test/support/until.ts';

interface BenchWindow {
  rondevu: Rondevu;
  /** Methods of the calls that this page has sent since the last read. */
  calls: string[];
  relay: WebSocket;
  raw(): Promise<number>;
  ours(): Promise<number>;
  fresh(): Promise<number>;
  freshRaw(): Promise<number>;
}
declare const window: Window & BenchWindow;

const browserName = (process.argv[2] ?? 'chromium') as BrowserName;
const rounds = Number(process.argv[3] ?? 20);

/** Starts a bare relay, which forwards every message to all other sockets. */
async function startRelay(): Promise<{ url: string; close(): void }> {
  const relay = new WebSocketServer({ port: 0, host: 'localhost', perMessageDeflate: false });
  relay.on('connection', (socket: NodeSocket) => {
    socket.on('message', (data) => {
      for (const other of relay.clients) if (other !== socket) other.send(String(data));
    });
  });
  await once(relay, 'listening');
  return { url: `ws://localhost:${(relay.address() as AddressInfo).port}`, close: () => relay.close() };
}

const server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.' });
const relay = await startRelay();
const counters = `<script>
  window.calls = [];
  const nativeFetch = fetch;
  window.fetch = (url, init) => { window.calls.push('http ' + [JSON.parse(init.body)].flat().map((c) => c.method).join('+')); return nativeFetch(url, init); };
  const nativeSend = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) { try { const frame = JSON.parse(data); if (frame.method) window.calls.push('socket ' + frame.method); } catch {} return nativeSend.call(this, data); };
</script>`;
const site = await serveFiles(() => ({ '/': { body: blankPage(server.url, counters) } }));
const browser = await launch(browserName);
const [host, joiner] = [await openPage(browser, site.url), await openPage(browser, site.url)];

// Sets up both hosts: the service is live with its pool; the raw host keeps one offer ready and replaces it after each join.
await host.evaluate(
  async (apiUrl, relayUrl) => {
    const service = document.createElement('rondevu-service');
    for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'bench:1.0.0', username: 'bench' }))
      service.setAttribute(key, value);
    service.addEventListener('rondevu-message', (event) => {
      const { data, connection } = (event as CustomEvent<{ data: string; connection: { send(data: string): void } }>).detail;
      connection.send(data);
    });
    document.body.append(service);
    await service.ready;

    const socket = new WebSocket(relayUrl);
    await new Promise((resolve) => (socket.onopen = resolve));
    const prepare = async (): Promise<{ pc: RTCPeerConnection; sdp: string }> => {
      const pc = new RTCPeerConnection({ iceServers: [] });
      // negotiated, because Chromium 156 leaves one in a hundred in-band channels half open on the answering side
      const channel = pc.createDataChannel('raw', { negotiated: true, id: 1 });
      channel.onmessage = ({ data }) => channel.send(data as string);
      channel.onclose = () => pc.close();
      await pc.setLocalDescription(await pc.createOffer());
      if (pc.iceGatheringState !== 'complete') {
        await new Promise<void>(
          (resolve) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve()),
        );
      }
      return { pc, sdp: pc.localDescription!.sdp };
    };
    let ready = await prepare();
    socket.onmessage = async ({ data }) => {
      const message = JSON.parse(data as string) as { ask?: true; answer?: string; candidate?: RTCIceCandidateInit };
      if (message.ask) socket.send(JSON.stringify({ offer: ready.sdp }));
      if (message.candidate) await ready.pc.addIceCandidate(message.candidate).catch(() => undefined);
      if (message.answer) await ready.pc.setRemoteDescription({ type: 'answer', sdp: message.answer });
      if ('next' in message) {
        ready = await prepare();
        socket.send(JSON.stringify({ ready: true }));
      }
    };
  },
  server.url,
  relay.url,
);

await joiner.evaluate(
  async (apiUrl, relayUrl) => {
    const { Rondevu } = (await import(`${apiUrl}/rondevu-elements.js`)) as {
      Rondevu: typeof import('../dist/src/index.js').Rondevu;
    };
    const target = { serviceFqn: 'bench:1.0.0@bench' };
    window.rondevu = await Rondevu.connect({ apiUrl });
    const openSocket = (): Promise<WebSocket> =>
      new Promise((resolve) => {
        const socket = new WebSocket(relayUrl);
        socket.onopen = () => resolve(socket);
      });
    const rawJoin = async (socket: WebSocket, start: number): Promise<number> => {
      const pc = new RTCPeerConnection({ iceServers: [] });
      pc.onicecandidate = ({ candidate }) => candidate && socket.send(JSON.stringify({ candidate }));
      const time = await new Promise<number>((resolve) => {
        const channel = pc.createDataChannel('raw', { negotiated: true, id: 1 });
        channel.onopen = () => channel.send('hello');
        channel.onmessage = () => {
          resolve(performance.now() - start);
          channel.close();
        };
        socket.onmessage = async ({ data }) => {
          const { offer } = JSON.parse(data as string) as { offer?: string };
          if (!offer) return;
          await pc.setRemoteDescription({ type: 'offer', sdp: offer });
          await pc.setLocalDescription(await pc.createAnswer());
          socket.send(JSON.stringify({ answer: pc.localDescription!.sdp }));
        };
        socket.send(JSON.stringify({ ask: true }));
      });
      // the next offer is created outside the measured time
      await new Promise<void>((resolve) => {
        socket.onmessage = () => resolve();
        socket.send(JSON.stringify({ next: true }));
      });
      pc.close();
      return time;
    };
    const relaySocket = await openSocket();
    window.raw = () => rawJoin(relaySocket, performance.now());
    window.freshRaw = async () => {
      const start = performance.now();
      const socket = await openSocket();
      const time = await rawJoin(socket, start);
      socket.close();
      return time;
    };
    window.ours = async () => {
      const start = performance.now();
      const connection = await window.rondevu.connectToService(target);
      const time = await new Promise<number>((resolve) => {
        connection.on('message', () => resolve(performance.now() - start));
        connection.send('hello');
      });
      await connection.close();
      return time;
    };
    window.fresh = async () => {
      const start = performance.now();
      const element = document.createElement('rondevu-connect');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, to: target.serviceFqn, identity: 'none' }))
        element.setAttribute(key, value);
      const time = await new Promise<number>((resolve) => {
        element.addEventListener('rondevu-message', () => resolve(performance.now() - start));
        document.body.append(element);
        element.addEventListener('rondevu-open', () => element.send('hello'), { once: true });
      });
      await element.close();
      element.remove();
      return time;
    };
    await window.ours(); // opens the client's socket
  },
  server.url,
  relay.url,
);
await until(() => joiner.evaluate(() => window.rondevu.signalingState === 'push'), 'the push socket');

async function compare(name: string, ours: 'ours' | 'fresh', raw: 'raw' | 'freshRaw'): Promise<number> {
  const ratios: number[] = [];
  const times = { ours: [] as number[], raw: [] as number[] };
  const calls = new Set<string>();
  for (let round = -2; round < rounds; round++) {
    // wait until the pool is full again
    await until(() => host.evaluate(() => document.querySelector('rondevu-service')!.offerCount === 5), 'the pool to be full');
    await joiner.evaluate(() => window.calls.splice(0));
    const mine = await joiner.evaluate((which) => window[which](), ours);
    const seen = await joiner.evaluate(() => window.calls.splice(0));
    const bare = await joiner.evaluate((which) => window[which](), raw);
    if (round < 0) continue; // warm-up
    calls.add(seen.join(', '));
    ratios.push(mine / bare);
    times.ours.push(mine);
    times.raw.push(bare);
  }
  console.log(
    `${name}: ${median(ratios).toFixed(2)} × raw (ours ${median(times.ours).toFixed(1)} ms, raw ${median(times.raw).toFixed(1)} ms, ${rounds} rounds, ${browserName})`,
  );
  for (const list of calls) console.log(`  calls of a join: ${list}`);
  return median(ratios);
}

await compare('warm join, client open', 'ours', 'raw');
await compare('warm join, new client (including creation of keys and sockets)', 'fresh', 'freshRaw');

await browser.close();
await site.close();
relay.close();
await server.close();
