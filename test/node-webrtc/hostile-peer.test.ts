/**
 * A hostile peer that bypasses the engine, with real WebRTC in Node. Invalid input ends only the connection on which it
 * arrives.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { WebRtcLink } from '../../src/connection/webrtc-link.js';
import type { RondevuConnection } from '../../src/index.js';
import { until } from '../server/helpers.js';
import { pair } from './pair.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const heap = (): number => (collectGarbage(), process.memoryUsage().heapUsed);

/** Engine internals that the tests use. */
interface Inner {
  link: WebRtcLink;
  endpoint: { receive(data: string | ArrayBuffer, link: WebRtcLink): void; control(text: string, link: WebRtcLink): boolean };
}
const inner = (connection: RondevuConnection): Inner => connection as unknown as Inner;

/** Returns the codes of `failed` events, and a promise that resolves when the connection closes. */
function ending(connection: RondevuConnection): { codes: string[]; closed: Promise<void> } {
  const codes: string[] = [];
  connection.on('failed', ({ code }) => codes.push(code));
  return { codes, closed: new Promise((resolve) => connection.once('closed', () => resolve())) };
}

describe('a hostile peer', { concurrency: 3, timeout: 60_000 }, () => {
  test('malformed frames end only the connection on which they arrive', async (t) => {
    const { join } = await pair(t);
    const honest = await join('carol');
    const got: unknown[] = [];
    honest.other.on('message', (data) => got.push(data));
    const frames = [Uint8Array.of(0, 1, 0), Uint8Array.of(4, 1, 1, 65), Uint8Array.of(7, 255, 255, 255), 'hello?', '[['];
    for (const [index, frame] of frames.entries()) {
      const { connection, other } = await join(`mallory-${index}`);
      other.on('message', () => undefined);
      const { codes, closed } = ending(other);
      // the second frame must be ignored
      for (let i = 0; i < 2; i++) inner(connection).link.send(frame);
      await closed;
      assert.deepEqual(codes, ['bad-request'], String(frame));
      assert.equal(await honest.connection.send(`after ${index}`).delivered, 'delivered');
    }
    assert.deepEqual(
      got,
      frames.map((_, index) => `after ${index}`),
    );
  });

  test('an exception in message handling ends the connection without crashing the process', async (t) => {
    const { join } = await pair(t);
    for (const [index, part] of (['receive', 'control'] as const).entries()) {
      const { connection, other } = await join(`bob-${index}`);
      const { codes, closed } = ending(other);
      inner(other).endpoint[part] = () => {
        throw new TypeError('a fault of ours');
      };
      if (part === 'receive') connection.send('x');
      else inner(connection).link.control('x');
      await closed;
      assert.deepEqual(codes, ['bad-request'], part);
    }
  });
});

test('messages held for channels without listeners are limited to 8 MiB in total', async (t) => {
  const { join } = await pair(t);
  const { connection, other } = await join('mallory');
  const { codes } = ending(other);
  const warn = t.mock.method(console, 'warn', () => undefined);
  let lost = 0;
  for (let i = 0; i < 12; i++) {
    const channel = connection.createChannel(`channel ${i}`);
    void channel.send(new Uint8Array(1_000_000)).delivered.then(() => lost++);
  }
  await until(() => lost === 4, 'the messages beyond 8 MiB to be dropped');
  assert.equal(warn.mock.callCount(), 4);
  const got: unknown[] = [];
  for (let i = 0; i < 12; i++) other.getChannel(`channel ${i}`)!.on('message', (data) => got.push(data));
  await until(() => got.length === 8, 'the held messages');
  assert.equal(await connection.send('the connection goes on').delivered, 'delivered');
  assert.deepEqual(codes, []);
});

describe('control messages from a hostile peer', { concurrency: 3, timeout: 60_000 }, () => {
  const open = (label: string, id: number): string => `open ${JSON.stringify({ label, id })}`;

  test('malformed control messages and duplicate channel ids or labels end the connection', async (t) => {
    const { join } = await pair(t);
    const wrong: Record<string, string[]> = {
      'two labels on one id': [open('a', 103), open('b', 103)],
      'one label on two ids': [open('a', 103), open('a', 105)],
      'one label twice': [open('a', 103), open('a', 103)],
      'an id of the other side': [open('a', 102)],
      'half an id': [open('a', 103.5)],
      'an id past the last': [open('a', 1025)],
      'no id': ['open {"label":"a"}'],
      'a label that is too long': [open('x'.repeat(257), 103)],
      'no JSON': ['open a'],
      'deep JSON': [`open ${'['.repeat(60_000)}`],
      'more retransmissions than there can be': ['open {"label":"a","id":103,"maxRetransmits":65536}'],
      'a text that is too long': [`sdp ${'x'.repeat(65_536)}`],
    };
    for (const [index, [what, texts]] of Object.entries(wrong).entries()) {
      const { connection, other } = await join(`mallory-${index}`);
      const { codes, closed } = ending(other);
      let channels = 0;
      other.on('channel', () => channels++);
      for (const text of texts) inner(connection).link.control(text);
      await closed;
      assert.deepEqual(codes, ['bad-request'], what);
      assert.equal(channels, texts.length - 1, what);
    }
  });

  test('new channels replace old channels that are not announced again on the next link', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const { codes } = ending(other);
    const announce = async (from: number, count: number): Promise<void> => {
      for (let i = 0; i < count; i++) inner(connection).link.control(open(`label ${from + i}`, 103 + 2 * i));
      await until(() => other.getChannel(`label ${from + count - 1}`) !== undefined, 'the last channel');
    };
    await announce(0, 400);
    const { generation } = other;
    connection.getPeerConnection()!.close();
    await until(() => other.generation > generation && other.isConnected() && connection.isConnected(), 'the next link');
    await connection.send('the link carries messages').delivered;
    await announce(1000, 400);
    const kept = (from: number): number =>
      Array.from({ length: 400 }, (_, i) => other.getChannel(`label ${from + i}`)).filter((channel) => channel !== undefined)
        .length;
    assert.deepEqual([kept(0), kept(1000), codes], [61, 400, []]);
  });

  test('restart requests cause calls to the server only at a limited rate', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    let signals = 0;
    for (const side of [connection, other]) {
      const { port } = side as unknown as { port: { signal(...args: unknown[]): Promise<unknown> } };
      const { signal } = port;
      port.signal = (...args) => (signals++, signal.apply(port, args));
    }
    // both peers send the request, because either of them may have the role that handles it
    for (let i = 0; i < 2000; i++) for (const side of [connection, other]) inner(side).link.control('restart?');
    assert.equal(await connection.send('after all of them').delivered, 'delivered');
    await other.send('and back').delivered;
    assert.ok(signals <= 2 * 2, `${signals} messages to the server for 4000 on the control channel`);
  });

  test('each signed description triggers only one renegotiation, even if the server sends altered copies', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const { link } = inner(connection);
    const taken: string[] = [];
    const { renegotiate } = link;
    link.renegotiate = (description) => (taken.push(description.sdp!), renegotiate.call(link, description));
    const copies: string[] = [];
    const { port } = other as unknown as { port: { signal(signal: { sdp: string }): Promise<unknown> } };
    port.signal = async ({ sdp }) => copies.push(sdp);
    other.restartIce();
    await until(() => taken.length === 1 && copies.length === 1, 'the description over the control channel');
    const password = '0123456789012345678901234567';
    const changed = copies[0]!.replace(/a=ice-pwd:.*/g, `a=ice-pwd:${password}`);
    assert.notEqual(changed, copies[0]);
    connection.receiveSignal(changed);
    await until(() => other.getPeerConnection()!.signalingState === 'stable', 'the answer');
    other.restartIce();
    await until(() => taken.length >= 2, 'the next description');
    assert.equal(await connection.send('still there').delivered, 'delivered');
    // on a busy machine, a slow ICE restart may be followed by a second restart
    assert.equal(new Set(taken).size, taken.length);
    assert.ok(!taken.some((sdp) => sdp.includes(password)));
  });

  test('control messages do not accumulate in memory', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    other.on('message', () => undefined);
    const before = heap();
    for (let i = 0; i < 1000; i++) {
      inner(connection).link.control(`sdp ${i} ${'x'.repeat(60_000)}`);
      if (i % 10 === 9) await connection.send('in between').delivered;
    }
    const grown = heap() - before;
    assert.ok(grown < 10_000_000, `1000 texts of 60 kB take ${grown} bytes`);
  });
});
