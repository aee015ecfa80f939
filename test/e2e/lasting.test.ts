/**
 * Durable connections: when a link, a tab or the server fails, the surviving peer keeps its connection object and its
 * listeners, and messages sent in the meantime are delivered. Each test repeats one kind of failure many times.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import type { RondevuConnect, RondevuService } from '../../dist/components/index.js';
import { Rondevu } from '../../dist/src/index.js';
import type { BrowserName } from '../support/browsers.ts';
import { ROUNDS, blankPage, openPage } from '../support/site.ts';
import { until } from '../support/until.ts';
import { useServer, useSite, useBrowsers } from '../support/set-up.ts';

/** Test state in global variables of the pages. */
interface TestWindow {
  service: RondevuService;
  join: RondevuConnect;
  /** Received messages. */
  got: string[];
  /** Names of the emitted events, in order. */
  events: string[];
  /** First connection object, which must never be replaced. */
  first: unknown;
}
declare const window: Window & TestWindow;

const site = useSite(() => ({ '/': { body: blankPage(server.url) } }));
const server = useServer();

let count = 0;
const freshName = (): string => `host-${Date.now().toString(36)}-${count++}`;

async function openHost(browser: Browser, username: string): Promise<Page> {
  const page = await openPage(browser, site.url);
  await startHost(page, username);
  return page;
}

async function startHost(page: Page, username: string): Promise<void> {
  await page.evaluate(
    async (apiUrl, name) => {
      const service = document.createElement('rondevu-service');
      window.service = service;
      window.got = [];
      window.events = [];
      for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'chat:1.0.0', username: name }))
        service.setAttribute(key, value);
      for (const type of [
        'rondevu-connection',
        'rondevu-disconnected',
        'rondevu-rotated',
        'rondevu-reconnected',
        'rondevu-left',
      ]) {
        service.addEventListener(type, () => window.events.push(type));
      }
      // each connection object gets a single listener, which must survive every later link
      service.addEventListener('rondevu-connection', (event) => {
        const { connection } = (event as CustomEvent<{ connection: RondevuService['connections'][0] }>).detail;
        window.first ??= connection;
        connection.on('message', (data) => {
          window.got.push(String(data));
          connection.send(`echo ${String(data)}`);
        });
      });
      document.body.append(service);
      await service.ready;
    },
    server.url,
    username,
  );
}

async function openJoiner(browser: Browser, to: string, username?: string): Promise<Page> {
  const page = await openPage(browser, site.url);
  await page.evaluate(
    async (apiUrl, address, name) => {
      const join = document.createElement('rondevu-connect');
      window.join = join;
      window.got = [];
      window.events = [];
      join.setAttribute('api-url', apiUrl);
      join.setAttribute('to', address);
      if (name) join.setAttribute('username', name);
      else join.setAttribute('identity', 'none');
      for (const type of ['rondevu-open', 'rondevu-reconnecting', 'rondevu-rotated', 'rondevu-reconnected', 'rondevu-close']) {
        join.addEventListener(type, () => window.events.push(type));
      }
      document.body.append(join);
      const connection = await join.ready;
      window.first = connection;
      connection.on('message', (data) => window.got.push(String(data)));
    },
    server.url,
    to,
    username,
  );
  return page;
}

const events = (page: Page): Promise<string[]> => page.evaluate(() => window.events.splice(0));

/** Sends a message from the joiner and waits for the host's echo, which shows that both directions work. */
async function roundTrip(joiner: Page, text: string): Promise<void> {
  await joiner.evaluate((message) => window.join.send(message), text);
  await until(() => joiner.evaluate((message) => window.got.includes(`echo ${message}`), text), `the echo of ${text}`);
}

const sameAtJoiner = (page: Page): Promise<boolean> => page.evaluate(() => window.join.connection === window.first);
const sameAtHost = (page: Page): Promise<boolean> =>
  page.evaluate(() => window.service.connections.includes(window.first as never));

for (const name of ['chromium', 'firefox'] as BrowserName[]) {
  describe(`a durable connection in ${name}`, () => {
    const browsers = useBrowsers(name);

    it(`survives ${ROUNDS} closures of the joiner's peer connection behind the engine's back`, async () => {
      const username = freshName();
      const host = await openHost(browsers[name], username);
      const joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await Promise.all([events(host), events(joiner)]);
        await joiner.evaluate((text) => {
          const { connection } = window.join;
          connection!.once('disconnected', () => connection!.send(text));
          connection!.getPeerConnection()!.close();
        }, `down ${round}`);
        await until(
          () => joiner.evaluate((text) => window.got.includes(`echo ${text}`), `down ${round}`),
          `echo of down ${round}`,
        );
        assert.equal(await sameAtJoiner(joiner), true);
        assert.equal(await sameAtHost(host), true);
        const seen = await events(joiner);
        assert.deepEqual(seen, ['rondevu-reconnecting', 'rondevu-rotated', 'rondevu-reconnected']);
        assert.ok((await events(host)).includes('rondevu-rotated'));
      }
      assert.equal(await host.evaluate(() => window.service.connections.length), 1);
      await Promise.all([host.close(), joiner.close()]);
    });

    it(`survives ${ROUNDS} closures of the host's peer connection behind the engine's back`, async () => {
      const username = freshName();
      const host = await openHost(browsers[name], username);
      const joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await Promise.all([events(host), events(joiner)]);
        await host.evaluate((text) => {
          const [connection] = window.service.connections;
          connection!.once('disconnected', () => connection!.send(text));
          connection!.getPeerConnection()!.close();
        }, `from host ${round}`);
        await until(() => joiner.evaluate((text) => window.got.includes(text), `from host ${round}`), `from host ${round}`);
        await roundTrip(joiner, `after ${round}`);
        assert.equal(await sameAtJoiner(joiner), true);
        assert.equal(await sameAtHost(host), true);
        assert.ok((await events(host)).includes('rondevu-rotated'));
      }
      await Promise.all([host.close(), joiner.close()]);
    });

    it(`survives ${ROUNDS} tab crashes of a joiner with a username`, async () => {
      const username = freshName();
      const host = await openHost(browsers[name], username);
      const joinerName = freshName();
      let joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`, joinerName);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await kill(joiner, name);
        await host
          .evaluate((text) => window.service.connections[0]!.send(text), `sent while gone ${round}`)
          .catch(() => undefined);
        joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`, joinerName);
        await roundTrip(joiner, `again ${round}`);
        assert.equal(await sameAtHost(host), true);
        assert.equal(await host.evaluate(() => window.service.connections.length), 1);
      }
      await Promise.all([host.close(), joiner.close()]);
    });

    it(`survives ${ROUNDS} reloads of the host's tab`, async () => {
      const username = freshName();
      const host = await openHost(browsers[name], username);
      const joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await joiner.evaluate((text) => {
          window.join.connection!.once('disconnected', () => window.join.send(text));
        }, `down ${round}`);
        await host.reload();
        await startHost(host, username);
        await until(
          () => joiner.evaluate((text) => window.got.includes(`echo ${text}`), `down ${round}`),
          `echo of down ${round}`,
        );
        assert.equal(await sameAtJoiner(joiner), true);
      }
      await Promise.all([host.close(), joiner.close()]);
    });

    it(`survives ${ROUNDS} tab crashes of the host`, async () => {
      const username = freshName();
      let host = await openHost(browsers[name], username);
      const joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await joiner.evaluate((text) => {
          window.join.connection!.once('disconnected', () => window.join.send(text));
        }, `down ${round}`);
        await kill(host, name);
        host = await openHost(browsers[name], username);
        await until(
          () => joiner.evaluate((text) => window.got.includes(`echo ${text}`), `down ${round}`),
          `echo of down ${round}`,
        );
        assert.equal(await sameAtJoiner(joiner), true);
      }
      await Promise.all([host.close(), joiner.close()]);
    });

    it(`leaves no offer on the server 4 s after the host's tab crashes (${ROUNDS} rounds)`, async () => {
      const asking = await Rondevu.connect({ apiUrl: server.url });
      // a paginated search lists the offers that the server would hand out, without leasing any
      const count = async (fqn: string) => (await asking.findService(fqn, { mode: 'paginated' })).count;
      for (let round = 0; round < ROUNDS; round++) {
        const username = freshName();
        const host = await openHost(browsers[name], username);
        assert.equal(await count(`chat:1.0.0@${username}`), 1);
        await kill(host, name);
        await new Promise((resolve) => setTimeout(resolve, 4000)); // 4 s is the guaranteed maximum, not the typical delay
        assert.equal(await count(`chat:1.0.0@${username}`), 0);
      }
      await asking.close();
    });

    it(`survives ${ROUNDS} kills and restarts of the server with the same database file`, async () => {
      const username = freshName();
      const host = await openHost(browsers[name], username);
      const joiner = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
      await roundTrip(joiner, 'start');
      for (let round = 0; round < ROUNDS; round++) {
        await server.stop('SIGKILL');
        await roundTrip(joiner, `without server ${round}`);
        await server.start();
        // the host publishes its service again without any action by the test, so a new joiner finds it
        const newcomer = await openJoiner(browsers[name], `chat:1.0.0@${username}`);
        await roundTrip(newcomer, `newcomer ${round}`);
        await newcomer.close();
        assert.equal(await sameAtJoiner(joiner), true);
        assert.equal(await joiner.evaluate(() => window.join.connection!.generation), 1);
      }
      await Promise.all([host.close(), joiner.close()]);
    });
  });
}

/** Ends a tab as a crash would: no event handler runs in the page. */
async function kill(page: Page, name: BrowserName): Promise<void> {
  if (name === 'chromium') {
    const session = await page.createCDPSession();
    // the renderer crashes immediately, so this command gets no reply
    session.send('Page.crash').catch(() => undefined);
    await new Promise((resolve) => page.once('error', resolve));
  } else {
    // Firefox has no command that crashes a tab, so the page's unload listeners are suppressed before the tab is closed
    await page.evaluate(() => {
      for (const type of ['pagehide', 'beforeunload', 'unload'])
        addEventListener(type, (event) => event.stopImmediatePropagation(), { capture: true });
    });
  }
  await page.close().catch(() => undefined);
}
