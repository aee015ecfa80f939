/**
 * Runs every snippet in the developer documentation as specified by the directive above the snippet: `run` in Node or a shell,
 * `page` in Chromium. A `host` snippet keeps running while later snippets run, and must then shut down cleanly.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import { delimiter, join, resolve } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { PeerServer } from 'peer';
import { startServer, until } from '../server/helpers.js';
import { start, type Program } from '../support/program.js';
import { temporaryFolder } from '../support/folders.js';
import { useBrowsers, serveFor } from '../support/set-up.js';
import { freePort } from '../support/ports.js';
import { snippetsOf, type Snippet } from '../support/snippets.js';

interface RunnableSnippet extends Snippet {
  where: 'run' | 'page';
  isHost: boolean;
  prints: RegExp | undefined;
  input: string;
}

const DIRECTIVE = /^<!-- (run|page)( host)?(?:, prints "([^"]*)")?(?:, input "([^"]*)")?(?:, prints "([^"]*)")? -->$/;

/** @throws Error if a code block has no directive that specifies how to run it */
const runnableSnippets = (file: string): RunnableSnippet[] =>
  snippetsOf(file)
    // package.test.ts runs these
    .filter(({ code }) => !code.startsWith('npm install'))
    .map((snippet) => {
      const [, where, host, before, input = '', behind] = DIRECTIVE.exec(snippet.above) ?? [];
      if (!where) throw new Error(`${snippet.at}: nothing says how this block is run`);
      const prints = before ?? behind;
      return {
        ...snippet,
        where: where as 'run' | 'page',
        isHost: host !== undefined,
        prints: prints === undefined ? undefined : new RegExp(prints),
        input,
      };
    });

/** Creates a folder that contains the package and the command, as after an installation. */
function project(t: TestContext): string {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(resolve('.'), join(folder, 'node_modules', 'rondevu-elements'));
  const command = join(folder, 'rondevu');
  writeFileSync(command, `#!/bin/sh\nexec ${process.execPath} ${resolve('dist/src/cli/main.js')} "$@"\n`);
  chmodSync(command, 0o755);
  return folder;
}

async function runInNode(t: TestContext, file: string): Promise<void> {
  const folder = project(t);
  const port = await freePort('localhost');
  const url = `http://localhost:${port}`;
  // docs/command-line.md starts its own server
  const servesItself = readFileSync(file, 'utf8').includes('\nrondevu serve\n');
  if (!servesItself) await startServer(t, { port, host: 'localhost' });
  const env = {
    PATH: `${folder}${delimiter}${process.env['PATH']}`,
    XDG_CONFIG_HOME: join(folder, 'config'),
    RONDEVU_SERVER: url,
    PORT: String(port),
    STORAGE_PATH: join(folder, 'server.db'),
  };
  const hosts: { program: Program; at: string }[] = [];
  for (const { at, line, language, code, isHost, prints, input } of runnableSnippets(file)) {
    const text = code.replaceAll('http://localhost:3000', url);
    const script = join(folder, `line-${line}.mjs`);
    if (language === 'js') writeFileSync(script, text);
    // with `exec`, signals reach the command itself, but a line with several commands needs the shell
    const isOne = !/&&|^\w+=/.test(text);
    const [command, args] = language === 'js' ? [process.execPath, [script]] : ['sh', ['-c', isOne ? `exec ${text}` : text]];
    const program = start(t, command, args, { cwd: folder, env });
    const { child, output, ended } = program;
    if (isHost) hosts.push({ program, at });
    let isOver = false;
    void ended.then(() => (isOver = true));
    // the input is a line of text, except with --raw
    if (!isHost) child.stdin!.end(input && !text.includes('--raw') ? `${input}\n` : input);
    if (prints) {
      await until(() => prints.test(output()) || isOver, `${at} to print ${prints}`);
      assert.match(output(), prints, at);
    }
    if (isHost) continue;
    // a program may be killed once it has printed the expected output
    if (prints && language === 'js') child.kill('SIGKILL');
    else assert.deepEqual(await ended, [0, null], `${at}: ${output()}`);
    await ended;
  }
  for (const {
    program: { child, ended },
    at,
  } of hosts.reverse()) {
    assert.equal(child.exitCode, null, `${at} is still there`);
    child.kill('SIGINT');
    assert.deepEqual(await ended, [0, null], `${at} ends in order`);
  }
}

const OTHERS = {
  '/peerjs.js': 'node_modules/peerjs/dist/peerjs.min.js',
  '/simple-peer.js': 'node_modules/simple-peer/simplepeer.min.js',
};

const browsers = useBrowsers('chromium');

async function runInPages(t: TestContext, file: string, section: string): Promise<void> {
  const { url } = await startServer(t);
  const peerPort = await freePort('localhost');
  const listening = new Promise<HttpServer>((done) =>
    PeerServer({ port: peerPort, path: '/' }, (server) => done(server as HttpServer)),
  );
  const peerServer = await listening;
  t.after(() => {
    peerServer.closeAllConnections();
    peerServer.close();
  });
  const snippets = runnableSnippets(file).filter((snippet) => snippet.section === section);
  const imports = {
    'rondevu-elements/core': '/rondevu-elements.js',
    '@xtr-dev/rondevu-client': '/rondevu-elements.js',
    peerjs: '/peerjs.mjs',
    'simple-peer': '/simple-peer.mjs',
  };
  const script = (body: string) => ({ body, headers: { 'content-type': 'text/javascript' } });
  const pages = Object.fromEntries(
    snippets.map(({ line, code }) => [
      `/${line}`,
      {
        body: `<!doctype html><meta charset="utf-8"><title>snippet</title><script type="importmap">${JSON.stringify({ imports })}</script>
          <script type="module">${code.replaceAll('http://localhost:3000', url).replaceAll('9000', String(peerPort))}</script>`,
      },
    ]),
  );
  const files = {
    ...pages,
    ...Object.fromEntries(
      readdirSync('dist')
        .filter((name) => /^rondevu-.*\.js$/.test(name))
        .map((name) => [`/${name}`, script(readFileSync(`dist/${name}`, 'utf8'))]),
    ),
    ...Object.fromEntries(Object.entries(OTHERS).map(([path, source]) => [path, script(readFileSync(source, 'utf8'))])),
    '/peerjs.mjs': script(`import '/peerjs.js'; export const { Peer } = globalThis.peerjs;`),
    '/simple-peer.mjs': script(`import '/simple-peer.js'; export default globalThis.SimplePeer;`),
  };
  const origin = await serveFor(t, files);
  for (const { at, line, isHost, prints } of snippets) {
    const page = await browsers.chromium.newPage();
    t.after(() => page.close());
    let output = '';
    page.on('console', (message) => (output += `${message.text()}\n`));
    page.on('pageerror', (error) => (output += `${String(error)}\n`));
    await page.goto(`${origin}/${line}`);
    await until(() => prints!.test(output), `${at} to print ${prints}; it printed ${output}`, 20_000).catch((error: Error) => {
      throw new Error(`${error.message}; it printed: ${output}`);
    });
    if (!isHost) await page.goto('about:blank');
  }
}

for (const file of ['docs/hosting-in-node.md', 'docs/command-line.md'])
  test(`every snippet in ${file} runs`, { timeout: 240_000 }, (t) => runInNode(t, file));

describe('every snippet in docs/migrating.md runs', () => {
  for (const section of new Set(snippetsOf('docs/migrating.md').map((snippet) => snippet.section)))
    test(section, { timeout: 120_000 }, (t) => runInPages(t, 'docs/migrating.md', section));
});
