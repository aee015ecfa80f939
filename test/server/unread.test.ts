/**
 * Tests replies that clients leave unread: the slowest reader is disconnected, and only a few large replies are assembled at a
 * time.
 */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/index.js';
import { MAX_BUFFERED, PushSession } from '../../server/src/session.js';
import { Slots } from '../../server/src/slots.js';
import { Tally } from '../../server/src/tally.js';
import { Unread, type Reader } from '../../server/src/unread.js';
import { Client, startServer, until } from './helpers.js';

class TestReader implements Reader {
  isCutOff = false;
  unread = 0;
  readonly address: string;
  constructor(address: string) {
    this.address = address;
  }
  cutOff(): void {
    this.isCutOff = true;
  }
}

test('disconnects the slowest reader at an address, not the current recipient', () => {
  const unread = new Unread(100, 1000);
  const [slow, other, elsewhere] = [new TestReader('a'), new TestReader('a'), new TestReader('b')];
  const add = (reader: TestReader, bytes: number): void => {
    reader.unread += bytes;
    unread.note(reader);
  };
  add(slow, 70);
  add(other, 30);
  add(elsewhere, 90);
  assert.deepEqual([slow.isCutOff, other.isCutOff, elsewhere.isCutOff], [false, false, false]);
  add(other, 1);
  assert.deepEqual([slow.isCutOff, other.isCutOff, elsewhere.isCutOff], [true, false, false]);
  add(other, 60);
  assert.equal(other.isCutOff, false, 'a disconnected reader no longer counts');
});

test('bytes that have been read no longer count as unread', () => {
  const unread = new Unread(100, 1000);
  const [one, other] = [new TestReader('a'), new TestReader('a')];
  one.unread = 90;
  unread.note(one);
  one.unread = 0;
  other.unread = 90;
  unread.note(other);
  assert.deepEqual([one.isCutOff, other.isCutOff], [false, false]);
  unread.forget(other);
  one.unread = 90;
  unread.note(one);
  assert.equal(one.isCutOff, false);
});

test('disconnects the slowest reader at the address with the most unread bytes if the total is too large', () => {
  const unread = new Unread(100, 250);
  const readers = Array.from({ length: 6 }, (_, index) => new TestReader(`address ${index % 3}`));
  for (const [index, reader] of readers.entries()) {
    reader.unread = 40 + index;
    unread.note(reader);
  }
  // unread bytes of the two readers at each address: 40 and 43, 41 and 44, 42 and 45
  assert.deepEqual(
    readers.map(({ isCutOff }) => isCutOff),
    [false, false, false, false, false, true],
  );
});

test('limits the number of concurrent tasks per name and in total', async () => {
  const slots = new Slots(2, 3);
  const ends: (() => void)[] = [];
  const begun: string[] = [];
  const work = (name: string): Promise<void> =>
    slots.run(name, () => {
      begun.push(name);
      return new Promise<void>((resolve) => ends.push(resolve));
    });
  const all = ['a', 'a', 'a', 'a', 'b', 'b', 'b'].map(work);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await turn();
  assert.deepEqual(begun, ['a', 'a', 'b']);
  ends.shift()!();
  await turn();
  assert.deepEqual(begun, ['a', 'a', 'b', 'b'], 'b has fewer running tasks than a');
  while (ends.length) {
    ends.shift()!();
    await turn();
  }
  await Promise.all(all);
  assert.deepEqual(begun.toSorted(), ['a', 'a', 'a', 'a', 'b', 'b', 'b']);
  await slots.run('c', async (hasWaited) => assert.equal(hasWaited, false));
  await assert.rejects(
    slots.run('c', () => Promise.reject(new Error('failed'))),
    /failed/,
  );
  await slots.run('c', async (hasWaited) => assert.equal(hasWaited, false));
});

/** A fake socket whose client reads nothing. */
class StalledSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  send(text: string): void {
    this.bufferedAmount += text.length;
  }
  close(): void {
    this.readyState = 2;
  }
  terminate(): void {
    this.readyState = 3;
    this.bufferedAmount = 0;
    this.emit('close', 1006);
  }
}

async function stalledSession(unread: Unread): Promise<{ session: PushSession; socket: StalledSocket }> {
  const socket = new StalledSocket();
  const caller = { username: 'somebody', publicKey: 'key', address: 'a' };
  const context = {
    auth: { chargeBytes: async () => undefined, authenticate: async () => caller },
    hub: { opened: async () => ({ epoch: 'epoch', seq: 0 }), closed: async () => undefined },
    turn: { iceServersIfAvailable: () => undefined },
    metrics: { slowReader: () => undefined },
    log: { warn: () => undefined },
    dispatcher: { publicError: (error: unknown) => error },
    ...{ limits: DEFAULT_LIMITS, caps: [], socketsOfKey: new Tally(1), unread },
  };
  const session = new PushSession(socket as never, { address: 'a', host: 'localhost' }, context as never);
  const frame = { id: 1, method: 'openSession', message: 'm', signature: 's', params: { instance: 'instance-1' } };
  socket.emit('message', Buffer.from(JSON.stringify(frame)), false);
  await until(() => session.isOpen, 'the session');
  return { session, socket };
}
const deliver = (session: PushSession, seq: number, length: number): void =>
  session.deliver({ seq, event: 'signal', text: JSON.stringify('x'.repeat(length)) } as never);

test('frames delivered in the current turn of the event loop count as unsent bytes of their session', async () => {
  const { session, socket } = await stalledSession(new Unread(1e9, 1e9));
  for (let i = 0; i < 60 && socket.readyState === 1; i++) {
    deliver(session, i, 100_000);
    assert.ok(session.unread <= 2 * MAX_BUFFERED + 200_000, `${session.unread} bytes`);
  }
  assert.equal(socket.readyState, 3);
  assert.equal(session.unread, 0);
});

test('unread bytes of sessions count against their address', async () => {
  const unread = new Unread(500_000, 1e9);
  const [one, other] = [await stalledSession(unread), await stalledSession(unread)];
  deliver(one.session, 1, 300_000);
  deliver(other.session, 1, 100_000);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([one.socket.readyState, other.socket.readyState], [1, 1]);
  deliver(other.session, 2, 150_000);
  await until(() => one.socket.readyState === 3, 'the slowest reader to be disconnected');
  assert.equal(other.socket.readyState, 1);
});

test('unread bytes of an HTTP client count against its address until the client is disconnected', async (t) => {
  const noted = new Set<Reader>();
  t.mock.method(Unread.prototype, 'note', (reader: Reader) => noted.add(reader));
  const forgotten = t.mock.method(Unread.prototype, 'forget', () => undefined);
  const { url, port } = await startServer(t, { limits: { ...DEFAULT_LIMITS, pointsPerAddress: 1e6, pointsPerKey: 1e6 } });
  const host = new Client(url);
  for (let i = 0; i < 20; i++) await host.publish(`big:1.0.${i}@${host.username}`, [`${i} `.padEnd(60_000, 'x')]);
  const page = host.signed('getService', { serviceFqn: `big:1.0.0@${host.username}`, limit: 100 });
  const batch = JSON.stringify([page, ...Array.from({ length: 11 }, () => host.signed('getService', page.params))]);
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  noted.clear();
  socket.pause();
  socket.write(`POST /rpc HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: ${batch.length}\r\n\r\n${batch}`);
  await until(() => noted.size > 0, 'the reply');
  const [reader] = noted;
  assert.equal(reader!.address, '127.0.0.1');
  assert.ok(reader!.unread > 1_000_000, `${reader!.unread} bytes`);
  reader!.cutOff();
  await until(() => forgotten.mock.calls.some((call) => call.arguments[0] === reader), 'the reader to be forgotten');
});
