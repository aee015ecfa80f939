/**
 * Opens the two pages in the README on a different origin, in different browsers and under a strict Content Security Policy,
 * and imports the package in Node.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Page } from 'puppeteer-core';
import type { BrowserName } from '../support/browsers.ts';
import { bubbles, readmePage, write, chat } from '../support/pages.ts';
import { openPage, type SiteFile } from '../support/site.ts';
import { until } from '../support/until.ts';
import { temporaryFolder } from '../support/folders.ts';
import { useServer, useSite, useBrowsers } from '../support/set-up.ts';

const files: Record<string, SiteFile> = {};
const browsers = useBrowsers('chromium', 'firefox');
const site = useSite(() => files);
const server = useServer();

const PAIRS: [BrowserName, BrowserName][] = [
  ['chromium', 'chromium'],
  ['firefox', 'firefox'],
  ['chromium', 'firefox'],
  ['firefox', 'chromium'],
];

describe('the pages in the README', () => {
  for (const [hostName, joinName] of PAIRS) {
    it(`the two pages chat by keyboard from a different origin (host in ${hostName}, joiner in ${joinName})`, async () => {
      // each pair of browsers uses its own username, because only the browser that claimed `alice` has the key
      const username = `alice-${hostName}-${joinName}`.slice(0, 32);
      files['/host.html'] = { body: readmePage('host.html', server.url).replace('"alice"', `"${username}"`) };
      files['/join.html'] = { body: readmePage('join.html', server.url).replace('@alice', `@${username}`) };
      const host = await openPage(browsers[hostName], `${site.url}/host.html`);
      const joiner = await openPage(browsers[joinName], `${site.url}/join.html`);
      await chat(host, joiner);
      await Promise.all([host.close(), joiner.close()]);
    });
  }

  it("the README's pages match the demo and connect to it", async () => {
    const demo = await openPage(browsers.chromium, `${server.url}/demo/`);
    await demo.waitForSelector('rondevu-service[state=live]');
    const username = await demo.$eval('rondevu-service', (service) => service.getAttribute('username'));
    files['/join.html'] = { body: readmePage('join.html', server.url).replace('@alice', `@${username}`) };
    const joiner = await openPage(browsers.chromium, `${site.url}/join.html`);
    await joiner.waitForSelector('rondevu-connect[state=connected]');
    await write(joiner, 'to the demo');
    await until(async () => (await bubbles(demo)).includes('to the demo'), 'the message in the demo');
    for (const name of ['host.html', 'join.html']) {
      const tags = /<rondevu-[\s\S]*<\/rondevu-(?:service|connect)>/;
      const [inReadme, inDemo] = [
        readmePage(name, server.url),
        readFileSync(`demo/${name}`, 'utf8').replaceAll('http://localhost:3000', server.url),
      ];
      const lines = (text: string) =>
        tags
          .exec(text)![0]
          .split('\n')
          .map((line) => line.trim());
      assert.deepEqual(lines(inReadme), lines(inDemo));
    }
    await Promise.all([demo.close(), joiner.close()]);
  });
});

describe('a strict Content Security Policy', () => {
  for (const name of ['chromium', 'firefox'] as BrowserName[]) {
    it(`the elements work under a strict policy with Trusted Types in ${name}`, async () => {
      const ws = server.url.replace('http', 'ws');
      const policy = [
        `default-src 'none'; script-src ${server.url}; connect-src ${server.url} ${ws}`,
        "require-trusted-types-for 'script'; trusted-types lit-html",
      ].join('; ');
      const body = (tag: string) =>
        `<!doctype html><html lang="en"><title>strict</title><script type="module" src="${server.url}/rondevu-elements.js"></script>${tag}`;
      const headers = { 'content-security-policy': policy };
      const username = `strict-${name}`;
      files['/strict-host'] = {
        body: body(
          `<rondevu-service api-url="${server.url}" username="${username}" service="chat:1.0.0"><rondevu-chat></rondevu-chat></rondevu-service>`,
        ),
        headers,
      };
      files['/strict-join'] = {
        body: body(
          `<rondevu-connect api-url="${server.url}" to="chat:1.0.0@${username}"><rondevu-chat></rondevu-chat></rondevu-connect>`,
        ),
        headers,
      };
      const violations: string[] = [];
      const open = async (path: string): Promise<Page> => {
        const page = await browsers[name].newPage();
        page.on('console', (message) => {
          if (/Content.Security.Policy|TrustedHTML|TrustedScript/i.test(message.text())) violations.push(message.text());
        });
        await page.evaluateOnNewDocument('globalThis.__name = (f) => f');
        await page.goto(site.url + path);
        return page;
      };
      const host = await open('/strict-host');
      const joiner = await open('/strict-join');
      await joiner.waitForSelector('rondevu-connect[state=connected]');
      await write(joiner, 'within the policy');
      await until(async () => (await bubbles(host)).includes('within the policy'), 'the message at the host');
      assert.deepEqual(violations, []);
      // the element's styles apply although the policy forbids inline styles
      assert.equal(await joiner.$eval('rondevu-chat', (chat) => getComputedStyle(chat).display), 'block');
      await Promise.all([host.close(), joiner.close()]);
    });
  }
});

describe('the packed package in Node', () => {
  it('exports every entry point, and defines the elements only if there is a DOM', (t) => {
    const folder = temporaryFolder(t);
    const run = (command: string, args: string[], cwd: string) =>
      execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    const packed = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], '.')) as unknown;
    const [{ filename }] = Object.values(packed as Record<string, { filename: string }>) as [{ filename: string }];
    run('npm', ['init', '-y'], folder);
    run('npm', ['install', '--no-audit', '--no-fund', join(folder, filename)], folder);
    const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, unknown> };
    const entries = Object.keys(exports).filter((entry) => !entry.endsWith('.json') && entry !== './bundle');
    const names = entries.map((entry) => entry.replace(/^\./, 'rondevu-elements'));
    const script = `
        const before = Object.getOwnPropertyDescriptor(globalThis, 'customElements');
        for (const name of ${JSON.stringify(names)}) await import(name);
        const { RondevuChat, Rondevu } = await import('rondevu-elements');
        if (typeof RondevuChat !== 'function' || typeof Rondevu.connect !== 'function') throw new Error('exports are missing');
        for (const tag of ['rondevu-chat', 'rondevu-service', 'rondevu-connect']) {
          if (globalThis.customElements?.get(tag)) throw new Error(tag + ' was defined');
        }
        console.log('fine');`;
    assert.equal(run(process.execPath, ['--input-type=module', '-e', script], folder).trim(), 'fine');
    assert.equal(run(process.execPath, ['-e', "import('rondevu-elements')"], folder), '');
    // loads Lit's build for Node with a DOM, as in a test runner that uses jsdom or happy-dom
    const withDom = `
        const defined = new Map();
        globalThis.HTMLElement = class {};
        globalThis.customElements = { get: (tag) => defined.get(tag), define: (tag, element) => defined.set(tag, element) };
        await import('rondevu-elements');
        console.log([...defined.keys()].sort().join());`;
    assert.equal(
      run(process.execPath, ['--input-type=module', '-e', withDom], folder).trim(),
      'rondevu-chat,rondevu-connect,rondevu-service',
    );
  });
});
