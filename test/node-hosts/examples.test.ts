/** Runs the programs in examples/ unchanged, with a page or a program as the peer, and stops them with a signal. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { Page } from 'puppeteer-core';
import { connect } from '../../dist/src/node/index.js';
import { start, type Program } from '../support/program.js';
import { blankPage, openPage } from '../support/site.js';
import { until } from '../support/until.js';
import { temporaryFolder } from '../support/folders.js';
import { useServer, useBrowsers, serveFor } from '../support/set-up.js';

const browsers = useBrowsers('chromium');
const server = useServer();
const folder = temporaryFolder();

const run = (t: TestContext, args: string[], name: string, more: Record<string, string> = {}): Program =>
  start(t, process.execPath, args, {
    env: { RONDEVU_SERVER: server.url, BOT_NAME: name, BOT_KEY: join(folder, `${name}.key`), ...more },
  });

/** Number of free offers that the server lists for a service. */
async function countFree(t: TestContext, service: string): Promise<number> {
  const rondevu = await connect({ apiUrl: server.url });
  t.after(() => rondevu.close());
  return (await rondevu.discoverServices(service)).count;
}

const chatPage = (to: string) =>
  blankPage(
    server.url,
    `<rondevu-connect api-url="${server.url}" to="${to}"><rondevu-chat></rondevu-chat></rondevu-connect>
     <script>
       window.said = [];
       addEventListener('rondevu-chat-message', ({ detail }) => said.push([detail.from, detail.text, detail.own]));
     </script>`,
  );

const stateOf = (page: Page): Promise<string> => page.evaluate(() => document.querySelector('rondevu-connect')!.state);

for (const [file, left] of [
  // a raw channel sends no goodbye message, so the page detects the lost link and searches for the bot
  ['chat-bot.mjs', /^(disconnected|reconnecting|closed)$/],
  ['chat-bot-short.mjs', /^closed$/],
] as const) {
  test(`${file} chats with a page and shuts down cleanly`, async (t) => {
    const name = file.replace('.mjs', '');
    const bot = run(t, [`examples/${file}`], name);
    await until(async () => (await countFree(t, `chat:2.0.0@${name}`)) === 1, 'the bot to publish');
    const page = await openPage(browsers.chromium, await serveFor(t, { '/': { body: chatPage(`chat:2.0.0@${name}`) } }));
    await until(async () => (await stateOf(page)) === 'connected', 'the page to be connected');
    await page.evaluate(() => document.querySelector('rondevu-chat')!.send('hello'));
    const said = () => page.evaluate(() => (window as unknown as { said: unknown[][] }).said);
    await until(async () => (await said()).length >= 2, 'the answer of the bot');
    assert.deepEqual(await said(), [
      ['', 'hello', true],
      [name, 'You said: hello', false],
    ]);
    // record when the page first shows that the bot has left
    await page.evaluate(() => {
      const listen = (): void =>
        void ((window as unknown as { goneAt: number }).goneAt = performance.timeOrigin + performance.now());
      document.querySelector('rondevu-connect')!.addEventListener('rondevu-state', listen, { once: true });
    });
    const asked = performance.timeOrigin + performance.now();
    bot.child.kill('SIGINT');
    const goneAt = () => page.evaluate(() => (window as unknown as { goneAt?: number }).goneAt);
    await until(goneAt, 'the page to show that it left');
    assert.deepEqual(await bot.ended, [0, null], bot.output());
    t.diagnostic(`the page shows that it left after ${((await goneAt())! - asked).toFixed(0)} ms`);
    assert.match(await stateOf(page), left);
    assert.equal(await countFree(t, `chat:2.0.0@${name}`), 0, 'no offer is left');
    await page.close();
  });
}

test('data-processor.mjs streams numbers with back-pressure in both directions', async (t) => {
  const host = run(t, ['examples/data-processor.mjs'], 'mean');
  await until(() => host.output().includes('mean:1.0.0@mean is live'), 'the processor to be live');
  const sender = run(t, ['examples/data-processor.mjs', 'join', 'mean:1.0.0@mean'], 'x', { NUMBERS: '1000000' });
  assert.deepEqual(await sender.ended, [0, null], sender.output());
  assert.match(sender.output(), /1000000 numbers, mean 499999\.5/);
  await until(() => /1000000 numbers, closed by the peer/.test(host.output()), 'the host to see the end');
  host.child.kill('SIGINT');
  assert.deepEqual(await host.ended, [0, null]);
});

test('graceful-shutdown.mjs sends a last message, and withdraws its offers before it exits', async (t) => {
  const clock = run(t, ['examples/graceful-shutdown.mjs'], 'clock');
  await until(() => clock.output().includes('is live'), 'the clock to be live');
  const rondevu = await connect({ apiUrl: server.url });
  t.after(() => rondevu.close());
  const connection = await rondevu.connectToService({ service: 'clock:1.0.0', wait: 5000 });
  const got: unknown[] = [];
  connection.on('message', (data) => got.push(data));
  await until(() => got.length > 0, 'a tick');
  clock.child.kill('SIGTERM');
  assert.deepEqual(await clock.ended, [0, null], clock.output());
  await until(() => connection.getState() === 'closed', 'the connection to close');
  assert.equal(got.at(-1), 'goodbye');
  assert.equal(await countFree(t, 'clock:1.0.0'), 0);
});
