/**
 * MessageBuffer: message order, the size limit (the oldest message is dropped) and the age limit. No message is lost or
 * returned twice.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { byteLength, Message, MessageBuffer, toData, type BufferedMessage } from '../../src/delivery/message-buffer.js';

const message = (id: number): BufferedMessage => ({ id: `${id}`, data: `data ${id}`, timestamp: 0, attempts: 0 });
const ids = (messages: BufferedMessage[]) => messages.map(({ id }) => Number(id));

test('takeAll() returns all messages in order, and empties the buffer', () => {
  const buffer = new MessageBuffer({ maxSize: 10, maxAge: 0 });
  for (const id of [1, 2, 3]) assert.equal(buffer.add(message(id)), undefined);
  assert.equal(buffer.size, 3);
  assert.deepEqual(ids(buffer.takeAll()), [1, 2, 3]);
  assert.equal(buffer.size, 0);
  assert.deepEqual(buffer.takeAll(), []);
});

test('add() drops and returns the oldest message when the buffer is full', () => {
  const buffer = new MessageBuffer({ maxSize: 2, maxAge: 0 });
  buffer.add(message(1));
  buffer.add(message(2));
  assert.equal(buffer.add(message(3))?.id, '1');
  assert.equal(buffer.add(message(4))?.id, '2');
  assert.deepEqual(ids(buffer.takeAll()), [3, 4]);
});

test('add() returns the new message itself if maxSize is 0', () => {
  const buffer = new MessageBuffer({ maxSize: 0, maxAge: 0 });
  assert.equal(buffer.add(message(1))?.id, '1');
  assert.equal(buffer.size, 0);
});

test('takeExpired() removes messages older than maxAge, but not messages of exactly that age', () => {
  const buffer = new MessageBuffer({ maxSize: 10, maxAge: 100 });
  buffer.add(message(1), 1000);
  buffer.add(message(2), 1050);
  assert.deepEqual(ids(buffer.takeExpired(1100)), []);
  assert.deepEqual(ids(buffer.takeExpired(1101)), [1]);
  assert.deepEqual(ids(buffer.takeExpired(1101)), [], 'told once');
  assert.deepEqual(ids(buffer.takeAll()), [2]);
});

test('a maxAge of 0 or Infinity means no age limit', () => {
  for (const maxAge of [0, Infinity]) {
    const buffer = new MessageBuffer({ maxSize: 10, maxAge });
    buffer.add(message(1), 0);
    assert.deepEqual(buffer.takeExpired(Number.MAX_SAFE_INTEGER), []);
    assert.equal(buffer.size, 1);
  }
});

test('changes to the wall clock do not expire messages', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 10_000_000 });
  for (const to of [0, 20_000_000]) {
    t.mock.timers.setTime(10_000_000);
    const buffer = new MessageBuffer({ maxSize: 10, maxAge: 60_000 });
    buffer.add(new Message('1', 'x'));
    t.mock.timers.setTime(to);
    assert.deepEqual(buffer.takeExpired(), []);
    assert.deepEqual(ids(buffer.takeExpired(performance.now() + 60_001)), [1]);
  }
});

test('toData() accepts binary data from a different realm, but not look-alike objects', async () => {
  const other = runInNewContext(
    '({ buffer: Uint8Array.of(1, 2).buffer, view: Uint8Array.of(3), data: new DataView(new ArrayBuffer(1)) })',
  ) as {
    buffer: ArrayBuffer;
    view: Uint8Array;
    data: DataView;
  };
  assert.equal(other.buffer instanceof ArrayBuffer, false);
  const taken = Object.values(other).map((data) => toData(data) as ArrayBuffer);
  for (const data of taken) assert.ok(data instanceof ArrayBuffer, 'a buffer of this realm');
  assert.deepEqual(
    taken.map((data) => [...new Uint8Array(data)]),
    [[1, 2], [3], [0]],
  );
  const blob = Object.create(null, { [Symbol.toStringTag]: { value: 'Blob' }, size: { value: 3 } }) as Blob;
  assert.deepEqual([toData(blob), byteLength({ data: blob })], [blob, 3]);
  for (const data of [null, undefined, 5, [1], { byteLength: 1 }, new SharedArrayBuffer(1)])
    assert.throws(() => toData(data), /send takes a string, Blob, ArrayBuffer or view/);
});

test('the buffer returns each message exactly once and in order for any sequence of operations', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), later: fc.nat({ max: 50 }) }),
    fc.record({ kind: fc.constant('expire' as const), later: fc.nat({ max: 200 }) }),
    fc.record({ kind: fc.constant('take' as const), later: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat({ max: 5 }), (steps, maxSize) => {
      const buffer = new MessageBuffer({ maxSize, maxAge: 100 });
      let now = 0;
      let added = 0;
      const out: number[] = [];
      for (const { kind, later } of steps) {
        now += later;
        if (kind === 'add') {
          const discarded = buffer.add(message(++added), now);
          if (discarded) out.push(Number(discarded.id));
        } else out.push(...ids(kind === 'expire' ? buffer.takeExpired(now) : buffer.takeAll()));
        assert.ok(buffer.size <= maxSize);
      }
      out.push(...ids(buffer.takeAll()));
      assert.deepEqual(
        out,
        Array.from({ length: added }, (_, index) => index + 1),
      );
    }),
  );
});
