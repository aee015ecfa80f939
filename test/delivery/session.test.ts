/**
 * Tests the guarantee in docs/delivery.md: each message is delivered exactly once and in order, or is reported as lost. The
 * tests cut the wire at arbitrary points.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { Message } from '../../src/delivery/message-buffer.js';
import { Outbox } from '../../src/delivery/outbox.js';
import { MAX_HELD, MAX_UNFINISHED, createAllowances } from '../../src/delivery/session.js';
import { RondevuError } from '../../src/errors.js';
import { End, Wire, type Side } from './wire.js';

const tick = (): void => mock.timers.tick(100);
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

const RUNS = Number(process.env['RONDEVU_RUNS'] ?? 500);
const bytes = (length: number, seed = 0): ArrayBuffer => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 256).buffer;
const same = (a: unknown, b: unknown): void => {
  const plain = (list: unknown): unknown =>
    (list as (string | ArrayBuffer)[]).map((data) => (typeof data === 'string' ? data : Buffer.from(data).toString('base64')));
  assert.deepEqual(plain(a), plain(b));
};

describe('a session', () => {
  it('delivers text and binary messages of any length in both directions', () => {
    const wire = new Wire();
    wire.connect();
    const sent = ['', 'é😀', bytes(0), bytes(1), bytes(66_534), bytes(66_535), bytes(66_536), bytes(300_000), 'x'.repeat(70_000)];
    for (const data of sent) wire.ends.a.send(data);
    for (const data of sent.toReversed()) wire.ends.b.send(data);
    wire.settle(tick);
    same(wire.ends.b.got, sent);
    same(wire.ends.a.got, sent.toReversed());
    for (const end of [wire.ends.a, wire.ends.b]) {
      assert.deepEqual([...end.outcomes.values()], Array(sent.length).fill('delivered'));
      assert.equal(end.session.keptBytes, 0);
      assert.deepEqual([end.verdicts, end.errors], [['new'], []]);
    }
  });

  it('packs many short messages into one frame', () => {
    const wire = new Wire();
    for (let i = 0; i < 1000; i++) wire.ends.a.send(`message ${i}`);
    wire.connect();
    assert.ok(wire.ends.a.port!.data.length <= 4, `one HELLO and few frames, got ${wire.ends.a.port!.data.length}`);
  });

  it('pauses at the high-water mark and resumes when the buffer drains', () => {
    const wire = new Wire();
    wire.connect();
    for (let i = 0; i < 100; i++) wire.ends.a.send(bytes(16_384));
    const { port } = wire.ends.a;
    assert.ok(port!.bufferedAmount < 300_000);
    wire.settle(tick);
    assert.equal(wire.ends.b.got.length, 100);
  });

  it('resumes even if the platform never fires bufferedamountlow', () => {
    const wire = new Wire();
    wire.connect();
    for (let i = 0; i < 20; i++) wire.ends.a.send(bytes(60_000));
    for (let round = 0; round < 20; round++) {
      wire.ends.a.port!.onLow = undefined;
      wire.pass('a', Infinity);
      wire.pass('b', Infinity);
      mock.timers.tick(250);
    }
    assert.equal(wire.ends.b.got.length, 20);
  });

  it('acknowledges immediately after 64 messages, otherwise after 100 ms', (t) => {
    t.mock.method(performance, 'now', () => 0);
    const wire = new Wire();
    wire.connect();
    wire.pass('b', 9);
    for (let i = 0; i < 63; i++) wire.ends.a.send('x');
    wire.pass('a', Infinity);
    assert.deepEqual(wire.ends.b.port!.controls, []);
    mock.timers.tick(99);
    assert.deepEqual(wire.ends.b.port!.controls, []);
    mock.timers.tick(1);
    assert.deepEqual(wire.ends.b.port!.controls, ['ack 64']);
    for (let i = 0; i < 64; i++) wire.ends.a.send('x');
    wire.pass('a', Infinity);
    assert.deepEqual(wire.ends.b.port!.controls, ['ack 64', 'ack 128']);
  });

  it('acknowledges the first message after a pause immediately', (t) => {
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    const wire = new Wire();
    wire.connect();
    const send = (text: string): void => {
      wire.ends.a.send(text);
      wire.pass('a', Infinity);
    };
    const acks = (): number => wire.ends.b.port!.controls.length;
    now += 101;
    send('one');
    assert.equal(acks(), 1);
    // acknowledgements are sent at most every 100 ms
    now += 1;
    send('two');
    mock.timers.tick(99);
    assert.equal(acks(), 1);
    mock.timers.tick(1);
    assert.equal(acks(), 2);
  });

  it('acknowledges only messages that its listener has received', (t) => {
    t.mock.method(performance, 'now', () => 1000);
    const wire = new Wire();
    wire.connect();
    const seen: number[] = [];
    wire.ends.b.got.push = ((data: unknown) => {
      seen.push(wire.ends.b.port!.controls.length);
      return Array.prototype.push.call(wire.ends.b.got, data);
    }) as never;
    for (let i = 0; i < 66; i++) wire.ends.a.send('x');
    wire.pass('a', Infinity);
    assert.deepEqual(seen, [0, ...Array<number>(64).fill(1), 2]);
    assert.deepEqual(wire.ends.b.port!.controls, ['ack 2', 'ack 66']);
  });

  it('reports only transmitted messages as lost after the peer reloads', () => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    const first = wire.ends.a.send('under way');
    wire.cut();
    wire.ends.a.send('for later');
    const born = new End('sid');
    wire.ends.b = born;
    wire.connect();
    wire.settle(tick);
    assert.deepEqual(wire.ends.a.verdicts, ['new', 'reset']);
    assert.deepEqual(
      wire.ends.a.lost.map(({ id }) => id),
      [first],
    );
    same(born.got, ['for later']);
    assert.deepEqual(
      [...wire.ends.a.outcomes],
      [
        ['1', 'unknown'],
        ['2', 'delivered'],
      ],
    );
    assert.deepEqual(born.verdicts, ['new']);
  });

  it('sends FIN after all messages, and ends when the peer confirms it', async () => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    for (let i = 0; i < 50; i++) wire.ends.a.send(bytes(16_384, i));
    const done = wire.ends.a.session.finish(2000);
    wire.settle(tick);
    await Promise.resolve();
    wire.settle(tick);
    await done;
    assert.equal(wire.ends.b.finished, true);
    assert.equal(wire.ends.b.got.length, 50);
    assert.equal([...wire.ends.a.outcomes.values()].filter((outcome) => outcome === 'delivered').length, 50);
  });

  it('does not report unread messages as delivered if both peers end the session at the same time', async () => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    wire.ends.a.send('into the end');
    const done = [wire.ends.a.session.finish(2000), wire.ends.b.session.finish(2000)];
    for (let i = 0; i < 5; i++) {
      await Promise.resolve();
      wire.settle(tick);
    }
    await Promise.all(done);
    for (const end of Object.values(wire.ends)) end.session.end();
    same(wire.ends.b.got, []);
    assert.deepEqual([...wire.ends.a.outcomes], [['1', 'unknown']]);
  });

  it('accepts an acknowledgement that arrives before HELLO', () => {
    const wire = new Wire();
    wire.connect();
    wire.ends.a.send('first');
    wire.pass('a', Infinity);
    tick();
    wire.pass('b', 0, Infinity);
    assert.deepEqual([...wire.ends.a.outcomes], [['1', 'delivered']]);
  });

  it('resumes without duplicates after its first link was reattached and lost', () => {
    const wire = new Wire();
    wire.connect();
    const { a, b } = wire.ends;
    const port = a.port!;
    // the link is detached, then reattached because HELLO arrives after all
    a.session.detach();
    a.session.reattach(port);
    b.send('one');
    b.send('two');
    wire.pass('b', Infinity, 0);
    wire.connect();
    a.send('three');
    wire.settle(tick);
    same([a.got, b.got].flat(), ['one', 'two', 'three']);
    assert.ok(!a.verdicts.includes('reset') && !b.verdicts.includes('reset'));
    assert.deepEqual([a.errors, b.errors], [[], []]);
  });

  it('ignores late frames from a replaced link', () => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    wire.ends.a.send('under way');
    wire.connect();
    // a frame from the old link arrives before HELLO on the new link
    wire.late('b', 1); // index 0 is the placeholder for the time before the first link
    wire.settle(tick);
    same(wire.ends.b.got, ['under way']);
    assert.deepEqual([wire.ends.a.errors, wire.ends.b.errors], [[], []]);
  });

  it('sends Blobs in order, and skips a Blob that cannot be read', async () => {
    const wire = new Wire();
    const broken = new Blob(['gone']);
    broken.arrayBuffer = () => Promise.reject(new Error('the file is gone'));
    const error = mock.method(console, 'error', () => undefined);
    wire.connect();
    for (const data of ['before', new Blob([new Uint8Array(bytes(20_000))]), broken, 'after']) wire.ends.a.send(data);
    while (!wire.ends.b.got.includes('after')) {
      await new Promise((resolve) => setImmediate(resolve));
      wire.settle(tick);
    }
    error.mock.restore();
    same(wire.ends.b.got, ['before', bytes(20_000), 'after']);
    assert.deepEqual(wire.ends.a.outcomes.get('3'), 'dropped');
    assert.match(wire.ends.a.unsent.join(), /^a Blob of 4 bytes could not be read and was not sent/);
    assert.equal(error.mock.calls.filter(({ arguments: [what] }) => what instanceof RondevuError).length, 1);
  });

  it('sends messages unchanged over an unframed channel, without a delivery guarantee', () => {
    const wire = new Wire();
    wire.connect(false);
    wire.ends.a.send('plain');
    wire.ends.a.send(bytes(3));
    wire.settle(tick);
    same(wire.ends.b.got, ['plain', bytes(3)]);
    assert.deepEqual([...wire.ends.a.outcomes.values()], ['unknown', 'unknown']);
    wire.cut();
    wire.ends.a.send('kept');
    wire.connect(false);
    wire.settle(tick);
    same(wire.ends.b.got, ['plain', bytes(3), 'kept']);
  });

  it('reports a protocol violation once and ignores further input from the peer', () => {
    const frames: [what: string, expected: RegExp, ...data: (string | ArrayBuffer)[]][] = [
      ['no JSON', /HELLO or FIN/, 'hello?'],
      ['a message before HELLO', /before HELLO/, Uint8Array.of(7, 1, 0).buffer],
      ['a HELLO without a number', /HELLO or FIN/, JSON.stringify({ hello: { sid: 's', inst: 'i', known: null, next: 0 } })],
      ['a gap', /expected message 1, got 2/, hello, Uint8Array.of(7, 2, 1, 65).buffer],
      ['a length beyond its frame', /longer than its frame/, hello, Uint8Array.of(7, 1, 9, 65).buffer],
      ['no end of a number', /ends within a number/, hello, Uint8Array.of(7, 255, 255).buffer],
      ['a head that nobody writes', /begin with 0 to 7/, hello, Uint8Array.of(9, 1, 1, 65).buffer],
      ['a number with a needless byte', /end with a zero byte/, hello, Uint8Array.of(7, 129, 0, 1, 65).buffer],
      ['a number past 2^53', /below 2\^53/, hello, Uint8Array.of(7, 255, 255, 255, 255, 255, 255, 255, 127, 0).buffer],
      ['a number without end', /below 2\^53/, hello, new Uint8Array(66_560).fill(255).fill(7, 0, 1).buffer],
      ['message 0', /of 1 or more, got 0/, hello, Uint8Array.of(7, 0, 0).buffer],
      ['an empty first part', /of 1 or more, got 0/, hello, Uint8Array.of(2, 1, 5, 0).buffer],
      ['an empty middle part', /of 1 or more, got 0/, hello, Uint8Array.of(2, 1, 5, 1, 65, 0, 1, 0).buffer],
      ['a message in parts of length 0', /of 1 or more, got 0/, hello, Uint8Array.of(2, 1, 0, 0).buffer],
      ['a last part without its first', /first part is missing/, hello, Uint8Array.of(4, 1, 1, 65).buffer],
      ['a middle part without its first', /first part is missing/, hello, Uint8Array.of(0, 1, 1, 65).buffer],
      ['an empty part without its first', /of 1 or more, got 0/, hello, Uint8Array.of(0, 1, 0).buffer],
      ['a first part within a message', /unexpected first part/, hello, Uint8Array.of(2, 1, 5, 1, 65, 2, 1, 5, 1, 65).buffer],
      ['a message within itself', /unexpected first part/, hello, Uint8Array.of(2, 1, 5, 1, 65, 7, 1, 1, 65).buffer],
      ['bytes that go on as text', /are inconsistent/, hello, Uint8Array.of(2, 1, 2, 1, 65, 5, 1, 1, 65).buffer],
      ['more than was announced', /are inconsistent/, hello, Uint8Array.of(2, 1, 2, 1, 65, 4, 1, 2, 65, 66).buffer],
      ['less than was announced', /are inconsistent/, hello, Uint8Array.of(2, 1, 9, 1, 65, 4, 1, 1, 65).buffer],
      ['whole before its last part', /are inconsistent/, hello, Uint8Array.of(2, 1, 2, 2, 65, 66).buffer],
      ['HELLO as a list', /HELLO or FIN/, JSON.stringify({ hello: ['sid', 'other', null, 1] })],
      ['HELLO as null', /HELLO or FIN/, '{"hello":null}'],
      ['null', /HELLO or FIN/, 'null'],
      ['HELLO by its prototype', /HELLO or FIN/, `{"__proto__":${hello}}`],
      ['FIN as text', /HELLO or FIN/, hello, '{"fin":"1"}'],
      ['FIN past 2^53', /HELLO or FIN/, hello, '{"fin":9007199254740992}'],
      ['deep JSON', /HELLO or FIN/, '['.repeat(200_000)],
      ['HELLO among much else', /HELLO or FIN/, hello.replace('{', `{"more":"${'x'.repeat(2000)}",`)],
      ['too long', /maxMessageSize is 1000/, hello, Uint8Array.of(2, 1, 233, 7, 1, 65).buffer],
    ];
    for (const [what, expected, ...data] of frames) {
      const wire = new Wire(new End('sid'), new End('sid', 1000));
      wire.connect();
      for (const frame of data) wire.ends.b.session.receive(frame, wire.ends.b.port!);
      assert.match(wire.ends.b.errors.join(), expected, what);
      assert.deepEqual(wire.ends.b.got, [], what);
      if (what === 'a gap') continue; // a gap is first attributed to the link, not to the peer
      for (const frame of [hello, Uint8Array.of(7, 1, 0).buffer, 'again?']) wire.ends.b.session.receive(frame, wire.ends.b.port!);
      assert.deepEqual(
        [wire.ends.b.errors.length, wire.ends.b.got],
        [1, []],
        `${what}: reported once, and nothing more is taken`,
      );
    }
  });

  it('allocates memory for received bytes, not for announced bytes', () => {
    const ends = Array.from({ length: 64 }, () => new End('sid'));
    const before = process.memoryUsage().arrayBuffers;
    for (const end of ends) {
      const wire = new Wire(new End('sid'), end);
      wire.connect();
      end.session.receive(hello, end.port!);
      // the first byte of a 64 MiB message
      end.session.receive(Uint8Array.of(2, 1, 128, 128, 128, 32, 1, 65).buffer, end.port!);
      assert.deepEqual(end.errors, []);
    }
    const grown = process.memoryUsage().arrayBuffers - before;
    assert.ok(grown < 64 * 200_000, `64 messages of which one byte arrived take ${grown} bytes`);
  });

  it('limits incomplete messages across all channels of a connection', () => {
    const maxMessageSize = 300_000;
    const allowances = createAllowances({ maxMessageSize, maxQueuedBytes: Infinity });
    const wires = Array.from({ length: 6 }, () => new Wire(new End('sid'), new End('sid', maxMessageSize, allowances)));
    const begin = (wire: Wire): void => {
      wire.connect();
      wire.ends.a.send(bytes(maxMessageSize));
      // passes HELLO and all parts except the last
      wire.pass('a', wire.ends.a.port!.data.length - 1);
    };
    for (const wire of wires.slice(0, 4)) begin(wire);
    begin(wires[4]!);
    const errors = wires.map(({ ends }) => ends.b.errors.join());
    assert.match(errors[4]!, /too many large messages/);
    assert.deepEqual(errors.slice(0, 4), Array(4).fill(''));
    wires[4]!.ends.b.session.end();
    wires[0]!.settle(tick);
    wires[1]!.cut();
    wires[1]!.connect();
    wires[1]!.settle(tick);
    wires[2]!.ends.b.session.end();
    same(wires[0]!.ends.b.got, [bytes(maxMessageSize)]);
    same(wires[1]!.ends.b.got, [bytes(maxMessageSize)]);
    begin(wires[5]!);
    assert.deepEqual(wires[5]!.ends.b.errors, []);
    wires[3]!.settle(tick);
    wires[5]!.settle(tick);
    // all allowances were returned
    assert.equal(allowances.unfinished.take(MAX_UNFINISHED * maxMessageSize), true);
  });

  it('preserves the byte order mark of a text message', () => {
    const wire = new Wire();
    wire.connect();
    const texts = ['\ufeffone', '\ufeff', `\ufeff${'x'.repeat(100_000)}`];
    for (const text of texts) wire.ends.a.send(text);
    wire.settle(tick);
    same(wire.ends.b.got, texts);
  });

  it('reports an acknowledgement of a message that was never sent', () => {
    const wire = new Wire();
    wire.connect();
    wire.pass('b', 1);
    wire.ends.a.session.control('ack 2', wire.ends.a.port!);
    assert.match(wire.ends.a.errors.join(), /acknowledged message 1, but only 0 were sent/);
  });
});

/** Lets microtasks run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a session without a message listener', () => {
  const unheard = (framed = true): { wire: Wire; a: End; b: End } => {
    const wire = new Wire();
    wire.ends.b.listens = false;
    wire.connect(framed);
    wire.settle(tick);
    return { wire, ...wire.ends };
  };
  const listen = async (end: End): Promise<void> => {
    end.listens = true;
    end.session.listened();
    await turn();
  };

  it('holds messages unacknowledged until a listener is added', async () => {
    const { wire, a, b } = unheard();
    for (let i = 0; i < 100; i++) a.send(`${i}`);
    wire.settle(tick);
    assert.deepEqual([b.got, a.outcomes.size], [[], 0]);
    b.listens = true;
    b.session.listened();
    a.send('another');
    assert.deepEqual(b.got, [], 'not within the call that adds the listener');
    wire.settle(tick);
    await turn();
    wire.settle(tick);
    assert.deepEqual(b.got, [...Array.from({ length: 100 }, (_, i) => `${i}`), 'another']);
    assert.deepEqual([new Set(a.outcomes.values()), a.outcomes.size, a.errors], [new Set(['delivered']), 101, []]);
  });

  it('passes held messages one at a time to one-time listeners', async () => {
    const { wire, a, b } = unheard();
    for (let i = 0; i < 5; i++) a.send(`${i}`);
    wire.settle(tick);
    const { push } = b.got;
    b.got.push = (...data) => ((b.listens = false), push.apply(b.got, data));
    for (let taken = 1; taken <= 3; taken++) {
      await listen(b);
      assert.equal(b.got.length, taken);
    }
    b.got.push = push;
    await listen(b);
    wire.settle(tick);
    assert.deepEqual([[...b.got], a.outcomes.size], [['0', '1', '2', '3', '4'], 5]);
  });

  it('drops held messages after 10 s or beyond 1 MiB, with a single warning', async () => {
    for (const fill of [() => 'x', () => bytes(600_000)]) {
      const { wire, a, b } = unheard();
      const warn = mock.method(console, 'warn', () => undefined);
      a.send(fill());
      a.send(fill());
      wire.settle(() => mock.timers.tick(1));
      if (fill() === 'x') {
        mock.timers.tick(9900);
        wire.settle(() => mock.timers.tick(1));
        assert.equal(a.outcomes.size, 0);
        mock.timers.tick(100);
      }
      a.send('later');
      wire.settle(tick);
      warn.mock.restore();
      assert.deepEqual([a.outcomes.size, warn.mock.callCount()], [3, 1]);
      assert.equal(b.got.length, 3, 'delivered to nobody');
    }
  });

  it('limits the total size of held messages across all channels of a connection', async () => {
    const limits = { maxMessageSize: 1 << 26, maxQueuedBytes: Infinity };
    const allowances = createAllowances(limits);
    const warn = mock.method(console, 'warn', () => undefined);
    const wires = Array.from({ length: 12 }, () => new Wire(new End('sid'), new End('sid', limits.maxMessageSize, allowances)));
    for (const wire of wires) {
      wire.ends.b.listens = false;
      wire.connect();
      wire.ends.a.send(bytes(1_000_000));
      wire.settle(tick);
    }
    warn.mock.restore();
    assert.equal(warn.mock.callCount(), 4);
    assert.equal(wires.filter(({ ends }) => ends.a.outcomes.size === 0).length, 8);
    // held messages are delivered to a listener, dropped at the end, or requested again on the next link
    await listen(wires[0]!.ends.b);
    wires[1]!.ends.b.session.end();
    wires[2]!.cut();
    wires[2]!.connect();
    for (const wire of wires.slice(3)) wire.ends.b.session.end();
    assert.equal(allowances.held.take(MAX_HELD), true);
  });

  it('limits the number of empty held messages', () => {
    const { wire, a } = unheard();
    const warn = mock.method(console, 'warn', () => undefined);
    for (let i = 0; i < 20_000; i++) a.send('');
    wire.settle(() => mock.timers.tick(1));
    warn.mock.restore();
    assert.equal(warn.mock.callCount(), 1);
  });

  it('delivers held messages once after the link is replaced', async () => {
    const { wire, a, b } = unheard();
    for (let i = 0; i < 10; i++) a.send(`${i}`);
    wire.settle(tick);
    wire.connect();
    wire.settle(tick);
    for (let i = 10; i < 20; i++) a.send(`${i}`);
    wire.settle(tick);
    await listen(b);
    wire.settle(tick);
    assert.deepEqual(
      b.got,
      Array.from({ length: 20 }, (_, i) => `${i}`),
    );
    assert.deepEqual([a.outcomes.size, a.errors, b.errors], [20, [], []]);
  });

  it('delivers held messages even while no link is up', async () => {
    const { wire, a, b } = unheard();
    a.send('one');
    wire.settle(tick);
    wire.cut();
    await listen(b);
    wire.connect();
    wire.settle(tick);
    assert.deepEqual([b.got, [...a.outcomes.values()]], [['one'], ['delivered']]);
  });

  it('delivers held messages before it reports FIN from the peer', async () => {
    const { wire, a, b } = unheard();
    a.send('one');
    const ending = a.session.finish(2000);
    wire.settle(() => undefined);
    await turn();
    wire.settle(() => undefined);
    assert.equal(b.finished, false);
    await listen(b);
    wire.settle(() => undefined);
    await ending;
    assert.deepEqual([b.got, b.finished, a.outcomes.get('1')], [['one'], true, 'delivered']);
  });

  it('drops held messages when the link is lost after the peer has sent FIN', () => {
    const { wire, a, b } = unheard();
    a.send('one');
    void a.session.finish(2000);
    wire.settle(() => undefined);
    b.session.receive('{"fin":2}', b.port!);
    wire.cut(['b']);
    assert.equal(b.finished, true);
  });

  it('holds messages on an unframed channel', async () => {
    const { wire, a, b } = unheard(false);
    a.send('one');
    wire.settle(tick);
    wire.connect(false);
    a.send('two');
    wire.settle(tick);
    assert.deepEqual(b.got, []);
    await listen(b);
    assert.deepEqual(b.got, ['one', 'two']);
  });
});

const hello = JSON.stringify({ hello: { sid: 'sid', inst: 'other', known: null, next: 1 } });

/** A random event at one of two ends or on the wire between them. */
type Step =
  | { do: 'send'; side: Side; length: number; text: boolean }
  | { do: 'pass'; side: Side; data: number; control: number }
  | { do: 'connect' }
  | { do: 'cut'; sides: Side[] }
  | { do: 'tick' }
  | { do: 'late'; side: Side; index: number }
  | { do: 'refuse'; side: Side; after: number };

const side = fc.constantFrom<Side>('a', 'b');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      side,
      length: fc.oneof(fc.nat(40), fc.nat(100_000)),
      text: fc.boolean(),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('pass' as const), side, data: fc.nat(6), control: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('cut' as const), sides: fc.constantFrom<Side[]>(['a'], ['b'], ['a', 'b']) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('tick' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('late' as const), side, index: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('refuse' as const), side, after: fc.nat(3) }) },
);

function perform(wire: Wire, sent: Record<Side, (string | ArrayBuffer)[]>, what: Step): void {
  if (what.do === 'send') {
    const number = sent[what.side].length;
    const data = what.text ? `${number}:${'t'.repeat(what.length)}` : bytes(what.length, number);
    sent[what.side].push(data);
    wire.ends[what.side].send(data);
  } else if (what.do === 'pass') wire.pass(what.side, what.data, what.control);
  else if (what.do === 'connect') wire.connect();
  else if (what.do === 'cut') wire.cut(what.sides);
  else if (what.do === 'tick') tick();
  else if (what.do === 'late') wire.late(what.side, what.index);
  else if (wire.ends[what.side].port) wire.ends[what.side].port!.accepts = what.after;
}

describe('a pair of sessions under random link faults', () => {
  it('delivers every message exactly once and in order', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 120 }), (steps) => {
        const wire = new Wire();
        const sent = { a: [] as (string | ArrayBuffer)[], b: [] as (string | ArrayBuffer)[] };
        for (const what of steps) perform(wire, sent, what);
        wire.connect();
        wire.settle(tick);
        same(wire.ends.b.got, sent.a);
        same(wire.ends.a.got, sent.b);
        for (const name of ['a', 'b'] as const) {
          const end = wire.ends[name];
          assert.deepEqual(end.errors, []);
          assert.ok(!end.verdicts.includes('reset'), 'two that live resume');
          assert.deepEqual([...end.outcomes.values()], Array(sent[name].length).fill('delivered'));
          assert.equal(end.session.keptBytes, 0);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('either delivers each message or reports it as lost when an endpoint is replaced', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(step, { maxLength: 60 }), (before, after) => {
        const wire = new Wire();
        const sent = { a: [] as (string | ArrayBuffer)[], b: [] as (string | ArrayBuffer)[] };
        for (const what of before) perform(wire, sent, what);
        const dead = wire.ends.b;
        wire.cut();
        wire.ends.b = new End('sid');
        sent.b = [];
        for (const what of after) perform(wire, sent, what);
        wire.connect();
        wire.settle(tick);
        const { a, b } = wire.ends;
        assert.deepEqual([a.errors, b.errors], [[], []]);
        same(a.got.slice(a.got.length - sent.b.length), sent.b);
        const ids = sent.a.map((_, index) => `${index + 1}`);
        const lost = a.lost.map(({ id }) => id);
        assert.equal(new Set(lost).size, lost.length, 'nothing is lost twice');
        for (const id of ids) {
          const data = sent.a[Number(id) - 1]!;
          const atNew =
            b.got.filter((got) => key(got) === key(data)).length -
            sent.a.slice(0, Number(id) - 1).filter((other) => key(other) === key(data)).length;
          if (a.outcomes.get(id) === 'unknown') assert.ok(lost.includes(id), `${id} has no word of its loss`);
          else assert.equal(a.outcomes.get(id), 'delivered');
          if (lost.includes(id)) assert.ok(atNew <= 0, `${id} was told as lost and came to the new end`);
        }
        // the new end received its messages in order and exactly once
        const atNew = ids.filter(
          (id) => !lost.includes(id) && !dead.got.some((got) => key(got) === key(sent.a[Number(id) - 1]!)),
        );
        same(
          b.got.slice(b.got.length - atNew.length),
          atNew.map((id) => sent.a[Number(id) - 1]!),
        );
      }),
      { numRuns: RUNS },
    );
  });
});

const key = (data: string | ArrayBuffer): string => (typeof data === 'string' ? data : Buffer.from(data).toString('base64'));

it('the outbox sends a long queue in linear time', () => {
  const timeOf = (count: number): number => {
    const outbox = new Outbox();
    for (let i = 0; i < count; i++) outbox.push(new Message(`${i}`, 'short'));
    const start = performance.now();
    let next = 1;
    while (outbox.takeFrame()) {
      if (outbox.next - next < 64) continue;
      next = outbox.next;
      outbox.acknowledge(next);
    }
    return performance.now() - start;
  };
  const best = (count: number): number => Math.min(...Array.from({ length: 3 }, () => timeOf(count)));
  timeOf(20_000);
  const ratio = best(320_000) / best(20_000);
  assert.ok(ratio < 64, `16 times as many messages took ${ratio.toFixed(0)} times as long`);
});
