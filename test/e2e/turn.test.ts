/**
 * Tests `relay-only` with a real coturn and credentials from the server's `getIceServers` that expire while the connection is
 * open. The engine renews the credentials, so an ICE restart after each expiry finds new relays; without new credentials, the
 * restart finds no relays. RONDEVU_TURN_TTL sets the lifetime of the credentials in seconds; the full run uses 60.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Page } from 'puppeteer-core';
import type { RondevuConnect, RondevuService } from '../../dist/components/index.js';
import type { RondevuConnection } from '../../dist/src/index.js';
import { DEFAULT_TURN, createServer } from '../../server/dist/index.js';
import type { BrowserName } from '../support/browsers.ts';
import { coturnMissing, machineAddress, startCoturn } from '../support/coturn.ts';
import { blankPage, openPage } from '../support/site.ts';
import { until } from '../support/until.ts';
import { launchFor, serveFor } from '../support/set-up.ts';

interface TestWindow {
  element: RondevuConnect | RondevuService;
  connection: RondevuConnection;
  got: string[];
}
declare const window: Window & TestWindow;

const TTL = Number(process.env['RONDEVU_TURN_TTL'] ?? 8);
const SECRET = 'the secret of the coturn of this test';

/** @param renewals maximum number of TURN credentials per key per hour */
async function startPair(t: TestContext, names: [BrowserName, BrowserName], renewals: number): Promise<[Page, Page]> {
  const address = machineAddress();
  const coturn = await startCoturn(t, [SECRET], address);
  const turn = {
    ...DEFAULT_TURN,
    urls: [`turn:${address}:${coturn.port}?transport=udp`],
    secrets: [SECRET],
    ttl: TTL,
    perKey: renewals,
  };
  const server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.', turn });
  const url = await serveFor(t, { '/': { body: blankPage(server.url) } });
  const pages = await Promise.all(names.map(async (name) => openPage(await launchFor(t, name), url)));
  t.after(() => server.close());
  const open = (page: Page, tag: string, attributes: Record<string, string>): Promise<void> =>
    page.evaluate(
      (name, all) => {
        const element = document.createElement(name) as RondevuConnect;
        for (const [key, value] of Object.entries(all)) element.setAttribute(key, value);
        window.got = [];
        for (const type of ['rondevu-connection', 'rondevu-open']) {
          element.addEventListener(type, (event) => {
            window.connection = (event as CustomEvent<{ connection: RondevuConnection }>).detail.connection;
            window.connection.on('message', (data) => window.got.push(String(data)));
          });
        }
        document.body.append(element);
        window.element = element;
      },
      tag,
      attributes,
    );
  const common = { 'api-url': server.url, 'ice-servers': 'relay-only', identity: 'none' };
  const [host, joiner] = pages as [Page, Page];
  await open(host, 'rondevu-service', { ...common, service: 'relayed:1.0.0', username: 'relayed' });
  await host.evaluate(async () => void (await window.element.ready));
  await open(joiner, 'rondevu-connect', { ...common, to: 'relayed:1.0.0@relayed' });
  await until(
    async () =>
      (await Promise.all([host, joiner].map((page) => page.evaluate(() => window.connection?.isConnected())))).every(Boolean),
    'both to be connected',
  );
  return [host, joiner];
}

/** Ports of the page's local relay candidates that belong to a succeeded candidate pair. */
const relays = (page: Page): Promise<number[]> =>
  page.evaluate(async () => {
    const all = [...(await window.connection.getPeerConnection()!.getStats()).values()] as Record<string, unknown>[];
    const good = all.filter(({ type, state }) => type === 'candidate-pair' && state === 'succeeded');
    return all
      .filter(
        ({ id, type, candidateType }) =>
          type === 'local-candidate' && candidateType === 'relay' && good.some((pair) => pair['localCandidateId'] === id),
      )
      .map(({ port }) => Number(port));
  });

let said = 0;
async function chat(pages: [Page, Page]): Promise<void> {
  for (const [from, to] of [pages, [...pages].reverse()] as [Page, Page][]) {
    const text = `message ${++said}`;
    await from.evaluate((data) => void window.connection.send(data), text);
    await until(() => to.evaluate((data) => window.got.includes(data), text), `"${text}" to arrive`);
  }
}

/** Forces an ICE restart. @returns whether both peers found a working path over new relays within `ms` milliseconds */
async function restarts(pages: [Page, Page], ms: number): Promise<boolean> {
  const before = await Promise.all(pages.map(relays));
  await pages[0].evaluate(() => window.connection.restartIce());
  const end = Date.now() + ms;
  while (Date.now() < end) {
    const now = await Promise.all(pages.map(relays));
    if (now.every((ports, index) => ports.some((port) => !before[index]!.includes(port)))) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

const PAIRS: [BrowserName, BrowserName][] = [
  ['chromium', 'chromium'],
  ['firefox', 'chromium'],
];

describe('relay-only through coturn', { skip: coturnMissing() ?? false }, () => {
  for (const names of PAIRS) {
    it(
      `restarts ICE between ${names.join(' and ')} after the TURN credentials expire (lifetime ${TTL} s)`,
      { timeout: 400_000 },
      async (t) => {
        const pages = await startPair(t, names, 60);
        const begun = Date.now();
        await chat(pages);
        const generation = await pages[1].evaluate(() => window.connection.generation);
        const stats = await pages[1].evaluate(async () => (await window.connection.getStats())!.path);
        assert.equal(stats, 'relay');
        for (const expiry of [1, 2]) {
          // wait until two seconds after the expiry, because coturn counts in whole seconds
          await pause(begun + (expiry * TTL + 2) * 1000 - Date.now());
          assert.ok(await restarts(pages, 60_000), `the restart after ${expiry} ends found new relays`);
          await chat(pages);
        }
        assert.equal(await pages[1].evaluate(() => window.connection.generation), generation, 'the link must not be replaced');
      },
    );
  }

  // in Firefox 153, an ICE restart by Chromium over relays sometimes fails; a new link then replaces the old one
  it(
    `loses no message between chromium and firefox when TURN credentials expire twice (lifetime ${TTL} s)`,
    { timeout: 400_000 },
    async (t) => {
      const pages = await startPair(t, ['chromium', 'firefox'], 60);
      const begun = Date.now();
      const session = await pages[1].evaluate(() => window.connection.sessionId);
      for (const expiry of [1, 2]) {
        await chat(pages);
        await pause(begun + (expiry * TTL + 2) * 1000 - Date.now());
        await pages[0].evaluate(() => window.connection.restartIce());
      }
      await chat(pages);
      assert.equal(await pages[1].evaluate(() => window.connection.sessionId), session);
      const all = await Promise.all(pages.map((page) => page.evaluate(() => window.got.length)));
      assert.deepEqual(all, [3, 3]);
    },
  );

  it(
    `an ICE restart finds no relay if expired credentials are not renewed (lifetime ${TTL} s)`,
    { timeout: 400_000 },
    async (t) => {
      const pages = await startPair(t, ['chromium', 'chromium'], 1);
      await chat(pages);
      await pause((TTL + 2) * 1000);
      assert.equal(await restarts(pages, 12_000), false);
    },
  );
});
