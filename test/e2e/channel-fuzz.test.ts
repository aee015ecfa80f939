/**
 * Joiners in Node send arbitrary input to a host in a page over real data channels. Invalid input ends only the connection on
 * which it arrives, with a single error, and every message from an honest joiner arrives exactly once. CHANNEL_FUZZ_RUNS sets
 * the number of inputs per browser, FUZZ_SEED replays a run, and FUZZ_BROWSERS=chromium,… selects browsers.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import { connect, type RondevuConnection } from '../../dist/src/node/index.js';
import type { Rondevu } from '../../dist/src/index.js';
import { Grammar, sendHostile, type RawLink } from '../delivery/fuzz-grammar.js';
import { launch, type BrowserName } from '../support/browsers.js';
import { Random, seedOf } from '../support/random.js';
import { blankPage } from '../support/site.js';
import { until } from '../support/until.js';
import { useServer, useSite } from '../support/set-up.js';

/** Number of inputs in a CI run. */
const USUAL = 300;
const RUNS = Number(process.env['CHANNEL_FUZZ_RUNS'] ?? USUAL);
const SEED = seedOf('FUZZ_SEED', RUNS > USUAL);
const BROWSERS = (process.env['FUZZ_BROWSERS'] ?? 'chromium,firefox').split(',') as BrowserName[];
/** Maximum number of inputs per connection; most connections end earlier. */
const EACH = 100;
/** Number of simultaneous hostile joiners. */
const LANES = 4;
const TARGET = { serviceFqn: 'chat:1.0.0@alice', wait: 30_000, connectionConfig: { reconnectEnabled: false } };

/** Counters that the host page updates during the test. */
interface Counts {
  opened: number;
  ended: number;
  /** Connections that ended with an error. */
  failed: number;
  /** Errors reported by each connection that reported more than one. */
  moreErrors: string[][];
  fromCarol: unknown[];
}
declare const window: Window & { counts: Counts };

const site = useSite(() => ({ '/': { body: blankPage(server.url) }, '/favicon.ico': { body: '' } }));
const server = useServer();

async function host(browser: Browser, username: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.evaluateOnNewDocument('globalThis.__name = (f) => f');
  await page.goto(site.url);
  await page.evaluate(
    async (apiUrl, name) => {
      const counts: Counts = { opened: 0, ended: 0, failed: 0, moreErrors: [], fromCarol: [] };
      window.counts = counts;
      const { Rondevu: Engine } = (await import(`${apiUrl}/rondevu-elements.js`)) as { Rondevu: typeof Rondevu };
      const rondevu = await Engine.connect({ apiUrl, username: name });
      const pool = await rondevu.publishService({
        service: 'chat:1.0.0',
        maxOffers: 8,
        connectionConfig: { reconnectEnabled: false },
      });
      pool.on('connection:opened', (_id, connection) => {
        const isCarol = connection.peer!.username.startsWith('carol');
        counts.opened++;
        const errors: string[] = [];
        connection.on('message', (data) => isCarol && counts.fromCarol.push(data));
        connection.on('failed', ({ code, message }) => {
          errors.push(`${code}: ${message}`);
          if (errors.length === 1) counts.failed++;
          if (errors.length === 2) counts.moreErrors.push(errors);
          void connection.close();
        });
        connection.on('closed', () => counts.ended++);
      });
      await pool.start();
    },
    server.url,
    username,
  );
  return { page, errors };
}

/** Size of the used heap after a garbage collection, in bytes; 0 in Firefox, which does not report it. */
async function heap(name: BrowserName, page: Page): Promise<number> {
  if (name !== 'chromium') return 0;
  const session = await page.createCDPSession();
  await session.send('HeapProfiler.collectGarbage');
  await session.detach();
  return (await page.metrics()).JSHeapUsedSize ?? 0;
}

describe(`channel fuzzing with ${RUNS} hostile inputs (seed ${SEED})`, { timeout: 7_200_000 }, () => {
  for (const name of BROWSERS) {
    it(`keeps an honest connection working while other joiners send hostile input to a host in ${name}`, async () => {
      const alice = `alice-${name}`;
      const target = { ...TARGET, serviceFqn: `chat:1.0.0@${alice}` };
      const browser = await launch(name);
      const closing: { close(): unknown }[] = [];
      const join = async (username: string): Promise<() => Promise<RondevuConnection>> => {
        const rondevu = await connect({ apiUrl: server.url, username });
        closing.push(rondevu);
        return async () => {
          const connection = await rondevu.connectToService(target);
          await connection.opened;
          return connection;
        };
      };
      try {
        const { page, errors } = await host(browser, alice);
        const honest = await (await join(`carol-${name}`))();
        const random = new Random(SEED);
        let done = 0;
        let sent = 0;
        let connections = 0;
        let early = 0;
        let late = 0;
        const lane = async (index: number): Promise<void> => {
          const connectAsMallory = await join(`mallory-${name}-${index}`);
          const grammar = new Grammar(random);
          while (done < RUNS) {
            let connection: RondevuConnection;
            try {
              connection = await connectAsMallory();
            } catch (error) {
              // node-datachannel and Firefox sometimes fail to connect to each other in time, and reconnecting is disabled
              assert.ok(++late <= 5 + connections / 10, String(error));
              continue;
            }
            const { link } = connection as unknown as { link: RawLink & { readonly isOpen: boolean } };
            try {
              for (let i = 0; i < EACH && done < RUNS && connection.isConnected() && link.isOpen; i++, done++) {
                sendHostile(link, random, grammar, i + 1);
                if (i % 5 === 4) await new Promise((resolve) => setTimeout(resolve, 5));
              }
            } catch (error) {
              // if the page has closed the channel, node-datachannel throws before it emits the close event
              assert.match(String(error), /libdatachannel error while sending/);
            }
            assert.equal(await honest.send(`${sent++}`).delivered, 'delivered');
            await connection.close();
            if (++connections === 50) early = await heap(name, page);
            if (RUNS > 2000 && connections % 100 === 0) console.log(`  ${name}: ${done} of ${RUNS}`);
          }
        };
        await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)));
        const counts = (): Promise<Counts> => page.evaluate(() => window.counts);
        await until(async () => {
          const { opened, ended } = await counts();
          return ended === opened - 1;
        }, 'every hostile connection to end');
        const { opened, failed, moreErrors, fromCarol } = await counts();
        const grown = early ? (await heap(name, page)) - early : 0;
        console.log(
          `${name}: ${done} inputs, ${connections} connections, ${failed} ended with an error, heap ${(grown / 1e6).toFixed(1)} MB more`,
        );
        assert.ok(opened > connections, `${opened} connections at the host`);
        assert.deepEqual(
          fromCarol.map(Number),
          Array.from({ length: sent }, (_, i) => i),
        );
        assert.ok(failed > 0, 'the inputs must reach the checks');
        assert.deepEqual(moreErrors, [], 'a connection ends with one error');
        assert.deepEqual(errors, [], 'uncaught in the page');
        assert.ok(grown < 20_000_000, `${grown} bytes more`);
      } finally {
        await Promise.all(closing.map((each) => each.close()));
        await browser.close();
      }
    });
  }
});
