/** Runs the `rondevu` command as users and scripts do. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { connect, type Rondevu } from '../../dist/src/node/index.js';
import { startServer, until } from '../server/helpers.js';
import { OldServer } from '../support/old-server.js';
import { start as startProgram, type Program } from '../support/program.js';
import { temporaryFolder } from '../support/folders.js';
import { listenFor } from '../support/set-up.js';

const CLI = 'dist/src/cli/main.js';

/** Starts a server and creates a key folder; returns functions that run the command with both. */
async function setUp(t: TestContext) {
  const server = await startServer(t);
  const folder = temporaryFolder(t);
  const start = (args: string[], more: Record<string, string> = {}): Program =>
    startProgram(t, process.execPath, [CLI, ...args], { env: { RONDEVU_SERVER: server.url, XDG_CONFIG_HOME: folder, ...more } });
  const run = async (args: string[], input = '', more: Record<string, string> = {}) => {
    const program = start(args, more);
    program.child.stdin!.end(input);
    const [code] = await program.ended;
    return { code, out: program.out(), err: program.err() };
  };
  const client = async (username: string): Promise<Rondevu> => {
    const rondevu = await connect({ apiUrl: server.url, username });
    t.after(() => rondevu.close());
    return rondevu;
  };
  return { server, folder, start, run, client };
}

const lines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('rondevu', { concurrency: 2 }, () => {
  test('prints general help, and help for each command', async (t) => {
    const { run } = await setUp(t);
    const all = await run(['--help']);
    assert.equal(all.code, 0);
    for (const command of ['serve', 'host', 'connect', 'find', 'keys', 'doctor'])
      assert.match(all.out, new RegExp(`\\n {2}${command} `));
    assert.match(all.out, /Exit codes/);
    for (const command of ['host', 'connect', 'find', 'keys', 'doctor']) {
      const { code, out } = await run([command, '--help']);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`^rondevu ${command}`));
      assert.match(out, /--json/);
      for (const line of out.split('\n')) assert.ok(line.length <= 130, line);
    }
    assert.equal((await run([])).code, 2);
    assert.match((await run(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
  });

  test('prints errors to stderr, and exits with the documented code', async (t) => {
    const { run, client, folder } = await setUp(t);
    const alice = await client('alice');
    await (await alice.publishService({ service: 'x:1.0.0' })).start();
    writeFileSync(join(folder, 'open.key'), '{}', { mode: 0o644 });
    mkdirSync(join(folder, 'a-folder'), { mode: 0o700 });
    const cases: [string[], number, RegExp][] = [
      [['frob'], 2, /unknown command "frob"; expected one of serve, host/],
      [['connect'], 2, /expected: rondevu connect FQN/],
      [['connect', 'a', 'b'], 2, /expected: rondevu connect FQN/],
      [['connect', 'x:1.0.0@alice', '--rwa'], 2, /Unknown option '--rwa'/],
      [['connect', 'nonsense'], 2, /nonsense/],
      [['connect', 'x:1.0.0@alice', '--wait', 'long'], 2, /--wait must be a number of seconds, got "long"/],
      [['connect', 'x:1.0.0@nobody', '--wait', '0'], 4, /nobody is hosting x:1\.0\.0@nobody on http/],
      [['connect', 'x:1.0.0@alice', '--server', 'http://127.0.0.1:9', '--wait', '0'], 3, /cannot be reached[^]*rondevu doctor/],
      [['connect', 'x:1.0.0@alice', '--username', 'alice'], 5, /"alice" is taken: on http.* another key/],
      [['host', 'y:1.0.0', '--echo', '--exec', 'cat'], 2, /cannot be combined/],
      [['host', 'y:1.0.0', '--max', '0'], 2, /--max must be a whole number above 0/],
      [['host', 'y:1.0.0', '--key-file', join(folder, 'open.key')], 2, /chmod 600/],
      [['host', 'y:1.0.0', '--key-file', join(folder, 'a-folder')], 1, /the key file .*a-folder cannot be read: EISDIR/],
      [['find', 'x:9.0.0'], 4, /nobody is hosting x:9\.0\.0/],
      [['find', 'x:1.0.0', '--limit', '-1'], 2, /limit/],
      [['find', 'x:1.0.0', '--webrtc', 'wrtc'], 2, /webrtc must be node-datachannel/],
      [['keys', 'frob'], 2, /keys must be make, show, export or import, got "frob"/],
      [['doctor', '--timeout', 'x'], 2, /--timeout/],
    ];
    for (const [args, code, message] of cases) {
      const result = await run(args);
      assert.equal(result.code, code, `${args.join(' ')}: ${result.err}`);
      assert.match(result.err, message);
      assert.equal(result.out, '');
    }
    const json = await run(['find', 'x:1.0.0', '--json', '--server', 'http://127.0.0.1:9']);
    assert.deepEqual([json.code, lines(json.err)[0]!['code'], lines(json.err)[0]!['exitCode']], [3, 'unavailable', 3]);
  });

  test('a host whose username is taken reports the cause and the remedies, and exits', async (t) => {
    const { run, client } = await setUp(t);
    await (await (await client('alice')).publishService({ service: 'x:1.0.0' })).start();
    const { code, err } = await run(['host', 'x:1.0.0', '-u', 'alice']);
    assert.equal(code, 5);
    assert.match(
      err,
      /^rondevu: the username "alice" is taken: on http\S+ it belongs to another key than the one in \S+identity\.json/,
    );
    for (const remedy of ['--username', '--key-file', 'keys export', 'fresh store']) assert.ok(err.includes(remedy), remedy);
    assert.doesNotMatch(err, /Invalid signature|trying again/);
    const json = lines((await run(['host', 'x:1.0.0', '-u', 'alice', '--json'])).err);
    assert.deepEqual(
      json.map(({ event, code, exitCode }) => [event, code, exitCode]),
      [['error', 'name-taken', 5]],
    );
    assert.match(String(json[0]!['remedy']), /--username/);
    // one key, two names
    assert.equal((await run(['find', 'x:1.0.0', '-u', 'bob'])).code, 0);
    assert.match((await run(['host', 'x:1.0.0', '-u', 'carol'])).err, /holds the username "bob" already[^]*--key-file FILE/);
  });

  test('a host explains a taken username even if an old server reports an invalid signature', async (t) => {
    const { run } = await setUp(t);
    const old = await OldServer.start(t);
    const owner = await connect({ apiUrl: old.url, username: 'alice' });
    t.after(() => owner.close());
    await (await owner.publishService({ service: 'x:1.0.0' })).start();
    const { code, err } = await run(['host', 'x:1.0.0', '-u', 'alice'], '', { RONDEVU_SERVER: old.url });
    assert.equal(code, 5, err);
    assert.match(err, /Invalid signature[^]*another key holds the username "alice"[^]*--username/);
    assert.doesNotMatch(err, /trying again/);
  });

  test('a running host exits with an error if its username passes to a different key', async (t) => {
    const { start } = await setUp(t);
    const serve = (port: string): Program =>
      startProgram(t, process.execPath, ['server/dist/main.js', '--port', port, '--storage', ':memory:']);
    const first = serve('0');
    await until(() => /Rondevu server on (\S+)/.test(first.out()), 'the server');
    const url = /Rondevu server on (\S+)/.exec(first.out())![1]!;
    const host = start(['host', 'x:1.0.0', '-u', 'alice', '-s', url]);
    await until(() => host.out().includes('is live'), 'the host');
    host.child.kill('SIGSTOP');
    first.child.kill('SIGKILL');
    await first.ended;
    const second = serve(new URL(url).port);
    await until(() => second.out().includes('Rondevu server on'), 'the next server');
    const other = await connect({ apiUrl: url, username: 'alice' });
    t.after(() => other.close());
    await (await other.publishService({ service: 'y:1.0.0' })).start();
    host.child.kill('SIGCONT');
    assert.deepEqual(await host.ended, [5, null]);
    assert.match(host.err(), /"alice" is taken: on http[^]*--username/);
  });

  test('host and joiner distinguish an unreachable server from an absent service', async (t) => {
    const { folder, start } = await setUp(t);
    const serve = (port: string): Program =>
      startProgram(t, process.execPath, ['server/dist/main.js', '--port', port, '--storage', join(folder, 'server.db')]);
    let server = serve('0');
    await until(() => /Rondevu server on (\S+)/.test(server.out()), 'the server');
    const url = /Rondevu server on (\S+)/.exec(server.out())![1]!;
    const host = start(['host', 'x:1.0.0', '-u', 'alice', '-s', url, '--json']);
    await until(() => host.out().includes('"live"'), 'the host');
    const joiner = start(['connect', 'x:1.0.0@alice', '-s', url, '--json']);
    await until(() => host.out().includes('"joined"') && joiner.out().includes('"connected"'), 'the joiner');
    const lost = start(['connect', 'x:1.0.0@nobody', '-s', url, '--json', '--wait', '600']);
    await until(() => lost.err().includes('no host yet'), 'the message that there is no host');
    server.child.kill('SIGTERM');
    await server.ended;
    for (const { err } of [host, lost])
      await until(() => err().includes('"unavailable"'), 'the message that the server is unreachable');
    assert.match(host.err(), /cannot be reached.*; trying again\. Open connections \(1\) are not affected/);
    host.child.stdin!.write('without a server\n');
    await until(() => joiner.out().includes('without a server'), 'a message meanwhile');
    server = serve(new URL(url).port);
    await until(() => host.out().includes('"online"'), 'the host to be back');
    assert.equal(lines(host.err()).length, 1, 'an outage is reported once');
    assert.deepEqual(
      lines(lost.err()).map(({ code }) => code),
      ['not-found', 'unavailable'],
    );
    lost.child.kill('SIGINT');
    assert.deepEqual(await lost.ended, [130, null]);
  });

  test('the keys command never prints an unencrypted private key', async (t) => {
    const { run, folder } = await setUp(t);
    const path = join(folder, 'rondevu', 'identity.json');
    assert.match((await run(['keys', 'show'])).err, /there is no key file .*Create one: rondevu keys make/);
    const made = await run(['keys', 'make']);
    assert.equal(made.code, 0, made.err);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const { privateKey, publicKey } = JSON.parse(readFileSync(path, 'utf8')) as { privateKey: string; publicKey: string };
    assert.match((await run(['keys', 'make'])).err, /already exists and is not overwritten/);
    const shown = lines((await run(['keys', 'show', '--json'])).out)[0]!;
    assert.equal(shown['publicKey'], publicKey);
    assert.match(String(shown['anonymousName']), /^anon-[a-z2-7]{26}$/);
    assert.match(String(shown['pin']), /^[\w-]{22}$/);
    assert.match((await run(['keys', 'export'])).err, /RONDEVU_PASSPHRASE/);
    const secret = { RONDEVU_PASSPHRASE: 'correct horse' };
    const exported = await run(['keys', 'export'], '', secret);
    const file = join(folder, 'me.txt');
    writeFileSync(file, exported.out);
    const other = ['--key-file', join(folder, 'other.json')];
    const wrong = await run(['keys', 'import', file, ...other], '', { RONDEVU_PASSPHRASE: 'wrong horse' });
    assert.deepEqual([wrong.code, existsSync(join(folder, 'other.json'))], [2, false]);
    assert.match(wrong.err, /the passphrase is wrong/);
    const imported = await run(['keys', 'import', ...other], exported.out, secret);
    assert.equal(imported.code, 0, imported.err);
    assert.equal((JSON.parse(readFileSync(join(folder, 'other.json'), 'utf8')) as { privateKey: string }).privateKey, privateKey);
    for (const { out, err } of [made, exported, wrong, imported]) assert.ok(!`${out}${err}`.includes(privateKey));
  });

  test('find lists services by name or by user without leasing an offer', async (t) => {
    const { run, client } = await setUp(t);
    for (const name of ['alice', 'bob'])
      await (await (await client(name)).publishService({ service: 'x:1.2.0', maxOffers: 1 })).start();
    assert.deepEqual((await run(['find', 'x:1.0.0'])).out.trim().split('\n').sort(), ['x:1.2.0@alice', 'x:1.2.0@bob']);
    const found = lines((await run(['find', 'x:1.0.0@bob', '--json'])).out);
    assert.deepEqual(
      found.map(({ serviceFqn, username }) => [serviceFqn, username]),
      [['x:1.2.0@bob', 'bob']],
    );
    assert.equal((await run(['find', 'x:1.0.0', '--limit', '1'])).out.trim().split('\n').length, 1);
    const joiner = await client('carol');
    assert.ok(await joiner.findService('x:1.2.0@bob'), 'the only offer is still there');
  });

  test('host and connect relay a chat among three peers without printing control characters', async (t) => {
    const { start } = await setUp(t);
    const host = start(['host', 'chat:1.0.0', '-u', 'alice']);
    await until(() => host.out().includes('is live'), 'the host');
    const bob = start(['connect', 'chat:1.0.0@alice', '-u', 'bob', '-k', join(tmpdir(), `rondevu-cli-bob-${process.pid}.key`)]);
    t.after(() => rmSync(join(tmpdir(), `rondevu-cli-bob-${process.pid}.key`), { force: true }));
    const carol = start(['connect', 'chat:1.0.0@alice', '--json']);
    await until(() => bob.out().includes('connected to alice') && carol.out().includes('"connected"'), 'both joiners to connect');
    await until(() => host.out().match(/ joined/g)?.length === 2, 'the host to have both');
    bob.child.stdin!.write('hello \u001b[31mred\u0007\n');
    host.child.stdin!.write('welcome\n');
    await until(() => host.out().includes('bob: hello [31mred\n'), 'the host to read it');
    await until(() => bob.out().includes('alice: welcome\n'), 'bob to read it');
    const heard = () => lines(carol.out()).filter(({ event }) => event === 'message');
    await until(() => heard().length === 2, 'carol to hear both');
    assert.deepEqual(
      heard()
        .map(({ from, via }) => [from, via])
        .sort(),
      [
        ['alice', 'alice'],
        ['bob', 'alice'],
      ],
    );
    bob.child.stdin!.end();
    assert.deepEqual(await bob.ended, [0, null]);
    await until(() => host.out().includes('* bob left'), 'the host to see him leave');
    host.child.kill('SIGINT');
    assert.deepEqual(await host.ended, [0, null]);
    assert.deepEqual(await carol.ended, [0, null], 'the last joiner must exit too');
    assert.match(carol.out(), /"left"/);
    assert.ok(!/[\u0007\u001b]/.test(host.out() + bob.out()));
  });

  test('find, connect and doctor print no control characters from a server', async (t) => {
    const { run } = await setUp(t);
    const EVIL = '\u001b]0;title\u0007\u001b[2J\u009b31m\u007f\u202egpj\u2066\u200b\r\nrondevu: forged';
    const CONTROLS = /[\0-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066]|^rondevu: forged/m;
    const replies: Record<string, unknown> = {
      refusal: { success: false, error: EVIL, code: 'forbidden' },
      services: {
        success: true,
        result: { services: [{ serviceFqn: `x:1.0.0@${EVIL}`, username: EVIL, publicKey: EVIL, serviceId: EVIL }], count: 1 },
      },
    };
    let reply: unknown;
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (data) => (body += String(data)));
      request.on('end', () => {
        response.setHeader('content-type', 'application/json');
        const replies = body.startsWith('[') ? (JSON.parse(body) as unknown[]).map(() => reply) : reply;
        response.end(JSON.stringify(request.method === 'POST' ? replies : { name: EVIL, version: EVIL, caps: [EVIL] }));
      });
    });
    const RONDEVU_SERVER = await listenFor(t, server);
    let output = '';
    for (const [name, what] of Object.entries(replies)) {
      reply = what;
      const commands = [
        'find x:1.0.0',
        'connect x:1.0.0@bob --wait 0',
        'doctor --timeout 1',
        'find x:1.0.0 --json',
        'doctor --json',
      ];
      for (const command of [...commands, 'find x:1.0.0 --debug', 'connect x:1.0.0@bob --wait 0 --json']) {
        const { out, err } = await run(command.split(' '), '', { RONDEVU_SERVER });
        assert.doesNotMatch(out + err, CONTROLS, `${name}: ${command}`);
        output += out + err;
      }
    }
    assert.match(output, /gpj/, 'the words of the server were printed');
  });

  test('a terminal shows incoming lines above the line being typed', async (t) => {
    const { folder, server } = await setUp(t);
    const inTerminal = (...args: string[]): Program => {
      const command = `stty cols 40; echo $$; exec '${process.execPath}' ${[CLI, ...args].join(' ')}`;
      const env = { RONDEVU_SERVER: server.url, XDG_CONFIG_HOME: join(folder, args[0]!), TERM: 'xterm' };
      return startProgram(t, 'script', ['-qec', command, '/dev/null'], { env });
    };
    const host = inTerminal('host', 'chat:1.0.0', '-u', 'alice');
    await until(() => host.out().includes('> '), 'the host and its prompt');
    const joiner = inTerminal('connect', 'chat:1.0.0@alice', '-u', 'bobby');
    await until(() => joiner.out().includes('> ') && host.out().includes('bobby joined'), 'the joiner and its prompt');
    joiner.child.stdin!.write('half a li');
    await until(() => joiner.out().endsWith('half a li'), 'the typed text');
    host.child.stdin!.write('in between\r');
    await until(() => joiner.out().includes('in between'), 'the incoming line');
    // the row is cleared for the incoming line, and the typed text is printed again below
    await until(
      () => joiner.out().includes('\u001b[1G\u001b[0Jalice: in between\r\n\u001b[1G\u001b[0J> half a li'),
      'the line, whole',
    );
    joiner.child.stdin!.write('ne\r');
    await until(() => host.out().includes('bobby: half a line\r\n'), 'the whole line at the host');
    // if the typed text spans two rows, exactly these two rows are cleared
    for (let typed = 1; typed <= 50; typed++) {
      joiner.child.stdin!.write('x');
      await until(() => (joiner.out().match(/x/g)?.length ?? 0) >= typed, 'each character');
    }
    for (const text of ['again', 'and again']) {
      host.child.stdin!.write(`${text}\r`);
      // the terminal may not have echoed the last characters yet
      const shown = new RegExp(`\\[1A\\u001b\\[1G\\u001b\\[0Jalice: ${text}\\r\\n\\u001b\\[1G\\u001b\\[0J> x{38,50}`);
      await until(() => shown.test(joiner.out()), 'the incoming line above the typed text');
    }
    // Ctrl-Z, and back
    const [shown, pid] = [joiner.out().length, parseInt(joiner.out())];
    joiner.child.stdin!.write('\u001a');
    await until(() => process.kill(pid, 'SIGCONT') && joiner.out().length > shown, 'the prompt once more');
    joiner.child.stdin!.write(' back\r');
    await until(() => /bobby: x{50} back\r\n/.test(host.out()), 'the line typed after that');
    joiner.child.stdin!.write('\u0003');
    assert.deepEqual(await joiner.ended, [0, null], 'Ctrl-C');
    await until(() => host.out().includes('bobby left'), 'the host to see it');
    host.child.stdin!.write('\u0003');
    assert.deepEqual(await host.ended, [0, null], 'Ctrl-C of the host');
  });

  test('connect reports that it is waiting for a host, and exits with an error code if interrupted', async (t) => {
    const { start } = await setUp(t);
    const waiting = start(['connect', 'x:1.0.0@nobody', '--wait', '60']);
    await until(() => waiting.err().includes('no host yet; waiting up to 60 s for x:1.0.0@nobody'), 'the waiting message');
    waiting.child.kill('SIGINT');
    assert.deepEqual(await waiting.ended, [130, null]);
    assert.equal(waiting.out(), '');
  });

  test('a host relays a flood of chat messages only at a limited rate', async (t) => {
    const { start, client } = await setUp(t);
    const host = start(['host', 'chat:1.0.0', '-u', 'alice', '--json']);
    await until(() => host.out().includes('"live"'), 'the host');
    const listener = start(['connect', 'chat:1.0.0@alice', '--json']);
    const rondevu = await client('mallory');
    const flood = await rondevu.connectToService({ serviceFqn: 'chat:1.0.0@alice' });
    await flood.opened;
    await until(() => listener.out().includes('"connected"'), 'the listener');
    await until(() => host.out().match(/"joined"/g)?.length === 2, 'the host to have both');
    const began = Date.now();
    const sent = Array.from({ length: 500 }, (_, n) => flood.send(JSON.stringify({ type: 'message', text: `no ${n}` })));
    await Promise.all(sent.map(({ delivered }) => delivered));
    const most = 40 + Math.ceil(((Date.now() - began) / 1000) * 20);
    host.child.stdin!.write('enough\n');
    await until(() => listener.out().includes('enough'), 'the message from the host');
    const heard = lines(listener.out()).filter(({ text }) => /^no /.test(String(text))).length;
    assert.ok(heard >= 40 && heard <= most, `${heard} of 500, at most ${most}`);
    assert.match(host.err(), /mallory sends more than 20 chat messages a second/);
  });

  test('connect --raw transfers arbitrary bytes unchanged to hosts with --echo and --exec', async (t) => {
    const { start } = await setUp(t);
    const echo = start(['host', 'echo:1.0.0', '-u', 'echo', '--echo']);
    const sum = start([
      'host',
      'sum:1.0.0',
      '-u',
      'sum',
      '-k',
      join(tmpdir(), `rondevu-cli-sum-${process.pid}.key`),
      '--exec',
      'sha256sum; echo "$RONDEVU_PEER"',
    ]);
    t.after(() => rmSync(join(tmpdir(), `rondevu-cli-sum-${process.pid}.key`), { force: true }));
    await until(() => echo.out().includes('is live') && sum.out().includes('is live'), 'both hosts');
    for (const size of [0, 1, 70_000, 3_000_000]) {
      const bytes = randomBytes(size);
      const through = async (fqn: string): Promise<Buffer> => {
        const program = start(['connect', fqn, '--raw']);
        const got: Buffer[] = [];
        program.child.stdout!.on('data', (data: Buffer) => got.push(data));
        program.child.stdin!.end(bytes);
        assert.deepEqual(await program.ended, [0, null], program.err());
        return Buffer.concat(got);
      };
      assert.ok((await through('echo:1.0.0@echo')).equals(bytes), `${size} bytes`);
      const output = String(await through('sum:1.0.0@sum'));
      assert.match(output, new RegExp(`^${createHash('sha256').update(bytes).digest('hex')} {2}-\nanon-`));
    }
  });

  test('connect --raw transfers bytes unchanged to a host without pipe support', async (t) => {
    const { start, client } = await setUp(t);
    const host = await client('plain');
    const got: (string | ArrayBuffer)[] = [];
    host.on('connection:opened', (_id, connection) => {
      connection.on('message', (data) => got.push(data));
      connection.send('a line\n');
    });
    await (await host.publishService({ service: 'x:1.0.0' })).start();
    const program = start(['connect', 'x:1.0.0@plain', '--raw', '--progress']);
    program.child.stdin!.end('some bytes');
    assert.deepEqual(await program.ended, [0, null], program.err());
    assert.equal(program.out(), 'a line\n');
    assert.deepEqual(
      got.map((data) => (typeof data === 'string' ? data : String(Buffer.from(data)))),
      ['{"type":"pipe"}', 'some bytes'],
    );
    assert.match(program.err(), /10 B sent, 7 B received/);
  });

  test('a restarted transfer contains no data from the interrupted attempt', async (t) => {
    const { start, folder } = await setUp(t);
    const host = start(['host', 'drop:1.0.0', '-u', 'drop', '--exec', `cat > ${folder}/got-$$.bin`]);
    await until(() => host.out().includes('is live'), 'the host');
    const bytes = randomBytes(2_000_000);
    const key = ['--key-file', join(folder, 'joiner.key')];
    const first = start(['connect', 'drop:1.0.0@drop', '--raw', ...key]);
    first.child.stdin!.write(bytes.subarray(0, 1_000_000));
    const files = () => readdirSync(folder).filter((name) => name.startsWith('got-'));
    const sizes = () => files().map((name) => statSync(join(folder, name)).size);
    await until(() => sizes().includes(1_000_000), 'the first half');
    first.child.kill('SIGKILL');
    // an attempt can collide with the remains of the previous connection, and then exits with code 7
    let code: number | null = 7;
    for (let attempt = 0; attempt < 3 && code !== 0; attempt++) {
      const again = start(['connect', 'drop:1.0.0@drop', '--raw', '--wait', '20', ...key]);
      again.child.stdin!.end(bytes);
      [code] = await again.ended;
      assert.ok(code === 0 || code === 7, again.err());
    }
    assert.equal(code, 0);
    await until(() => sizes().includes(2_000_000), 'the whole');
    assert.ok(sizes().every((size) => size <= 2_000_000));
    assert.ok(files().some((name) => readFileSync(join(folder, name)).equals(bytes)));
  });

  test('a host reports that it is live only after publishing, and stops its child processes on exit', async (t) => {
    const { start, folder } = await setUp(t);
    const lost = start(['host', 'x:1.0.0', '-u', 'xhost', '--server', 'http://127.0.0.1:9']);
    await until(() => /trying again/.test(lost.err()), 'the message that the host is not live');
    assert.equal(lost.out(), '');
    lost.child.kill('SIGINT');
    assert.deepEqual(await lost.ended, [0, null]);
    const mark = `${folder}/pid`;
    const host = start(['host', 'x:1.0.0', '-u', 'xhost', '--exec', `echo $$ > ${mark}; sleep 300 | cat`]);
    await until(() => host.out().includes('is live'), 'the host');
    start(['connect', 'x:1.0.0@xhost', '--raw']);
    await until(() => existsSync(mark) && readFileSync(mark, 'utf8').endsWith('\n'), 'the program');
    host.child.kill('SIGTERM');
    assert.deepEqual(await host.ended, [0, null]);
    const group = Number(readFileSync(mark, 'utf8'));
    await until(() => {
      try {
        return !process.kill(-group, 0);
      } catch {
        return true; // the process group no longer exists
      }
    }, 'the end of the program');
  });

  test('a second signal terminates a host immediately, even if the server does not respond', async (t) => {
    const { start } = await setUp(t);
    const server = startProgram(t, process.execPath, ['server/dist/main.js', '--port', '0', '--storage', ':memory:']);
    await until(() => /Rondevu server on (\S+)/.test(server.out()), 'the server');
    const host = start(['host', 'x:1.0.0', '-u', 'xhost', '-s', /Rondevu server on (\S+)/.exec(server.out())![1]!]);
    await until(() => host.out().includes('is live'), 'the host');
    server.child.kill('SIGSTOP');
    host.child.kill('SIGINT');
    host.child.kill('SIGTERM');
    let code: number | null | undefined;
    void host.ended.then(([ended]) => (code = ended));
    await until(() => code !== undefined, 'its end');
    assert.ok(code === 130 || code === 143, String(code));
  });

  test('a hidden service can be joined only by its id', async (t) => {
    const { start, run } = await setUp(t);
    const host = start(['host', 'x:1.0.0', '--hidden', '--echo', '--json']);
    await until(() => host.out().includes('"live"'), 'the host');
    const { serviceId, serviceFqn } = lines(host.out())[0]!;
    assert.equal((await run(['connect', String(serviceFqn), '--wait', '0'])).code, 4);
    assert.equal((await run(['connect', String(serviceId), '--raw'], 'hidden')).out, 'hidden');
  });

  test('serve runs the server with the given options until it receives a signal', async (t) => {
    const { start } = await setUp(t);
    const serving = start(['serve', '--port', '0', '--storage', ':memory:']);
    await until(() => serving.out().includes('Rondevu server on'), 'the server');
    serving.child.kill('SIGTERM');
    assert.deepEqual(await serving.ended, [0, null]);
    const help = start(['serve', '--help']);
    assert.deepEqual(await help.ended, [0, null]);
    assert.match(help.out(), /--storage/);
  });

  test('an interrupted transfer is an error, but a program that stops reading early is not', async (t) => {
    const { start } = await setUp(t);
    const host = start(['host', 'x:1.0.0', '-u', 'host', '--echo']);
    await until(() => host.out().includes('is live'), 'the host');
    const begin = async (): Promise<Program> => {
      const program = start(['connect', 'x:1.0.0@host', '--raw']);
      program.child.stdin!.write('some');
      await until(() => program.out() === 'some', 'the echo');
      return program;
    };
    const here = await begin();
    here.child.kill('SIGINT');
    assert.deepEqual(await here.ended, [130, null]);
    const there = await begin();
    host.child.kill('SIGINT');
    assert.deepEqual(await there.ended, [7, null]);
    assert.match(there.err(), /ended before the transfer was complete: closed by the peer/);
    const head = start(['host', 'head:1.0.0', '-u', 'host', '--exec', 'head -c 10']);
    await until(() => head.out().includes('is live'), 'the next host');
    const reader = start(['connect', 'head:1.0.0@host', '--raw']);
    reader.child.stdin!.end(Buffer.alloc(20_000_000, 'x'));
    assert.deepEqual(await reader.ended, [0, null], reader.err());
    assert.equal(reader.out(), 'xxxxxxxxxx');
  });
});
