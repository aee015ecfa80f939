/**
 * Tests page lifecycles: a page is restored from the back/forward cache, is frozen and thawed, or stays in the background.
 * `RONDEVU_CHAOS=full` makes 10 trips through the cache, freezes a page for 60 s, and keeps a page in the background for 2
 * minutes.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import type { RondevuConnect } from '../../dist/components/index.js';
import { launch } from '../support/browsers.js';
import { blankPage, openPage } from '../support/site.js';
import { until } from '../support/until.js';
import { useServer, useSite, useBrowsers } from '../support/set-up.js';

const FULL = process.env['RONDEVU_CHAOS'] === 'full';
const TIMES = FULL ? 10 : 2;
const FROZEN = FULL ? 60_000 : 8000;
const BACKGROUND = FULL ? 120_000 : 8000;

interface TestWindow {
  got: string[];
  events: string[];
  shows: { persisted: boolean; at: number }[];
  resumedAt: number;
  first: unknown;
}
declare const window: Window & TestWindow;

const site = useSite(() => ({
  '/': { body: blankPage(server.url) },
  '/away': { body: '<!doctype html><title>away</title>' },
}));
const server = useServer();

async function openHost(browser: Browser, username: string): Promise<Page> {
  const page = await openPage(browser, site.url);
  await page.evaluate(
    async (apiUrl, user) => {
      window.got = [];
      window.events = [];
      const service = document.createElement('rondevu-service');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'chat:1.0.0', username: user }))
        service.setAttribute(key, value);
      service.addEventListener('rondevu-message', (event) =>
        window.got.push(String((event as CustomEvent<{ data: unknown }>).detail.data)),
      );
      for (const type of ['rondevu-disconnected', 'rondevu-reconnected', 'rondevu-left', 'rondevu-connection'])
        service.addEventListener(type, (event) =>
          window.events.push(`${type} ${(event as CustomEvent<{ verdict?: string }>).detail.verdict ?? ''}`.trim()),
        );
      document.body.append(service);
      await service.ready;
    },
    server.url,
    username,
  );
  return page;
}

async function openJoiner(browser: Browser, to: string): Promise<Page> {
  const page = await openPage(browser, site.url);
  await page.evaluate(
    async (apiUrl, address) => {
      window.got = [];
      window.shows = [];
      const join: RondevuConnect = document.createElement('rondevu-connect');
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, to: address, identity: 'none' }))
        join.setAttribute(key, value);
      document.body.append(join);
      const connection = await join.ready;
      window.first = connection;
      connection.on('message', (data) => window.got.push(String(data)));
      connection.on('resumed', () => (window.resumedAt = Date.now()));
      addEventListener('pageshow', ({ persisted }) => window.shows.push({ persisted, at: Date.now() }));
    },
    server.url,
    to,
  );
  return page;
}

const send = (page: Page, text: string): Promise<void> =>
  page.evaluate((message) => {
    const connect = document.querySelector('rondevu-connect');
    if (connect) connect.send(message);
    else document.querySelector('rondevu-service')!.broadcast(message);
  }, text);
const got = (page: Page): Promise<string[]> => page.evaluate(() => window.got);
const sameObject = (page: Page): Promise<boolean> =>
  page.evaluate(() => document.querySelector('rondevu-connect')!.connection === window.first);

describe('a page in chromium', () => {
  const browsers = useBrowsers('chromium');

  it(`resumes without message loss after ${TIMES} trips through the back/forward cache`, { timeout: 600_000 }, async () => {
    const host = await openHost(browsers.chromium, 'cached');
    const joiner = await openJoiner(browsers.chromium, 'chat:1.0.0@cached');
    const expected: string[] = [];
    const delays: number[] = [];
    for (let round = 0; round < TIMES; round++) {
      await send(joiner, `before ${round}`);
      await joiner.goto(`${site.url}/away`);
      await send(host, `while away ${round}`);
      await joiner.evaluate(() => setTimeout(() => history.back(), 300));
      await until(
        () => joiner.evaluate((count) => window.shows?.length === count, round + 1).catch(() => false),
        'the page to be back',
      );
      expected.push(`while away ${round}`);
      await until(async () => (await got(joiner)).length === expected.length, 'what was sent meanwhile');
      const { persisted, delay, reasons } = await joiner.evaluate(() => {
        const last = window.shows.at(-1)!;
        const [entry] = performance.getEntriesByType('navigation') as (PerformanceNavigationTiming & {
          notRestoredReasons?: unknown;
        })[];
        return {
          persisted: last.persisted,
          delay: window.resumedAt - last.at,
          reasons: JSON.stringify(entry?.notRestoredReasons ?? null),
        };
      });
      assert.equal(persisted, true, `the page was not kept: ${reasons}`);
      assert.doesNotMatch(reasons, /webrtc/i);
      delays.push(delay);
      assert.equal(await sameObject(joiner), true);
    }
    assert.deepEqual(await got(joiner), expected);
    await until(async () => (await got(host)).length === TIMES, 'all of the joiner');
    assert.deepEqual(
      await got(host),
      Array.from({ length: TIMES }, (_, round) => `before ${round}`),
    );
    const events = await host.evaluate(() => window.events);
    assert.equal(events.filter((event) => event === 'rondevu-reconnected resumed').length, TIMES, events.join());
    assert.ok(!events.includes('rondevu-left'));
    console.log(`  back/forward cache: resumed ${delays.join(', ')} ms after pageshow`);
    await Promise.all([host.close(), joiner.close()]);
  });

  it(`resumes without message loss after being frozen for ${FROZEN / 1000} s`, { timeout: 600_000 }, async () => {
    const host = await openHost(browsers.chromium, 'frozen');
    const joiner = await openJoiner(browsers.chromium, 'chat:1.0.0@frozen');
    const session = await joiner.createCDPSession();
    await send(joiner, 'before');
    await until(async () => (await got(host)).length === 1, 'the first message');
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    await send(host, 'while frozen');
    await new Promise((resolve) => setTimeout(resolve, FROZEN));
    const thawed = Date.now();
    await session.send('Page.setWebLifecycleState', { state: 'active' });
    await until(async () => (await got(joiner)).length === 1, 'what was sent meanwhile');
    console.log(`  thawed after ${FROZEN} ms: the message was there after ${Date.now() - thawed} ms`);
    await send(joiner, 'after');
    await until(async () => (await got(host)).length === 2, 'the answer');
    assert.deepEqual([await got(joiner), await got(host)], [['while frozen'], ['before', 'after']]);
    assert.equal(await sameObject(joiner), true);
    const events = await host.evaluate(() => window.events);
    assert.ok(!events.some((event) => /left|reset/.test(event)), events.join());
    await Promise.all([host.close(), joiner.close()]);
  });
});

describe('a page in firefox', () => {
  it(`stays connected to its peer during ${BACKGROUND / 1000} s in the background`, { timeout: 600_000 }, async () => {
    // background pages are throttled as usual, unlike in other tests; the peer is in a different browser
    const { default: puppeteer } = await import('puppeteer-core');
    const { launchOptions } = await import('../support/browsers.js');
    const options = launchOptions('firefox');
    const prefs = Object.fromEntries(
      Object.entries(options.extraPrefsFirefox ?? {}).filter(([name]) => !name.startsWith('dom.')),
    );
    const firefox = await puppeteer.launch({ ...options, extraPrefsFirefox: prefs });
    const chromium = await launch('chromium');
    const host = await openHost(chromium, 'patient');
    const joiner = await openJoiner(firefox, 'chat:1.0.0@patient');
    const front = await firefox.newPage();
    await front.bringToFront();
    await new Promise((resolve) => setTimeout(resolve, BACKGROUND));
    assert.deepEqual(await host.evaluate(() => window.events), ['rondevu-connection']);
    await send(host, 'still there');
    await until(async () => (await got(joiner)).includes('still there'), 'the message');
    await Promise.all([firefox.close(), chromium.close()]);
  });
});
