/**
 * MessageBuffer: order, the bound in number (oldest goes), the bound in age, and that nothing is lost or given twice.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MessageBuffer, type BufferedMessage } from '../../src/delivery/message-buffer.js';

const message = (id: number, timestamp = 0): BufferedMessage => ({ id: `${id}`, data: `data ${id}`, timestamp, attempts: 0 });
const ids = (messages: BufferedMessage[]) => messages.map(({ id }) => Number(id));

test('gives everything back, oldest first, and is empty then', () => {
  const buffer = new MessageBuffer({ maxSize: 10, maxAge: 0 });
  for (const id of [1, 2, 3]) assert.equal(buffer.add(message(id)), undefined);
  assert.equal(buffer.size, 3);
  assert.deepEqual(ids(buffer.takeAll()), [1, 2, 3]);
  assert.equal(buffer.size, 0);
  assert.deepEqual(buffer.takeAll(), []);
});

test('past its size the oldest goes and the new one is kept', () => {
  const buffer = new MessageBuffer({ maxSize: 2, maxAge: 0 });
  buffer.add(message(1));
  buffer.add(message(2));
  assert.equal(buffer.add(message(3))?.id, '1');
  assert.equal(buffer.add(message(4))?.id, '2');
  assert.deepEqual(ids(buffer.takeAll()), [3, 4]);
});

test('with size 0 nothing is kept, and what was sent is told', () => {
  const buffer = new MessageBuffer({ maxSize: 0, maxAge: 0 });
  assert.equal(buffer.add(message(1))?.id, '1');
  assert.equal(buffer.size, 0);
});

test('what is older than its age is taken out, what has just that age is kept', () => {
  const buffer = new MessageBuffer({ maxSize: 10, maxAge: 100 });
  buffer.add(message(1, 1000));
  buffer.add(message(2, 1050));
  assert.deepEqual(ids(buffer.takeExpired(1100)), []);
  assert.deepEqual(ids(buffer.takeExpired(1101)), [1]);
  assert.deepEqual(ids(buffer.takeExpired(1101)), [], 'told once');
  assert.deepEqual(ids(buffer.takeAll()), [2]);
});

test('age 0 and Infinity mean for ever', () => {
  for (const maxAge of [0, Infinity]) {
    const buffer = new MessageBuffer({ maxSize: 10, maxAge });
    buffer.add(message(1, 0));
    assert.deepEqual(buffer.takeExpired(Number.MAX_SAFE_INTEGER), []);
    assert.equal(buffer.size, 1);
  }
});

test('a clock that jumps back expires nothing', () => {
  const buffer = new MessageBuffer({ maxSize: 10, maxAge: 100 });
  buffer.add(message(1, 10_000));
  assert.deepEqual(buffer.takeExpired(0), []);
});

test('whatever happens, every message comes out exactly once and in order', () => {
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
          const discarded = buffer.add(message(++added, now));
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
