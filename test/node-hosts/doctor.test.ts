/**
 * Runs `rondevu doctor` and `diagnose()` against real problems, each of which must be reported correctly within the time limit.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { DEFAULT_TURN } from '../../server/src/index.js';
import type { Check, Diagnosis, diagnose as Diagnose } from '../../dist/src/node/index.js';
import { startServer } from '../server/helpers.js';
import type { BrowserName } from '../support/browsers.js';
import { coturnMissing, machineAddress, startCoturn } from '../support/coturn.js';
import { Namespaces, namespacesMissing } from '../support/namespaces.js';
import { OldServer } from '../support/old-server.js';
import { ServerProcess, blankPage, openPage } from '../support/site.js';
import { until } from '../support/until.js';
import { temporaryFolder } from '../support/folders.js';
import { launchFor, serveFor, listenFor } from '../support/set-up.js';

const CLI = 'dist/src/cli/main.js';
const nftMissing = (): string | false =>
  namespacesMissing() ||
  (spawnSync('nft', ['--version']).error && 'nftables is not installed: apt-get install nftables') ||
  false;

interface Verdict {
  exitCode: number;
  status: Diagnosis['status'];
  /** Result code of each check, keyed by check name. */
  codes: Record<string, string>;
  checks: Check[];
  ms: number;
}

/** Runs `rondevu doctor --json`. @param inside wrapper command and its arguments, such as `ip netns exec` */
async function doctor(args: string[], env: Record<string, string> = {}, inside: string[] = []): Promise<Verdict> {
  const start = performance.now();
  const [command = '', ...rest] = [...inside, process.execPath, CLI, 'doctor', '--json', '--timeout', '2', ...args];
  const { code, stdout, stderr } = await new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(command, rest, { env: { ...process.env, ...env } }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, stdout: out, stderr: err }),
    );
  });
  assert.ok(stdout, stderr);
  const { status, checks } = JSON.parse(stdout) as Diagnosis;
  return {
    exitCode: code,
    status,
    codes: Object.fromEntries(checks.map(({ name, code }) => [name, code])),
    checks,
    ms: performance.now() - start,
  };
}

const explained = ({ checks }: Pick<Diagnosis, 'checks'>): void => {
  for (const { name, status, cause, remedy } of checks) {
    assert.ok(cause, `${name} has a cause`);
    if (status === 'failed' || status === 'warning') assert.ok(remedy.length > 20, `${name} has a remedy`);
  }
};

/**
 * Starts a server and a coturn instance: the server signs TURN credentials with `secret`, and coturn accepts credentials signed
 * with `taken`.
 */
async function withTurn(t: TestContext, secret: string, taken: string) {
  const coturn = await startCoturn(t, [taken]);
  const turn = {
    ...DEFAULT_TURN,
    stunUrls: [`stun:127.0.0.1:${coturn.port}`],
    urls: [`turn:127.0.0.1:${coturn.port}`],
    secrets: [secret],
  };
  return startServer(t, { turn });
}

const SECRET = 'a secret of sixteen';
const OK = { server: 'ok', clock: 'ok', push: 'ok', webrtc: 'ok', stun: 'ok', turn: 'ok', udp: 'ok' };

for (const webrtc of ['node-datachannel', '@roamhq/wrtc']) {
  test(`reports no problem in a working setup, using ${webrtc}`, { skip: coturnMissing() }, async (t) => {
    const { url } = await withTurn(t, SECRET, SECRET);
    const verdict = await doctor(['--server', url, '--webrtc', webrtc]);
    assert.deepEqual([verdict.codes, verdict.status, verdict.exitCode], [OK, 'ok', 0]);
  });

  test(`reports bad TURN credentials, using ${webrtc}`, { skip: coturnMissing() }, async (t) => {
    const { url } = await withTurn(t, 'another secret than', SECRET);
    const verdict = await doctor(['--server', url, '--webrtc', webrtc]);
    assert.deepEqual([verdict.codes, verdict.status, verdict.exitCode], [{ ...OK, turn: 'turn-refused' }, 'failed', 1]);
    explained(verdict);
    assert.ok(!JSON.stringify(verdict).includes(SECRET));
  });
}

test('reports an unreachable server', async () => {
  const verdict = await doctor(['--server', 'http://127.0.0.1:9']);
  const none = 'server-unreachable';
  assert.deepEqual([verdict.codes['server'], verdict.codes['clock'], verdict.codes['push']], [none, none, none]);
  assert.deepEqual([verdict.codes['webrtc'], verdict.status, verdict.exitCode], ['ok', 'failed', 1]);
  explained(verdict);
});

test('reports a server that accepts connections but never answers', async (t) => {
  const silent = createServer(() => undefined);
  const verdict = await doctor(['--server', await listenFor(t, silent)]);
  assert.deepEqual([verdict.codes['server'], verdict.exitCode], ['server-unreachable', 1]);
  assert.match(verdict.checks[0]!.cause, /no answer within 2000 ms/);
});

test('reports a server that is not a Rondevu server', async (t) => {
  const url = await serveFor(t, { '/': { body: '<h1>hello</h1>' } });
  assert.equal((await doctor(['--server', url])).codes['server'], 'not-a-rondevu-server');
});

test('reports a server whose reply is too long', async (t) => {
  const url = await serveFor(t, { '/': { body: `{"name":"Rondevu","x":"${'x'.repeat(20_000_000)}"}` } });
  assert.equal((await doctor(['--server', url])).codes['server'], 'server-unreachable');
});

test('reports a server that does not support push', async (t) => {
  const { url } = await OldServer.start(t);
  const verdict = await doctor(['--server', url]);
  assert.deepEqual([verdict.codes['push'], verdict.status, verdict.exitCode], ['push-missing', 'warning', 0]);
  explained(verdict);
});

test('reports a wrong clock as a warning on a current server, and as a failure on an old server', async (t) => {
  const folder = temporaryFolder(t);
  // sets the clock of the process two hours ahead
  writeFileSync(join(folder, 'clock.mjs'), 'const now = Date.now; Date.now = () => now() + 7_200_000;');
  const env = { NODE_OPTIONS: `--import=${join(folder, 'clock.mjs')}` };
  const { url } = await startServer(t);
  const verdict = await doctor(['--server', url], env);
  assert.deepEqual([verdict.codes['clock'], verdict.codes['push'], verdict.status], ['clock-wrong', 'ok', 'warning']);
  assert.match(verdict.checks[1]!.cause, /7200 s ahead of the server's/);
  explained(verdict);
  const old = await OldServer.start(t);
  assert.deepEqual((await doctor(['--server', old.url], env)).status, 'failed');
});

test('reports blocked UDP', { skip: nftMissing() }, async (t) => {
  const net = new Namespaces();
  t.after(() => net.close());
  const server = net.run('one', ['node', 'server/dist/main.js', '--port', '3000', '--host', '0.0.0.0', '--storage', ':memory:'], {
    STUN_URLS: `stun:${net.addresses.one}:3478`,
  });
  t.after(() => server.kill('SIGKILL'));
  let output = '';
  server.stdout!.on('data', (data) => (output += String(data)));
  await until(() => output.includes('Rondevu server on'), 'the server to listen');
  const url = ['--server', `http://${net.addresses.one}:3000`];
  const inside = ['ip', 'netns', 'exec', net.other];
  net.do('other', 'nft', 'add', 'table', 'inet', 'wall');
  net.do('other', 'nft', 'add', 'chain', 'inet', 'wall', 'out', '{ type filter hook output priority 0; }');
  // blocks only UDP that leaves the namespace
  net.do('other', 'nft', 'add', 'rule', 'inet', 'wall', 'out', 'oifname', 'cable', 'meta', 'l4proto', 'udp', 'drop');
  const outside = await doctor(url, {}, inside);
  assert.deepEqual(
    ['server', 'push', 'webrtc', 'stun', 'udp'].map((name) => outside.codes[name]),
    ['ok', 'ok', 'ok', 'stun-unreachable', 'udp-blocked'],
  );
  assert.match(outside.checks.at(-1)!.cause, /UDP is blocked on this network/);
  explained(outside);
  // blocks UDP within the namespace as well
  net.do('other', 'nft', 'add', 'rule', 'inet', 'wall', 'out', 'meta', 'l4proto', 'udp', 'drop');
  const all = await doctor(url, {}, inside);
  assert.deepEqual(
    ['server', 'push', 'webrtc', 'udp'].map((name) => all.codes[name]),
    ['ok', 'ok', 'webrtc-blocked', 'udp-blocked'],
  );
  assert.match(all.checks.at(-1)!.cause, /blocked on this machine/);
  assert.equal(all.exitCode, 1);
});

test('reports an invalid TURN URL without revealing its credentials', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'password'), 'very-secret');
  const { url } = await startServer(t);
  for (const turn of ['turn:', 'turn:127.0.0.1:70000']) {
    const args = ['--server', url, '--turn', turn, '--turn-user', 'user:name', '--turn-password-file', join(folder, 'password')];
    const verdict = await doctor(args);
    assert.equal(verdict.codes['udp'] === undefined, false);
    assert.deepEqual([verdict.checks[5]!.status, verdict.exitCode], ['failed', 1]);
    assert.ok(!/very-secret/.test(JSON.stringify(verdict)), JSON.stringify(verdict.checks[5]));
  }
});

test('prints one line per check, with remedies', () => {
  const { stdout } = spawnSync(process.execPath, [CLI, 'doctor', '--timeout', '2', '--server', 'http://127.0.0.1:9'], {
    encoding: 'utf8',
  });
  assert.match(
    stdout,
    /^✗ server {2}server-unreachable: http:\/\/127\.0\.0\.1:9 cannot be reached: .*\n {10}→ Is the server running/,
  );
  assert.match(stdout, /\n✓ webrtc /);
});

for (const name of ['chromium', 'firefox'] as BrowserName[]) {
  test(`diagnose() reports the same problems in a page in ${name}`, { skip: coturnMissing() }, async (t) => {
    const server = new ServerProcess();
    await server.start();
    t.after(() => server.close());
    const url = await serveFor(t, { '/': { body: blankPage(server.url) } });
    const page = await openPage(await launchFor(t, name), url);
    const inPage = (apiUrl: string, turnServers: RTCIceServer[] = []): Promise<Diagnosis> =>
      page.evaluate(
        async (bundle, url, turn) => {
          const { diagnose } = (await import(bundle)) as { diagnose: typeof Diagnose };
          const { status, checks } = await diagnose({ apiUrl: url, timeout: 4000, ...(turn.length && { iceServers: turn }) });
          return { status, checks };
        },
        `${server.url}/rondevu-elements.js`,
        apiUrl,
        turnServers,
      );
    const well = await inPage(server.url);
    assert.deepEqual(
      well.checks.map(({ code }) => code),
      ['ok', 'ok', 'ok', 'ok', 'stun-none', 'turn-none', 'ok'],
    );
    const gone = await inPage('http://127.0.0.1:9');
    assert.deepEqual([gone.status, gone.checks[0]!.code, gone.checks[3]!.code], ['failed', 'server-unreachable', 'ok']);
    explained(gone);
    // browsers gather no relay candidates on the loopback interface
    const address = machineAddress();
    const coturn = await startCoturn(t, [SECRET], address);
    const bad = await inPage(server.url, [{ urls: `turn:${address}:${coturn.port}`, username: '1:x', credential: 'wrong' }]);
    assert.equal(bad.checks[5]!.code, 'turn-refused');
    await page.close();
  });
}
