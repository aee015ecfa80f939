/** Features that `rondevu-elements/node` adds to the engine: finding a WebRTC package, key files, and shutdown on a signal. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import {
  WEBRTC_PACKAGES,
  connect,
  findWebRtc,
  identityFromFile,
  RondevuError,
  unusedProxy,
  type NodeOptions,
} from '../../dist/src/node/index.js';
import { startServer, until } from '../server/helpers.js';
import { start } from '../support/program.js';
import { temporaryFolder } from '../support/folders.js';

const run = promisify(execFile);

/** Creates a project in which the package, its dependencies and only the given optional packages are installed. */
function project(t: TestContext, ...packages: string[]): string {
  const path = temporaryFolder(t);
  const installed = join(path, 'node_modules', 'rondevu-elements');
  mkdirSync(installed, { recursive: true });
  cpSync('dist', join(installed, 'dist'), { recursive: true });
  cpSync('package.json', join(installed, 'package.json'));
  for (const name of ['ws', '@noble/ed25519', '@noble/hashes', ...packages]) {
    mkdirSync(resolve(path, 'node_modules', name, '..'), { recursive: true });
    symlinkSync(resolve('node_modules', name), join(path, 'node_modules', name));
  }
  return path;
}

const script = (cwd: string, text: string) => run(process.execPath, ['--input-type=module', '-e', text], { cwd });

test('findWebRtc finds every supported package by name without modifying globals', async () => {
  // other globals are ignored, because werift's dependencies add compiler helpers
  const known = () =>
    Object.getOwnPropertyNames(globalThis).filter((name) => /^(RTC|Media|WebSocket|navigator|window)/.test(name));
  const before = known();
  for (const name of WEBRTC_PACKAGES) {
    const found = await findWebRtc(name);
    assert.equal(found.name, name);
    const pc = new found.RTCPeerConnection({ iceServers: [], iceCandidatePoolSize: 1 });
    pc.createDataChannel('x');
    await pc.setLocalDescription();
    assert.match(pc.localDescription!.sdp, /a=fingerprint/, name);
    pc.close();
  }
  assert.deepEqual(known(), before);
  await assert.rejects(findWebRtc('wrtc' as never), /webrtc must be node-datachannel, @roamhq\/wrtc, werift, got "wrtc"/);
});

test('connect uses an installed WebRTC package, or fails with the install command', async (t) => {
  const text = `import { connect } from 'rondevu-elements/node';
    const told = await connect({ apiUrl: 'http://localhost:1' }).then((r) => r.close().then(() => 'connected'), ({ code, message }) => code + ': ' + message);
    console.log(told); process.exit();`;
  const none = await script(project(t), text);
  assert.equal(
    none.stdout.trim(),
    'unsupported: Node has no WebRTC, and no package that provides it is installed. Run: npm install node-datachannel (@roamhq/wrtc or werift also works)',
  );
  assert.equal((await script(project(t, '@roamhq/wrtc'), text)).stdout.trim(), 'connected');
  const named = await script(
    project(t, '@roamhq/wrtc'),
    `import { findWebRtc } from 'rondevu-elements/node'; findWebRtc('werift').catch(({ message }) => console.log(message));`,
  );
  assert.equal(named.stdout.trim(), 'Node has no WebRTC, and werift is not installed. Run: npm install werift');
});

test('a WebRTC package that fails to load is reported with the cause', async (t) => {
  const path = project(t);
  const broken = join(path, 'node_modules', 'werift');
  mkdirSync(broken);
  writeFileSync(join(broken, 'package.json'), '{"name":"werift","main":"index.js"}');
  writeFileSync(join(broken, 'index.js'), 'throw new Error("wrong architecture")');
  const { stdout } = await script(
    path,
    `import { findWebRtc } from 'rondevu-elements/node'; findWebRtc().catch(({ message }) => console.log(message));`,
  );
  assert.match(stdout, /^werift is installed but does not load: wrong architecture\. Run: npm install node-datachannel/);
});

test('mutually exclusive options and unknown options are rejected', async () => {
  const apiUrl = 'http://localhost:1';
  const { RTCPeerConnection } = await findWebRtc('@roamhq/wrtc');
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ keyFile: 'x', keypair: { publicKey: '', privateKey: '' } }, /keyFile cannot be combined with keypair or identity/],
    [{ keyFile: 7 }, /keyFile must be a path, got 7/],
    [{ webrtc: 'werift', rtcPeerConnection: RTCPeerConnection }, /pass webrtc or rtcPeerConnection, not both/],
    [{ lifecycel: true }, /the options of Rondevu\.connect must be .*, got "lifecycel"/],
  ];
  for (const [options, message] of wrong) await assert.rejects(connect({ apiUrl, ...options } as NodeOptions), message);
});

test('a key file is accessible only to its owner, and always yields the same identity', async (t) => {
  const path = join(temporaryFolder(t), 'deep', 'alice.key');
  const first = await identityFromFile(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal((await identityFromFile(path)).publicKey, first.publicKey);
  assert.deepEqual(readdirSync(join(path, '..')), ['alice.key']);
  const rondevu = await connect({ apiUrl: 'http://localhost:1', keyFile: path, username: 'alice' });
  assert.equal(rondevu.getPublicKey(), first.publicKey);
  await rondevu.close();
});

test('programs that start simultaneously get the same identity from a shared key file', async (t) => {
  const path = join(temporaryFolder(t), 'shared.key');
  const text = `import { identityFromFile } from ${JSON.stringify(resolve('dist/src/node/index.js'))};
    console.log((await identityFromFile(${JSON.stringify(path)})).publicKey);`;
  const keys = await Promise.all(Array.from({ length: 6 }, () => script(process.cwd(), text)));
  assert.equal(new Set(keys.map(({ stdout }) => stdout)).size, 1);
});

test('errors about an unusable key file never reveal its content', async (t) => {
  const path = join(temporaryFolder(t), 'bob.key');
  await identityFromFile(path);
  const secret = (JSON.parse(readFileSync(path, 'utf8')) as { privateKey: string }).privateKey;
  chmodSync(path, 0o640);
  await assert.rejects(identityFromFile(path), {
    code: 'bad-request',
    message: `other users may read or change the key file ${path}. Run: chmod 600 ${path}`,
  });
  chmodSync(path, 0o600);
  for (const content of ['', secret, `{"publicKey":"${secret}","privateKey":"${secret}"}`, `{"privateKey":"${secret}`, 'null']) {
    writeFileSync(path, content);
    await assert.rejects(identityFromFile(path), (error: RondevuError) => {
      assert.match(error.message, /^the key file .* contains no identity: /);
      assert.ok(!`${error.message} ${String(error.cause)}`.includes(secret.slice(0, 10)));
      return error.code === 'bad-request';
    });
  }
  await assert.rejects(identityFromFile(join(path, 'below')), { code: 'unavailable' });
});

test('the first signal shuts the program down gracefully, and the second signal terminates it immediately', async (t) => {
  const server = await startServer(t);
  const program = `import { connect, closeOnSignal } from ${JSON.stringify(resolve('dist/src/node/index.js'))};
    const rondevu = await connect({ apiUrl: ${JSON.stringify(server.url)} });
    await (await rondevu.publishService({ service: 'x:1.0.0', maxOffers: 3 })).start();
    closeOnSignal(rondevu, { onSignal: (name) => (console.log(name), process.env.SLOW && new Promise(() => undefined)) });
    console.log('ready');`;
  const begin = async (env: Record<string, string>) => {
    const started = start(t, process.execPath, ['--input-type=module', '-e', program], { env });
    await until(() => started.output().includes('ready'), 'the program to be ready');
    return started;
  };
  const looking = await connect({ apiUrl: server.url });
  t.after(() => looking.close());
  const free = async () => (await looking.discoverServices('x:1.0.0')).count;
  const first = await begin({});
  assert.equal(await free(), 1);
  first.child.kill('SIGINT');
  assert.deepEqual(await first.ended, [0, null]);
  assert.match(first.output(), /SIGINT/);
  assert.equal(await free(), 0);
  const slow = await begin({ SLOW: '1' });
  slow.child.kill('SIGTERM');
  await until(() => slow.output().includes('SIGTERM'), 'the first signal to be taken');
  slow.child.kill('SIGINT');
  assert.deepEqual(await slow.ended, [130, null]);
});

test('werift delivers all messages that waited for a late packet', async () => {
  const { RTCPeerConnection } = await findWebRtc('werift');
  const [a, b] = [new RTCPeerConnection(), new RTCPeerConnection()];
  a.onicecandidate = ({ candidate }) => void (candidate && b.addIceCandidate(candidate));
  b.onicecandidate = ({ candidate }) => void (candidate && a.addIceCandidate(candidate));
  const open = (pc: RTCPeerConnection) => [1, 2].map((id) => pc.createDataChannel(`${id}`, { negotiated: true, id }));
  const [[first, second], received] = [open(a) as [RTCDataChannel, RTCDataChannel], open(b)];
  const came: string[][] = [[], []];
  for (const [index, channel] of received.entries()) channel.onmessage = ({ data }) => came[index]!.push(data as string);
  try {
    await a.setLocalDescription(await a.createOffer());
    await b.setRemoteDescription(a.localDescription!);
    await b.setLocalDescription(await b.createAnswer());
    await a.setRemoteDescription(b.localDescription!);
    await until(() => first.readyState === 'open' && received[0]!.readyState === 'open');
    // intercepts packets between DTLS and SCTP, to deliver the packet with the first message after all others
    const dtls = (b.sctp as unknown as { dtlsTransport: { dataReceiver(packet: Buffer): void } }).dtlsTransport;
    const { dataReceiver } = dtls;
    const late: Buffer[] = [];
    dtls.dataReceiver = (packet) => void (packet.includes('one') ? late.push(packet) : dataReceiver(packet));
    for (const word of ['one', 'two', 'three']) {
      first.send(word);
      second.send(`after ${word.length}`);
    }
    await until(() => late.length > 0 && came[1]!.length === 3);
    dtls.dataReceiver = dataReceiver;
    dataReceiver(late[0]!);
    await until(() => came[0]!.length === 3, 'the last message');
    assert.deepEqual(came[0], ['one', 'two', 'three']);
  } finally {
    a.close();
    b.close();
  }
});

test('a TURN transport unsupported by node-datachannel is an error only if there is no other path', async (t) => {
  const { RTCPeerConnection } = await findWebRtc('node-datachannel');
  const tcp = {
    urls: ['turn:127.0.0.1:3478?transport=tcp', 'turns:127.0.0.1:5349'],
    username: 'u',
    credential: 'secret-credential',
  };
  const udp = { ...tcp, urls: 'turn:127.0.0.1:3478' };
  assert.throws(
    () => new RTCPeerConnection({ iceServers: [tcp], iceTransportPolicy: 'relay' }),
    (error) => {
      assert.ok(error instanceof RondevuError && error.code === 'unsupported');
      assert.match(error.message, /TURN over UDP only.*turn:127\.0\.0\.1:3478\?transport=tcp.*@roamhq\/wrtc/);
      assert.ok(!error.message.includes('secret-credential'));
      return true;
    },
  );
  const warn = t.mock.method(console, 'warn', () => undefined);
  for (const iceServers of [[tcp], [tcp], [tcp, udp]]) new RTCPeerConnection({ iceServers }).close();
  new RTCPeerConnection({ iceServers: [tcp, udp], iceTransportPolicy: 'relay' }).close();
  assert.equal(warn.mock.callCount(), 1);
});

test('a configured proxy that Node does not use is reported with a remedy', () => {
  const proxy = 'http://user:secret@proxy.example:3128';
  const warning = (url: string, env: NodeJS.ProcessEnv): string => unusedProxy(url, env) ?? '';
  assert.match(warning('https://signal.example.org/x', { HTTPS_PROXY: proxy }), /^HTTPS_PROXY .*signal\.example\.org.*NO_PROXY/);
  assert.match(warning('http://signal.example.org', { http_proxy: proxy }), /^http_proxy /);
  assert.match(warning('http://signal.example.org', { ALL_PROXY: proxy }), /^ALL_PROXY /);
  assert.ok(!warning('https://signal.example.org', { HTTPS_PROXY: proxy }).includes('secret'));
  for (const [url, env] of [
    ['https://signal.example.org', {}],
    ['https://signal.example.org', { HTTP_PROXY: proxy }],
    ['http://localhost:3000', { HTTP_PROXY: proxy }],
    ['http://127.0.0.1:3000', { HTTP_PROXY: proxy }],
    ...['*', 'signal.example.org', '.example.org', 'example.org', 'a, example.org:443', 'SIGNAL.example.org'].map(
      (list) => ['https://signal.example.org:443/', { HTTPS_PROXY: proxy, NO_PROXY: list.replace(':443', '') }] as const,
    ),
    ['http://signal.example.org:8080', { HTTP_PROXY: proxy, no_proxy: 'example.org:8080' }],
  ] as const)
    assert.equal(unusedProxy(url, env), undefined, `${url} ${JSON.stringify(env)}`);
  assert.ok(warning('http://signal.example.org:8080', { HTTP_PROXY: proxy, no_proxy: 'example.org:80 ample.org' }));
});

test('connect and the doctor warn about an unused proxy', async (t) => {
  const cwd = project(t, 'node-datachannel');
  const text = `import { connect } from 'rondevu-elements/node';
    for (let n = 0; n < 2; n++) await (await connect({ apiUrl: 'http://signal.example.test' })).close();`;
  const env = { ...process.env, HTTP_PROXY: 'http://127.0.0.1:9' };
  const { stderr } = await run(process.execPath, ['--input-type=module', '-e', text], { cwd, env });
  assert.equal(stderr.split('HTTP_PROXY').length - 1, 1, stderr);
  const doctor = await run(
    process.execPath,
    ['dist/src/cli/main.js', 'doctor', '--server', 'http://signal.example.test', '--timeout', '1'],
    {
      env,
    },
  ).catch((failure: { stderr: string }) => failure);
  assert.match(doctor.stderr, /HTTP_PROXY/);
});
