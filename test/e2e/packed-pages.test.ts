/**
 * Installs the packages as published into an empty folder; the installed server provides two browsers with everything that the
 * pages in the README need.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { BrowserName } from '../support/browsers.ts';
import { readmePage, chat } from '../support/pages.ts';
import { watch, type Program } from '../support/program.ts';
import { openPage, type SiteFile } from '../support/site.ts';
import { until } from '../support/until.ts';
import { temporaryFolder } from '../support/folders.ts';
import { useSite, useBrowsers } from '../support/set-up.ts';

const folder = temporaryFolder();
const files: Record<string, SiteFile> = {};
const browsers = useBrowsers('chromium', 'firefox');
const site = useSite(() => files);
let program: Program;
let serverUrl = '';

before(async () => {
  const tarballs = ['.', 'server'].map((cwd) => {
    const args = ['pack', '--json', '--ignore-scripts', '--workspaces=false', '--pack-destination', folder];
    const packed = JSON.parse(execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: 'pipe' })) as object;
    return join(folder, (Object.values(packed)[0] as { filename: string }).filename);
  });
  const cwd = join(folder, 'empty');
  mkdirSync(cwd);
  const options = ['--prefix', cwd, '--no-audit', '--no-fund', '--prefer-offline'];
  execFileSync('npm', ['install', ...options, ...tarballs], { cwd, stdio: 'pipe' });
  const command = join(cwd, 'node_modules/.bin/rondevu');
  program = watch(spawn(command, ['serve', '--port', '0', '--storage', ':memory:'], { cwd }));
  let hasEnded = false;
  void program.ended.then(() => (hasEnded = true));
  await until(() => hasEnded || /Rondevu server on (\S+)/.test(program.out()), 'the server');
  assert.ok(!hasEnded, program.output());
  serverUrl = /Rondevu server on (\S+)/.exec(program.out())![1]!;
});
after(async () => {
  program?.child.kill('SIGTERM');
  await program?.ended;
});

const MODULE = /<script type="module" src="([^"]*)rondevu-elements\.js">/;

describe('an installation of the packed packages', () => {
  for (const [hostName, joinName] of [
    ['chromium', 'firefox'],
    ['firefox', 'chromium'],
  ] as [BrowserName, BrowserName][]) {
    for (const loader of ['rondevu-elements.js', 'rondevu-classic.js']) {
      it(`serves the two pages in the README with ${loader} (host in ${hostName}, joiner in ${joinName})`, async () => {
        const username = `alice-${hostName}-${loader.slice(8, 12)}`;
        const page = (name: string): string => {
          const html = readmePage(name, serverUrl).replace('"alice"', `"${username}"`).replace('@alice', `@${username}`);
          assert.match(html, MODULE);
          // loads a classic script, without type="module", after an element that shadows document.currentScript
          const image = '<img name="currentScript" src="data:," alt="">';
          return loader === 'rondevu-classic.js' ? html.replace(MODULE, `${image}<script src="$1${loader}">`) : html;
        };
        files['/host.html'] = { body: page('host.html') };
        files['/join.html'] = { body: page('join.html') };
        const host = await openPage(browsers[hostName], `${site.url}/host.html`);
        const joiner = await openPage(browsers[joinName], `${site.url}/join.html`);
        await chat(host, joiner);
        await Promise.all([host.close(), joiner.close()]);
      });
    }
  }

  it('serves the demo, whose link opens the chat in a second tab', async () => {
    const host = await openPage(browsers.chromium, `${serverUrl}/demo/`);
    await host.waitForSelector('rondevu-service[state=live]');
    const link = await host.$$eval('a', (links) => links.map(({ href }) => href).find((href) => href.includes('/demo/')));
    assert.ok(link, 'the demo shows a link');
    const joiner = await openPage(browsers.chromium, link);
    await chat(host, joiner);
    await Promise.all([host.close(), joiner.close()]);
  });
});
