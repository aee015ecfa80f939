/**
 * Rotates a connection many times: the page creates one peer connection after another and must not leak memory, listeners or
 * peer connections. A wrapped constructor counts the peer connections; the browser measures the heap. RONDEVU_CHAOS=full makes
 * 1000 rotations.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Browser, CDPSession, Page } from 'puppeteer-core';
import type { RondevuConnect, RondevuService } from '../../dist/components/index.js';
import type { BrowserName } from '../support/browsers.js';
import { blankPage, openPage } from '../support/site.js';
import { until } from '../support/until.js';
import { useServer, useSite, useBrowsers } from '../support/set-up.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const ROTATIONS = Number(process.env['CHAOS_ROUNDS'] ?? (FULL ? 1000 : 60));
const CAP = 256;

interface TestWindow {
  /** Open peer connections, their maximum number, the number created, and errors thrown by the constructor. */
  live: Set<RTCPeerConnection>;
  most: number;
  made: number;
  thrown: string[];
  got: number;
}
declare const window: Window & TestWindow;

const COUNTERS = `<script>
  window.live = new Set(); window.most = 0; window.made = 0; window.thrown = []; window.got = 0;
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      try { super(...args); } catch (error) { window.thrown.push(String(error)); throw error; }
      window.made++; window.live.add(this);
      window.most = Math.max(window.most, window.live.size);
    }
    close() { window.live.delete(this); super.close(); }
  };
</script>`;

const site = useSite(() => ({ '/': { body: blankPage(server.url, COUNTERS) } }));
const server = useServer();

/** Heap size of the page, in bytes, and its number of listeners, after a forced garbage collection. */
async function measure(session: CDPSession): Promise<{ heap: number; listeners: number }> {
  for (let i = 0; i < 3; i++) {
    await session.send('HeapProfiler.collectGarbage');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { metrics } = await session.send('Performance.getMetrics');
  return { heap: usedSize, listeners: metrics.find(({ name }) => name === 'JSEventListeners')!.value };
}

for (const name of ['chromium', 'firefox'] as BrowserName[]) {
  describe(`a connection rotated ${ROTATIONS} times in ${name}`, () => {
    const browsers = useBrowsers(name);

    it('leaks no memory, listeners or peer connections', { timeout: 1_800_000 }, async () => {
      // each run uses new pages, so that no garbage collection is forced between rotations
      const early = await rotate(browsers[name], name, ROTATIONS / 5);
      const late = await rotate(browsers[name], name, ROTATIONS);
      if (!early || !late) return;
      console.log(
        `  heap after ${ROTATIONS / 5}: ${early.heap}, after ${ROTATIONS}: ${late.heap}; listeners ${early.listeners} and ${late.listeners}`,
      );
      assert.ok(late.heap - early.heap <= 1_048_576, `${late.heap - early.heap} bytes more`);
      assert.equal(late.listeners, late.listenersAtStart);
    });
  });
}

async function rotate(
  browser: Browser,
  name: BrowserName,
  rounds: number,
): Promise<{ heap: number; listeners: number; listenersAtStart: number } | undefined> {
  const [host, joiner] = [await openPage(browser, site.url), await openPage(browser, site.url)];
  const username = `rotate-${name}-${rounds}`;
  await host.evaluate(
    async (apiUrl, user) => {
      const service = document.createElement('rondevu-service');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'chat:1.0.0', username: user }))
        service.setAttribute(key, value);
      service.addEventListener('rondevu-message', () => window.got++);
      document.body.append(service);
      await service.ready;
    },
    server.url,
    username,
  );
  await joiner.evaluate(
    async (apiUrl, to) => {
      const join = document.createElement('rondevu-connect');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, to, identity: 'none' })) join.setAttribute(key, value);
      document.body.append(join);
      await join.ready;
    },
    server.url,
    `chat:1.0.0@${username}`,
  );
  const session = name === 'chromium' ? await host.createCDPSession() : undefined;
  await session?.send('Performance.enable');
  const listenersAtStart = session ? (await measure(session)).listeners : 0;
  for (let round = 1; round <= rounds; round++) {
    const side: Page = round % 2 ? joiner : host;
    await side.evaluate(() => {
      const [element] = document.querySelectorAll<RondevuConnect | RondevuService>('rondevu-connect, rondevu-service');
      const connection = 'connections' in element! ? element.connections[0]! : element!.connection!;
      connection.getPeerConnection()!.close();
    });
    await joiner.evaluate((text) => {
      document.querySelector('rondevu-connect')!.send(text);
    }, `round ${round}`);
    await until(() => host.evaluate((count) => window.got === count, round), `the message of round ${round}`);
    if (round % 100 === 0)
      console.log(`  ${name}: ${round} rotations, ${await host.evaluate(() => window.made)} peer connections made`);
  }
  for (const page of [host, joiner]) {
    const { most, thrown } = await page.evaluate(() => ({ most: window.most, thrown: window.thrown }));
    assert.deepEqual(thrown, []);
    assert.ok(most <= CAP, `at most ${CAP} live peer connections, got ${most}`);
  }
  assert.equal(await host.evaluate(() => document.querySelector('rondevu-service')!.connections.length), 1);
  const measured = session && { ...(await measure(session)), listenersAtStart };
  await Promise.all([host.close(), joiner.close()]);
  return measured;
}
