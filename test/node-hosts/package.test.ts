/** Installs the packages as published into an empty folder with the documented commands, and uses the installed packages. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { test } from 'node:test';
import { until } from '../server/helpers.js';
import { start } from '../support/program.js';
import { startRegistry } from '../support/registry.js';
import { temporaryFolder } from '../support/folders.js';

/** Returns the arguments of the `npm install` command in a document. */
function installCommand(file: string): string[] {
  const line = /^npm install .*/m.exec(readFileSync(file, 'utf8'))?.[0];
  assert.ok(line, `${file} says how to install`);
  return line.split(' ').slice(1);
}

/** Program that imports every entry point that Node can load; `tsc` checks the code against the published types. */
const USES = `
import { Rondevu, type RondevuConnection } from 'rondevu-elements/core';
import { closeOnSignal, connect, type NodeOptions } from 'rondevu-elements/node';
import { parseServiceName } from 'rondevu-elements/protocol';
import { NodeCryptoAdapter } from 'rondevu-elements/identity';
import { OfferPool } from 'rondevu-elements/offers';
import { RondevuService } from 'rondevu-elements';

const options: NodeOptions = { apiUrl: 'http://127.0.0.1:9' };
const rondevu: Rondevu = await connect(options);
closeOnSignal(rondevu);
export const send = (connection: RondevuConnection): Promise<string> => connection.send('x').delivered;
console.log(rondevu.getUsername(), parseServiceName('chat:1.0.0').name, typeof NodeCryptoAdapter, typeof OfferPool, typeof RondevuService);
await rondevu.close();
process.exit();
`;

/** Module that imports the entry points for pages; the module is compiled, but not run. */
const PAGE = `
import { RondevuChat, RondevuConnect, RondevuService } from 'rondevu-elements';
import 'rondevu-elements/define/rondevu-chat';
const chat = document.querySelector('rondevu-chat');
chat?.addEventListener('rondevu-message', ({ type }) => console.log(type));
console.log(RondevuChat, RondevuConnect, RondevuService);
`;

/** Node program that is compiled without the DOM library. */
const HOST = `
import { connect } from 'rondevu-elements/node';
import { Rondevu, type RondevuConnection } from 'rondevu-elements/core';
const rondevu: Rondevu = await connect({ apiUrl: 'http://127.0.0.1:9', username: 'bot', iceServers: [{ urls: 'stun:stun.example.org' }] });
rondevu.on('connection:opened', (_id, connection: RondevuConnection) => {
  connection.on('message', (data) => connection.send(data));
  const state: string | undefined = connection.getPeerConnection()?.connectionState;
  console.log(state);
});
export {};
`;

test('the published packages work when installed as documented', async (t) => {
  const folder = temporaryFolder(t);
  const registry = await startRegistry(t, ['.', 'server']);
  const prefix = join(folder, 'prefix');
  const cwd = join(folder, 'program');
  mkdirSync(cwd);
  const env = {
    npm_config_registry: registry,
    npm_config_prefix: prefix,
    npm_config_prefer_offline: 'true',
    XDG_CONFIG_HOME: folder,
    PATH: [join(prefix, 'bin'), process.env['PATH']].join(delimiter),
  };
  const run = async (command: string, ...args: string[]): Promise<string> => {
    const program = start(t, command, args, { cwd, env });
    program.child.stdin!.end();
    assert.deepEqual(await program.ended, [0, null], program.output());
    return program.out();
  };

  await t.test('in a program', async () => {
    writeFileSync(join(cwd, 'package.json'), '{"name":"program","private":true,"type":"module"}');
    await run('npm', ...installCommand('docs/hosting-in-node.md'));
    writeFileSync(join(cwd, 'uses.ts'), USES);
    writeFileSync(join(cwd, 'page.ts'), PAGE);
    symlinkSync(resolve('node_modules/@types/node'), join(cwd, 'node_modules/@types/node'));
    const compiler = resolve('node_modules/typescript/bin/tsc');
    const flags = '--strict --module nodenext --target es2022 --lib es2022,dom,dom.iterable --types node'.split(' ');
    await run('node', compiler, ...flags, 'uses.ts', 'page.ts');
    assert.match(await run('node', 'uses.js'), /^anon-\w+ chat function function function\n$/);
  });

  await t.test('with the types of TypeScript 5.0 and the newest, with and without the DOM library', async () => {
    await run('npm', 'install', '--no-save', 'ts-floor@npm:typescript@5.0', 'ts-newest@npm:typescript@latest');
    symlinkSync(resolve('node_modules/@types/node'), join(cwd, 'node_modules/@types/node'));
    const compile = (version: string, file: string, flags: string): Promise<string> =>
      run(
        'node',
        `node_modules/${version}/bin/tsc`,
        '--noEmit',
        '--strict',
        ...`--target es2022 --types node ${flags}`.split(' '),
        file,
      );
    writeFileSync(join(cwd, 'host.ts'), HOST);
    for (const version of ['ts-floor', 'ts-newest']) {
      await compile(version, 'host.ts', '--lib es2022 --module nodenext');
      await compile(version, 'uses.ts', '--lib es2022,dom,dom.iterable --module nodenext');
      await compile(version, 'page.ts', '--lib es2022,dom,dom.iterable --module esnext --moduleResolution bundler');
    }
    // the newest TypeScript version no longer supports node10 module resolution
    await compile('ts-floor', 'host.ts', '--lib es2022 --module esnext --moduleResolution node10');
    await compile('ts-floor', 'page.ts', '--lib es2022,dom,dom.iterable --module esnext --moduleResolution node10');
  });

  await t.test('on the command line', async () => {
    await run('npm', ...installCommand('docs/command-line.md'));
    const server = start(t, 'rondevu', ['serve', '--port', '0', '--storage', ':memory:'], { cwd, env });
    await until(() => /Rondevu server on (\S+)/.test(server.out()), 'the server');
    const RONDEVU_SERVER = /Rondevu server on (\S+)/.exec(server.out())![1]!;
    for (const [path, text] of [
      ['/rondevu-elements.js', /rondevu-connect/],
      ['/rondevu-classic.js', /^import\(/],
      ['/demo/', /<title>Rondevu Elements/],
    ] as const)
      assert.match(await (await fetch(RONDEVU_SERVER + path)).text(), text, path);
    const host = start(t, 'rondevu', ['host', 'echo:1.0.0', '-u', 'echo', '--echo'], { cwd, env: { ...env, RONDEVU_SERVER } });
    await until(() => host.out().includes('is live'), 'the host');
    const joiner = start(t, 'rondevu', ['connect', 'echo:1.0.0@echo', '--raw'], { cwd, env: { ...env, RONDEVU_SERVER } });
    joiner.child.stdin!.end('there and back');
    assert.deepEqual(await joiner.ended, [0, null], joiner.output());
    assert.equal(joiner.out(), 'there and back');
    for (const { child, ended } of [host, server]) {
      child.kill('SIGINT');
      assert.deepEqual(await ended, [0, null]);
    }
  });
});
