/**
 * Large numbers of joiners: 60 simultaneous joiners that share a pool of 5 offers, 200 joiners in turn, and joiners during an
 * attack that takes offers without answering them. The tests also count the live peer connections from outside the engine, and
 * measure the traffic during an idle minute.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import type { RondevuConnect, RondevuService } from '../../dist/components/index.js';
import { createServer, type RunningServer } from '../../server/dist/index.js';
import { startAttack } from '../support/attack.ts';
import type { BrowserName } from '../support/browsers.ts';
import { blankPage, openPage } from '../support/site.ts';
import { until } from '../support/until.ts';
import { useSite, useBrowsers } from '../support/set-up.ts';

interface TestWindow {
  service: RondevuService;
  joiners: RondevuConnect[];
  /** Peer connections that have not been closed, recorded by a wrapped constructor. */
  live: Set<RTCPeerConnection>;
  most: number;
  /** Number of HTTP requests and WebSocket frames since the last reset. */
  traffic: { requests: number; frames: number };
}
declare const window: Window & TestWindow;

/** Script that counts peer connections and traffic; it runs before any other script in the page. */
const COUNTERS = `
  window.live = new Set(); window.most = 0; window.traffic = { requests: 0, frames: 0 };
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args) { super(...args); window.live.add(this); window.most = Math.max(window.most, window.live.size); }
    close() { window.live.delete(this); super.close(); }
  };
  const nativeFetch = fetch;
  window.fetch = (...args) => { window.traffic.requests++; return nativeFetch(...args); };
  const NativeSocket = WebSocket;
  window.WebSocket = class extends NativeSocket {
    constructor(...args) { super(...args); this.addEventListener('message', () => window.traffic.frames++); }
    send(data) { window.traffic.frames++; super.send(data); }
  };
`;

const site = useSite(() => ({ '/': { body: blankPage(server.url, `<script>${COUNTERS}</script>`) } }));
let server: RunningServer;
before(async () => {
  server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.' });
});
after(() => server.close());

async function openHost(browser: Browser, username: string): Promise<Page> {
  const page = await openPage(browser, site.url);
  await page.evaluate(
    async (apiUrl, name) => {
      const service = document.createElement('rondevu-service');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'crowd:1.0.0', username: name, 'max-offers': '5' }))
        service.setAttribute(key, value);
      document.body.append(service);
      window.service = service;
      window.joiners = [];
      await service.ready;
    },
    server.url,
    username,
  );
  return page;
}

/** Adds joiners to a page and waits until all are connected. */
const join = (page: Page, to: string, count: number): Promise<void> =>
  page.evaluate(
    async (apiUrl, address, many) => {
      window.joiners ??= [];
      const added = Array.from({ length: many }, () => {
        const joiner = document.createElement('rondevu-connect');
        for (const [key, value] of Object.entries({ 'api-url': apiUrl, to: address, identity: 'none' }))
          joiner.setAttribute(key, value);
        window.joiners.push(joiner);
        document.body.append(joiner);
        return joiner.ready;
      });
      await Promise.all(added);
    },
    server.url,
    to,
    count,
  );

/** Number of connected joiners in a page; on a busy machine, some joiners may be replacing a lost link. */
const connected = (page: Page): Promise<number> =>
  page.evaluate(() => window.joiners.filter(({ state }) => state === 'connected').length);

for (const name of ['chromium', 'firefox'] as BrowserName[]) {
  describe(`many joiners in ${name}`, () => {
    const browsers = useBrowsers(name);

    it('connects 60 simultaneous joiners through a pool of 5 offers', async () => {
      const host = await openHost(browsers[name], `crowd-${name}`);
      const page = await openPage(browsers[name], site.url);
      await join(page, `crowd:1.0.0@crowd-${name}`, 60);
      await until(() => host.evaluate(() => window.service.peerCount === 60), '60 peers at the host');
      await until(async () => (await connected(page)) === 60, '60 connected joiners');
      assert.ok((await host.evaluate(() => window.most)) <= 256);
      await Promise.all([host.close(), page.close()]);
    });

    it('connects 200 joiners in turn without accumulating peer connections', async () => {
      const host = await openHost(browsers[name], `turns-${name}`);
      const page = await openPage(browsers[name], site.url);
      for (let turn = 0; turn < 200; turn++) {
        await join(page, `crowd:1.0.0@turns-${name}`, 1);
        // keep at most ten joiners: close the oldest
        await page.evaluate(async () => {
          if (window.joiners.length > 10) await window.joiners.shift()!.close();
        });
      }
      const [hostMost, joinMost] = [await host.evaluate(() => window.most), await page.evaluate(() => window.most)];
      assert.ok(
        hostMost < 256 && joinMost < 256,
        `at most 256 live peer connections, the host had ${hostMost}, the joiners ${joinMost}`,
      );
      await until(() => host.evaluate(() => window.service.connections.length === 10), 'the host to drop closed connections');
      await until(() => host.evaluate(() => window.live.size <= 20), 'peer connections of the host to be closed');
      await Promise.all([host.close(), page.close()]);
    });
  });
}

describe('a host and its joiners', () => {
  const browsers = useBrowsers('chromium');

  it('idle peers make no HTTP requests and exchange at most 8 WebSocket frames per minute', async () => {
    const host = await openHost(browsers.chromium, 'idle');
    const page = await openPage(browsers.chromium, site.url);
    await join(page, 'crowd:1.0.0@idle', 1);
    await until(() => host.evaluate(() => window.service.offerCount === 5), 'the pool to be full again');
    // the handshake is complete once there has been no traffic for a second
    const quiet = async (): Promise<boolean> => {
      const look = () => Promise.all([host, page].map((each) => each.evaluate(() => JSON.stringify(window.traffic))));
      const first = await look();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return String(await look()) === String(first);
    };
    await until(quiet, 'the traffic to settle');
    await Promise.all([host, page].map((each) => each.evaluate(() => (window.traffic = { requests: 0, frames: 0 }))));
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    for (const each of [host, page]) {
      const { requests, frames } = await each.evaluate(() => window.traffic);
      assert.equal(requests, 0);
      assert.ok(frames <= 8, `at most 8 frames, got ${frames}`);
      assert.ok(frames > 0, 'expected at least one heartbeat frame');
    }
    await Promise.all([host.close(), page.close()]);
  });

  it('joiners connect while an attacker requests 50 offers per second from one address', async (t) => {
    const host = await openHost(browsers.chromium, 'attacked');
    const page = await openPage(browsers.chromium, site.url);
    const attack = await startAttack(server.url, 'crowd:1.0.0@attacked');
    t.after(() => attack.stop());
    await until(() => attack.asked > 20, 'the attack to start');
    await join(page, 'crowd:1.0.0@attacked', 20);
    await until(async () => (await connected(page)) === 20, '20 connected joiners');
    await Promise.all([host.close(), page.close()]);
  });
});
