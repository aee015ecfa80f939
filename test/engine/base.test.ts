/**
 * Building blocks of the engine: backoff, lock, emitter, byte encodings, errors and queue. Most tests cover misuse: listeners
 * that throw, sections that reject, values that cannot be quoted, and secrets passed in the wrong field.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test, type TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { AsyncLock } from '../../src/base/async-lock.js';
import { ExponentialBackoff } from '../../src/base/backoff.js';
import { base64ToBytes, bytesToBase32, bytesToBase64, bytesToBase64Url, bytesToHex, utf8 } from '../../src/base/bytes.js';
import { withDefaults } from '../../src/base/check-options.js';
import { Emitter } from '../../src/base/emitter.js';
import { Queue } from '../../src/base/queue.js';
import { sleep, timerDelay } from '../../src/base/timers.js';
import { ConnectionError, NetworkError, RondevuError, ValidationError, invalidValue, quote } from '../../src/errors.js';
import * as engine from '../../src/index.js';
import { Rondevu } from '../../src/rondevu.js';

// --- ExponentialBackoff

test('backoff doubles from base to max, and starts over after reset', () => {
  const backoff = new ExponentialBackoff({ base: 100, max: 1000, jitter: 0 });
  assert.deepEqual(
    Array.from({ length: 6 }, () => backoff.next()),
    [100, 200, 400, 800, 1000, 1000],
  );
  assert.equal(backoff.getAttempt(), 6);
  backoff.reset();
  assert.equal(backoff.getAttempt(), 0);
  assert.equal(backoff.next(), 100);
});

test('backoff never exceeds its maximum, even after thousands of calls', () => {
  const backoff = new ExponentialBackoff({ base: 1000, max: 30_000, jitter: 0 });
  for (let i = 0; i < 5000; i++) assert.ok(backoff.next() <= 30_000);
});

test('backoff delays vary in both directions within the jitter', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }), (base, jitter) => {
      const backoff = new ExponentialBackoff({ base, max: 60_000, jitter });
      for (let n = 0; n < 10; n++) {
        const plain = Math.min(base * 2 ** n, 60_000);
        const delay = backoff.next();
        assert.ok(delay >= Math.floor(plain * (1 - jitter)) && delay <= Math.ceil(plain * (1 + jitter)), `${delay} of ${plain}`);
      }
    }),
  );
  const delays = Array.from({ length: 200 }, () => new ExponentialBackoff({ base: 1000, jitter: 0.5 }).next());
  assert.ok(Math.min(...delays) < 1000 && Math.max(...delays) > 1000);
});

test('backoff refuses out-of-range options with an error that names them', () => {
  for (const [options, name] of [
    [{ base: -1 }, 'base'],
    [{ max: NaN }, 'max'],
    [{ jitter: 1.5 }, 'jitter'],
    [{ jitter: -0.1 }, 'jitter'],
  ] as const) {
    assert.throws(
      () => new ExponentialBackoff(options),
      (error) => error instanceof ValidationError && error.message.includes(name),
    );
  }
});

// --- AsyncLock

test('a lock runs one section at a time, in the order of the calls', async () => {
  const lock = new AsyncLock();
  const log: string[] = [];
  const section = (name: string) => async () => {
    log.push(`${name} in`);
    await new Promise(setImmediate);
    log.push(`${name} out`);
    return name;
  };
  assert.equal(lock.isLocked(), false);
  const all = Promise.all(['a', 'b', 'c'].map((name) => lock.run(section(name))));
  assert.equal(lock.isLocked(), true);
  assert.deepEqual(await all, ['a', 'b', 'c']);
  assert.deepEqual(log, ['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  await new Promise(setImmediate);
  assert.equal(lock.isLocked(), false);
});

test('a section that throws or rejects releases the lock without affecting other sections', async () => {
  const lock = new AsyncLock();
  const thrown = lock.run(() => {
    throw new Error('at once');
  });
  const rejected = lock.run(() => Promise.reject(new Error('later')));
  const fine = lock.run(() => 1);
  await assert.rejects(thrown, /at once/);
  await assert.rejects(rejected, /later/);
  assert.equal(await fine, 1);
  await new Promise(setImmediate);
  assert.equal(lock.isLocked(), false);
});

// --- Emitter

interface Events {
  tick: [n: number];
  other: [];
}

/** Mocks console.error to count and suppress the errors that the emitter reports. */
const silence = (t: TestContext) => t.mock.method(console, 'error', () => undefined);

test('emit calls the listeners in order, and returns whether there were any', () => {
  const emitter = new Emitter<Events>();
  const log: string[] = [];
  assert.equal(emitter.emit('tick', 1), false);
  assert.equal(
    emitter.on('tick', (n) => log.push(`a${n}`)),
    emitter,
    'on can be chained',
  );
  emitter.on('tick', (n) => log.push(`b${n}`));
  assert.equal(emitter.emit('tick', 2), true);
  assert.equal(emitter.emit('other'), false);
  assert.deepEqual(log, ['a2', 'b2']);
});

test('an error thrown by a listener is reported without affecting other listeners', (t) => {
  const { mock } = silence(t);
  const emitter = new Emitter<Events>();
  const seen: number[] = [];
  emitter.on('tick', () => {
    throw new Error('mine');
  });
  emitter.on('tick', (n) => seen.push(n));
  assert.equal(emitter.emit('tick', 1), true);
  assert.equal(emitter.emit('tick', 2), true);
  assert.deepEqual(seen, [1, 2]);
  assert.equal(mock.callCount(), 2);
  assert.match(String(mock.calls[0]!.arguments[0]), /"tick"/);
});

test('a listener added with once runs once, even if it throws or emits the same event again', (t) => {
  silence(t);
  const emitter = new Emitter<Events>();
  let calls = 0;
  emitter.once('tick', (n) => {
    calls++;
    if (n < 3) emitter.emit('tick', n + 1);
    throw new Error('mine');
  });
  emitter.emit('tick', 1);
  emitter.emit('tick', 1);
  assert.equal(calls, 1);
  assert.equal(emitter.listenerCount('tick'), 0);
});

test('off removes one listener or all listeners, and ignores an unknown listener', () => {
  const emitter = new Emitter<Events>();
  const log: string[] = [];
  const a = () => log.push('a');
  const b = () => log.push('b');
  emitter.on('tick', a).on('tick', b);
  emitter.off('tick', a).off('tick', () => undefined);
  emitter.off('other', () => undefined);
  emitter.emit('tick', 1);
  assert.deepEqual(log, ['b']);
  assert.equal(emitter.listenerCount('tick'), 1);
  emitter.off('tick');
  assert.equal(emitter.emit('tick', 1), false);
});

test('listeners can be added and removed during emit', () => {
  const emitter = new Emitter<Events>();
  const log: string[] = [];
  const late = () => log.push('late');
  const last = () => log.push('last');
  emitter.on('tick', function first() {
    log.push('first');
    emitter.off('tick', first);
    emitter.on('tick', late);
  });
  emitter.on('tick', last);
  emitter.emit('tick', 1);
  assert.deepEqual(log, ['first', 'last'], 'a listener added during emit must wait for the next event');
  emitter.emit('tick', 2);
  assert.deepEqual(log, ['first', 'last', 'last', 'late']);
});

// --- bytes

test('base64, base64url, hex and UTF-8 encodings match Node', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      assert.equal(bytesToBase64(bytes), buffer.toString('base64'));
      assert.equal(bytesToBase64Url(bytes), buffer.toString('base64url'));
      assert.equal(bytesToHex(bytes), buffer.toString('hex'));
      assert.deepEqual([...base64ToBytes(bytesToBase64(bytes))], [...bytes]);
    }),
  );
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => assert.deepEqual([...utf8(text)], [...Buffer.from(text)])));
});

test('base32 follows RFC 4648, in lower case and without padding', () => {
  const vectors = { '': '', f: 'my', fo: 'mzxq', foo: 'mzxw6', foob: 'mzxw6yq', fooba: 'mzxw6ytb', foobar: 'mzxw6ytboi' };
  for (const [text, expected] of Object.entries(vectors)) assert.equal(bytesToBase32(utf8(text)), expected);
});

test('decoding invalid base64 throws', () => {
  assert.throws(() => base64ToBytes('~~~'));
});

// --- errors

test('quote returns a single short line', () => {
  const circular: { self?: unknown } = {};
  circular.self = circular;
  const awkward = [
    undefined,
    null,
    NaN,
    1n,
    Symbol('s'),
    circular,
    () => 1,
    class A {},
    'a\nb',
    Object.create(null),
    new Proxy({}, {}),
  ];
  for (const value of awkward) {
    const text = quote(value);
    assert.equal(typeof text, 'string');
    assert.doesNotMatch(text, /\n/);
    assert.ok(invalidValue('it', 'fine', value).message.includes(text));
  }
  assert.ok(quote('x'.repeat(10_000)).length <= 80);
});

test('quote shows NaN, Infinity and lists, and describes objects by their type', () => {
  assert.deepEqual([NaN, Infinity, -Infinity, 0, 1.5].map(quote), ['NaN', 'Infinity', '-Infinity', '0', '1.5']);
  assert.deepEqual([undefined, null, false, 'a'].map(quote), ['undefined', 'null', 'false', '"a"']);
  assert.deepEqual([{ a: 1 }, new Error('x'), () => 1, [1, 'a', { a: 1 }]].map(quote), [
    'object',
    'object',
    'function',
    '[1,"a",{}]',
  ]);
});

test('quote handles values that cannot be serialized', () => {
  const throwsInJson = {
    toJSON() {
      throw new Error('no');
    },
  };
  const nothingWorks = Object.assign(Object.create(null) as object, throwsInJson);
  const circularBare = Object.create(null) as { self?: unknown };
  circularBare.self = circularBare;
  for (const value of [throwsInJson, nothingWorks, circularBare, Object.assign(Object.create(null) as object, { n: 1n })]) {
    assert.equal(typeof quote(value), 'string');
    assert.equal(invalidValue('it', 'fine', value).code, 'bad-request');
  }
});

test('quote never throws for arbitrary values', () => {
  const anything = fc.anything({ withBigInt: true, withNullPrototype: true, withObjectString: true, withSparseArray: true });
  fc.assert(fc.property(anything, (value) => typeof quote(value) === 'string'));
});

test('errors have a code, a name and a cause, and are instances of RondevuError', () => {
  const cause = new Error('why');
  const network = new NetworkError('gone', { cause });
  assert.deepEqual([network.code, network.name, network.cause, network.willRetry], ['unavailable', 'NetworkError', cause, false]);
  assert.equal(new NetworkError('late', { code: 'timeout' }).code, 'timeout');
  assert.deepEqual([new ValidationError('x').code, new ConnectionError('closed', 'x').code], ['bad-request', 'closed']);
  for (const error of [network, new ValidationError('x'), new ConnectionError('closed', 'x')]) {
    assert.ok(error instanceof RondevuError && error instanceof Error);
  }
});

test('each exported error class has its own name', () => {
  const classes = Object.entries(engine).filter(([name]) => name.endsWith('Error'));
  assert.ok(classes.length >= 6, String(classes.map(([name]) => name)));
  for (const [name, Class] of classes) {
    const failure = { success: false, error: 'text', code: 'not-found' };
    const args: unknown[] = name === 'ServerError' ? ['poll', failure] : ['not-found', 'text', 'text'];
    const { name: own, message } = Reflect.construct(Class as unknown as new () => Error, args) as Error;
    assert.equal(own, name, message);
  }
});

test('errors about a bad keypair or identity never contain the secret', async () => {
  const secret = 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=';
  const bad: object[] = [
    { keypair: secret },
    { keypair: { privateKey: secret } },
    { keypair: { publicKey: secret, privateKey: secret } },
    { keypair: { publicKey: 'x', privateKey: secret } },
    { identity: secret },
    { keypair: { publicKey: secret, privateKey: secret }, identity: { privateKey: secret } },
    { keypair: { publicKey: secret, privateKey: secret }, keypairs: 1 },
  ];
  for (const options of bad) {
    const error: unknown = await Rondevu.connect({ apiUrl: 'http://localhost:1', ...options }).catch((caught: unknown) => caught);
    assert.ok(error instanceof ValidationError, `${JSON.stringify(Object.keys(options))}: ${String(error)}`);
    assert.ok(!`${error.message}\n${error.stack}`.includes(secret), error.message);
  }
});

// --- Queue

test('a queue behaves like an array under any sequence of operations', () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: 1, max: 2000 }) }),
    fc.record({ take: fc.integer({ min: 0, max: 3000 }) }),
    fc.constantFrom('push', 'unshift', 'shift', 'replace'),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = new Queue<number>();
      const array: number[] = [];
      let next = 0;
      for (const each of steps) {
        if (typeof each === 'object' && 'add' in each) {
          for (let i = 0; i < each.add; i++) {
            queue.push(next);
            array.push(next++);
          }
        } else if (typeof each === 'object') {
          assert.deepEqual(queue.take(each.take), array.splice(0, each.take));
        } else if (each === 'shift') {
          assert.equal(queue.shift(), array.shift());
        } else if (each === 'push' || each === 'unshift') {
          queue[each](next);
          array[each](next++);
        } else if (array.length) {
          queue.replaceFirst(next);
          array[0] = next++;
        }
        assert.equal(queue.length, array.length);
        for (const index of [0, 1, array.length - 1, array.length, -1]) assert.equal(queue.at(index), array[index]);
      }
      assert.deepEqual(queue.take(), array);
      assert.equal(queue.length, 0);
    }),
  );
});

test('a queue does not retain removed items', () => {
  const queue = new Queue<object>();
  const lost = new WeakRef({});
  queue.push(lost.deref()!);
  for (let i = 0; i < 100; i++) queue.push({});
  queue.shift();
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
    (runInNewContext('gc') as () => void)();
    assert.equal(lost.deref(), undefined);
  });
});

// --- timers and options

test('sleep resolves after its delay, or as soon as it is woken', async () => {
  const { signal } = new AbortController();
  await sleep(1, signal);
  await sleep(Infinity, signal, (wake) => void setImmediate(wake));
});

test('sleep rejects with the abort reason of the signal, even if the signal is already aborted', async () => {
  const controller = new AbortController();
  const sleeping = sleep(Infinity, controller.signal);
  controller.abort(new Error('enough'));
  await assert.rejects(sleeping, /enough/);
  await assert.rejects(sleep(0, controller.signal), /enough/);
});

test('sleep leaves no listener on the signal', async () => {
  const { signal } = new AbortController();
  await sleep(0, signal);
  await sleep(Infinity, signal, (wake) => void setImmediate(wake));
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('a delay beyond 31 bits is capped, because the timer would otherwise fire immediately', () => {
  assert.deepEqual([0, 5, 2 ** 31 - 1, 2 ** 31, Infinity].map(timerDelay), [0, 5, ...Array<number>(3).fill(2 ** 31 - 1)]);
});

test('an undefined option keeps its default', () => {
  const defaults: { a: number; b: boolean; c?: string } = { a: 1, b: true };
  assert.deepEqual(withDefaults(defaults, { a: undefined, b: false, c: 'x' } as never), { a: 1, b: false, c: 'x' });
});
