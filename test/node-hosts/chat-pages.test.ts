/**
 * Chats between a terminal and a page, with either of them as the host: `rondevu host` and `rondevu connect` with each WebRTC
 * package, and <rondevu-chat> in each browser. RONDEVU_HOSTS=full runs all combinations.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import type { Page } from 'puppeteer-core';
import { NODE_PLACES } from '../chaos/ends.js';
import type { BrowserName } from '../support/browsers.js';
import { start, type Program } from '../support/program.js';
import { blankPage, openPage } from '../support/site.js';
import { until } from '../support/until.js';
import { temporaryFolder } from '../support/folders.js';
import { useServer, useBrowsers, serveFor } from '../support/set-up.js';

const FULL = process.env['RONDEVU_HOSTS'] === 'full';
const PACKAGES = FULL ? Object.values(NODE_PLACES) : [NODE_PLACES.datachannel];
const BROWSERS: BrowserName[] = FULL ? ['chromium', 'firefox'] : ['chromium'];

const server = useServer();
const folder = temporaryFolder();

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
  describe(`a chat between a terminal and a page in ${name}`, () => {
    const browsers = useBrowsers(name);

    async function open(t: TestContext, tag: string): Promise<Page> {
      const listen = `<script>
        window.heard = [];
        addEventListener('rondevu-chat-message', ({ detail }) => detail.own || heard.push(detail.from + ': ' + detail.text));
      </script>`;
      const url = await serveFor(t, { '/': { body: blankPage(server.url, tag + listen) } });
      const page = await openPage(browsers[name], url);
      t.after(() => page.close());
      return page;
    }

    for (const webrtc of PACKAGES) {
      test(`a terminal that hosts with ${webrtc} chats with a page`, async (t) => {
        const username = `host${count}${name}`;
        const host = terminal(t, webrtc, ['host', 'chat:1.0.0', '--username', username]);
        await until(() => host.output().includes('is live'), 'the host');
        const page = await open(
          t,
          `<rondevu-connect api-url="${server.url}" to="chat:1.0.0@${username}"><rondevu-chat></rondevu-chat></rondevu-connect>`,
        );
        await until(() => host.output().includes('joined'), 'the page to have joined');
        await say(page, 'hello from a page');
        await until(() => host.output().includes('hello from a page'), 'the terminal to show it');
        host.child.stdin!.write('hello from a terminal\n');
        await until(async () => (await heard(page)).length > 0, 'the page to show it');
        assert.deepEqual(await heard(page), [`${username}: hello from a terminal`]);
        host.child.kill('SIGINT');
        assert.deepEqual(await host.ended, [0, null]);
        await until(
          () => page.evaluate(() => document.querySelector('rondevu-connect')!.state === 'closed'),
          'the page to show that it left',
        );
      });

      test(`a terminal that joins with ${webrtc} chats with a page`, async (t) => {
        const username = `page${count}${name}`;
        const page = await open(
          t,
          `<rondevu-service api-url="${server.url}" username="${username}" service="chat:1.0.0"><rondevu-chat></rondevu-chat></rondevu-service>`,
        );
        await until(
          () => page.evaluate(() => document.querySelector('rondevu-service')!.state === 'live'),
          'the page to be live',
        );
        const joiner = terminal(t, webrtc, ['connect', `chat:1.0.0@${username}`, '--username', `joiner${count}`]);
        await until(() => joiner.output().includes(`connected to ${username}`), 'the terminal to be connected');
        joiner.child.stdin!.write('hello from a terminal\n');
        await until(async () => (await heard(page)).length > 0, 'the page to show it');
        assert.match((await heard(page))[0]!, /^joiner\d+: hello from a terminal$/);
        await say(page, 'hello from a page');
        await until(() => joiner.output().includes(`${username}: hello from a page`), 'the terminal to show it');
        joiner.child.stdin!.end();
        assert.deepEqual(await joiner.ended, [0, null]);
      });
    }
  });
}
