/**
 * The oldest supported platform. The engine runs without APIs newer than Baseline 2023, reports older APIs that are missing,
 * and explains how to provide WebRTC in a program. The tests have their own file because they delete global APIs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rondevu, RondevuError } from '../../src/index.js';
import { canonicalJson } from '../../src/protocol/json.js';
import { NodePeerConnection } from '../support/old-host.js';
import { startServer } from '../server/helpers.js';

/** APIs newer than Baseline 2023 that earlier versions of the engine called. */
for (const [object, name] of [
  [AbortSignal, 'any'],
  [Promise, 'withResolvers'],
  [String.prototype, 'isWellFormed'],
] as const)
  Reflect.deleteProperty(object, name);

const client = (apiUrl: string, username: string) =>
  Rondevu.connect({ apiUrl, username, rtcPeerConnection: NodePeerConnection, lifecycle: false });

test('two peers connect without APIs newer than Baseline 2023', async (t) => {
  const { url } = await startServer(t);
  const [host, joiner] = [await client(url, 'alice'), await client(url, 'bob')];
  t.after(() => Promise.all([host.close(), joiner.close()]));
  host.on('connection:opened', (_id, connection) => connection.on('message', (data) => connection.send(data as string)));
  await (await host.publishService({ service: 'chat:1.0.0', maxOffers: 1 })).start();
  const connection = await joiner.connectToService({ serviceFqn: 'chat:1.0.0@alice' });
  const echo = new Promise((resolve) => connection.on('message', resolve));
  connection.send('hello');
  assert.equal(await echo, 'hello');
});

test('lone surrogates are rejected even if isWellFormed is missing', () => {
  assert.equal(canonicalJson('a\u{1f600}b'), '"a\u{1f600}b"');
  for (const text of ['\ud83d', 'a\ude00', '\ude00\ud83d'])
    assert.throws(() => canonicalJson(text), { code: 'bad-request' }, JSON.stringify(text));
});

test('an outdated browser gets an error that lists the missing APIs', async (t) => {
  const { canParse } = URL;
  t.after(() => (URL.canParse = canParse));
  Reflect.deleteProperty(URL, 'canParse');
  await assert.rejects(client('http://localhost:9', 'alice'), (error) => {
    assert.ok(error instanceof RondevuError && error.code === 'unsupported');
    assert.match(error.message, /browser is too old: it has no URL\.canParse/);
    return true;
  });
});

test('a program without WebRTC gets an error that names the option to pass', async (t) => {
  const rondevu = await Rondevu.connect({ apiUrl: 'http://localhost:9', lifecycle: false });
  t.after(() => rondevu.close());
  const failed = rondevu.connectToService({ serviceFqn: 'chat:1.0.0@alice' });
  await assert.rejects(failed, { code: 'unsupported', message: /rondevu-elements\/node, or pass rtcPeerConnection/ });
});
