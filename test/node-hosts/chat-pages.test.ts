/**
 * A terminal and a page in one chat, either as the host: `rondevu host` and `rondevu connect` with each WebRTC package, <rondevu-chat> in
 * each browser. RONDEVU_HOSTS=full is all of them.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import { NODE_PLACES } from '../chaos/ends.js';
import { launch, type BrowserName } from '../support/browsers.js';
import { start, type Program } from '../support/program.js';
import { ServerProcess, blankPage, openPage, serveFiles, until } from '../support/site.js';

const FULL = process.env['RONDEVU_HOSTS'] === 'full';
const PACKAGES = FULL ? Object.values(NODE_PLACES) : [NODE_PLACES.datachannel];
const BROWSERS: BrowserName[] = FULL ? ['chromium', 'firefox'] : ['chromium'];

const server = new ServerProcess();
const folder = mkdtempSync(join(tmpdir(), 'rondevu-chat-'));
before(() => server.start());
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

let count = 0;
const terminal = (t: TestContext, webrtc: string, args: string[]): Program =>
  start(
    t,
    process.execPath,
    ['dist/src/cli/main.js', ...args, '--webrtc', webrtc, '--key-file', join(folder, `${++count}.key`)],
    { env: { RONDEVU_SERVER: server.url } },
  );

const heard = (page: Page): Promise<string[]> => page.evaluate(() => (window as unknown as { heard: string[] }).heard);
const say = (page: Page, text: string): Promise<boolean> =>
  page.evaluate((words) => document.querySelector('rondevu-chat')!.send(words), text);

for (const name of BROWSERS) {
  describe(`a terminal and ${name}`, () => {
    let browser: Browser;
    before(async () => {
      browser = await launch(name);
    });
    after(() => browser.close());

    async function open(t: TestContext, tag: string): Promise<Page> {
      const listen = `<script>
        window.heard = [];
        addEventListener('rondevu-chat-message', ({ detail }) => detail.own || heard.push(detail.from + ': ' + detail.text));
      </script>`;
      const site = await serveFiles(() => ({ '/': { body: blankPage(server.url, tag + listen) } }));
      t.after(() => site.close());
      const page = await openPage(browser, site.url);
      t.after(() => page.close());
      return page;
    }

    for (const webrtc of PACKAGES) {
      test(`${webrtc} hosts`, async (t) => {
        const username = `host${count}${name}`;
        const host = terminal(t, webrtc, ['host', 'chat:1.0.0', '--username', username]);
        await until('the host', () => host.output().includes('is live'));
        const page = await open(
          t,
          `<rondevu-connect api-url="${server.url}" to="chat:1.0.0@${username}"><rondevu-chat></rondevu-chat></rondevu-connect>`,
        );
        await until('the page to have joined', () => host.output().includes('joined'));
        await say(page, 'hello from a page');
        await until('the terminal to show it', () => host.output().includes('hello from a page'));
        host.child.stdin!.write('hello from a terminal\n');
        await until('the page to show it', async () => (await heard(page)).length > 0);
        assert.deepEqual(await heard(page), [`${username}: hello from a terminal`]);
        host.child.kill('SIGINT');
        assert.deepEqual(await host.ended, [0, null]);
        await until('the page to show that it left', () =>
          page.evaluate(() => document.querySelector('rondevu-connect')!.state === 'closed'),
        );
      });

      test(`${webrtc} joins`, async (t) => {
        const username = `page${count}${name}`;
        const page = await open(
          t,
          `<rondevu-service api-url="${server.url}" username="${username}" service="chat:1.0.0"><rondevu-chat></rondevu-chat></rondevu-service>`,
        );
        await until('the page to be live', () =>
          page.evaluate(() => document.querySelector('rondevu-service')!.state === 'live'),
        );
        const joiner = terminal(t, webrtc, ['connect', `chat:1.0.0@${username}`, '--username', `joiner${count}`]);
        await until('the terminal to be connected', () => joiner.output().includes(`connected to ${username}`));
        joiner.child.stdin!.write('hello from a terminal\n');
        await until('the page to show it', async () => (await heard(page)).length > 0);
        assert.match((await heard(page))[0]!, /^joiner\d+: hello from a terminal$/);
        await say(page, 'hello from a page');
        await until('the terminal to show it', () => joiner.output().includes(`${username}: hello from a page`));
        joiner.child.stdin!.end();
        assert.deepEqual(await joiner.ended, [0, null]);
      });
    }
  });
}
