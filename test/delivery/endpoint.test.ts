/**
 * Tests one end of a message stream: sending, queueing, session renewal and shutdown. The tests move frames between two
 * endpoints.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Endpoint, type EndpointHandlers, type EndpointOptions } from '../../src/delivery/endpoint.js';
import { composeMessage, type BufferedMessage } from '../../src/delivery/message-buffer.js';
import { Port } from './wire.js';

const OPTIONS: EndpointOptions = { maxMessageSize: 1 << 20, maxQueuedBytes: 1 << 20, maxQueueSize: 3, maxMessageAge: 60_000 };

/** An endpoint that records its callbacks. */
class Recorder {
  readonly calls: string[] = [];
  readonly sizes: number[] = [];
  readonly endpoint: Endpoint;
  port = new Port();
  onOpen: (() => void) | undefined;
  onQueueSize: ((size: number) => void) | undefined;
  onReplayed: (() => void) | undefined;

  constructor(options: Partial<EndpointOptions> = {}, sid = 'sid') {
    const write =
      (name: string, textOf: (...args: never[]) => unknown = () => '') =>
      (...args: never[]) =>
        void this.calls.push(`${name} ${textOf(...args) as string}`.trim());
    const dataOf = ({ data }: BufferedMessage) => data;
    const handlers: EndpointHandlers = {
      onMessage: write('message', (data) => data),
      hasListener: () => true,
      onOpen: () => {
        this.calls.push('open');
        this.onOpen?.();
      },
      onResumed: write('resumed'),
      onReset: write('reset', (lost: BufferedMessage[]) => lost.map(dataOf)),
      onQueueSize: (size) => {
        this.sizes.push(size);
        this.onQueueSize?.(size);
      },
      onQueued: write('queued', dataOf),
      onReplayed: (message) => {
        this.calls.push(`replayed ${message.data as string}`);
        this.onReplayed?.();
      },
      onExpired: write('expired', dataOf),
      onOverflow: write('overflow', dataOf),
      onDelivered: write('delivered', dataOf),
      onBufferedAmountLow: write('low'),
      onUnsent: write('unsent', dataOf),
      onFin: write('fin'),
      onGap: write('gap'),
      onError: write('error', ({ message }: Error) => message),
    };
    this.endpoint = new Endpoint(sid, { ...OPTIONS, ...options }, handlers);
  }

  attach(): void {
    this.port = new Port();
    this.endpoint.attach(this.port);
  }

  /** Returns and clears the recorded calls. */
  take(): string[] {
    return this.calls.splice(0);
  }
}

/** Moves frames between two endpoints until both are idle. */
async function settle(a: Recorder, b: Recorder): Promise<void> {
  for (let quiet = 0; quiet < 3;) {
    await Promise.resolve(); // messages sent in the same turn are transmitted together in a microtask
    let moved = false;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      for (const frame of from.port.data.splice(0)) {
        from.port.bufferedAmount = 0;
        to.endpoint.receive(frame, to.port);
        moved = true;
      }
      for (const text of from.port.controls.splice(0)) {
        to.endpoint.control(text, to.port);
        moved = true;
      }
    }
    mock.timers.tick(100);
    quiet = moved ? 0 : quiet + 1;
  }
}

async function connect(a: Recorder, b: Recorder): Promise<void> {
  a.attach();
  b.attach();
  await settle(a, b);
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

describe('an endpoint', () => {
  it('sends messages and settles their handles when the peer has received them', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    const { handle } = a.endpoint.send('hello');
    assert.equal(a.endpoint.queued, 0);
    await settle(a, b);
    assert.deepEqual(b.take(), ['open', 'message hello']);
    assert.deepEqual(a.take(), ['open', 'delivered hello', 'low']);
    assert.equal(await handle.delivered, 'delivered');
  });

  it('sends queued messages after it has reported that a link is open', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    a.endpoint.send('one');
    a.endpoint.send('two');
    assert.deepEqual([a.endpoint.queued, a.sizes, a.take()], [2, [1, 2], ['queued one', 'queued two']]);
    await connect(a, b);
    assert.deepEqual(a.take().slice(0, 3), ['open', 'replayed one', 'replayed two']);
    assert.deepEqual(b.take(), ['open', 'message one', 'message two']);
    assert.deepEqual([a.endpoint.queued, a.sizes], [0, [1, 2, 0]]);
  });

  it('sends queued messages before a message sent in the `open` callback', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    a.endpoint.send('queued');
    a.onOpen = () => void a.endpoint.send('from the listener');
    await connect(a, b);
    assert.deepEqual(b.take(), ['open', 'message queued', 'message from the listener']);
  });

  for (const length of [1, 40_000, 100_000]) {
    it(`sends queued messages of ${length} characters before a message sent from a callback during the flush`, async () => {
      for (const event of ['onQueueSize', 'onReplayed'] as const) {
        const [a, b] = [new Recorder({ maxQueuedBytes: Infinity }), new Recorder()];
        for (const letter of 'abc') a.endpoint.send(letter.repeat(length));
        a[event] = () => {
          a[event] = undefined;
          a.endpoint.send('d'.repeat(length));
        };
        await connect(a, b);
        const letters = b.take().map((call) => call.replace('message ', '')[0]);
        assert.equal(letters.join(''), 'oabcd', event); // o stands for open
        assert.deepEqual(a.sizes, [1, 2, 3, 0]);
      }
    });
  }

  it('discards the remaining queued messages if a callback calls discard() during the flush', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    const handles = [...'abc'].map((letter) => a.endpoint.send(letter.repeat(100_000)).handle);
    a.onReplayed = () => void a.endpoint.discard();
    await connect(a, b);
    const outcomes = await Promise.all(handles.map(({ delivered }) => delivered));
    assert.deepEqual(outcomes, ['delivered', 'dropped', 'dropped']);
  });

  it('settles the remaining queued messages if a callback calls end() during the flush', async () => {
    const a = new Recorder();
    const handles = [...'abc'].map((letter) => a.endpoint.send(letter.repeat(100_000)).handle);
    a.onReplayed = () => a.endpoint.end();
    a.attach();
    const outcomes = await Promise.all(handles.map(({ delivered }) => delivered));
    assert.deepEqual(outcomes, ['unknown', 'dropped', 'dropped']);
  });

  it('replays unacknowledged messages on the next link, once and in order', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    a.endpoint.send('one');
    await settle(a, b);
    a.take();
    b.take();
    const { handle } = a.endpoint.send('lost with the link');
    await Promise.resolve();
    a.endpoint.detach();
    b.endpoint.detach();
    a.endpoint.send('sent while down');
    assert.equal(a.endpoint.isOpen, false);
    await connect(a, b);
    assert.deepEqual(b.take(), ['open', 'resumed', 'message lost with the link', 'message sent while down']);
    assert.equal(await handle.delivered, 'delivered');
  });

  it('drops the oldest message when the queue is full', async () => {
    const a = new Recorder();
    const handles = ['one', 'two', 'three', 'four'].map((text) => a.endpoint.send(text).handle);
    assert.deepEqual(a.take().slice(-2), ['queued four', 'overflow one']);
    assert.equal(a.endpoint.queued, 3);
    assert.equal(await handles[0]!.delivered, 'dropped');
  });

  it('expires queued messages that exceed the maximum age', async () => {
    const a = new Recorder({ maxMessageAge: 10 });
    mock.timers.reset(); // message age is measured with the monotonic clock
    const { handle } = a.endpoint.send('old');
    assert.equal(await handle.delivered, 'expired');
    assert.deepEqual([a.take(), a.endpoint.queued, a.sizes], [['queued old', 'expired old'], 0, [1, 0]]);
  });

  it('reports messages lost with the old session before it sends queued messages', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    const { handle } = a.endpoint.send('unacknowledged');
    await Promise.resolve();
    a.endpoint.detach();
    a.endpoint.send('queued');
    a.endpoint.renew('other');
    a.take();
    const reloaded = new Recorder({}, 'other');
    await connect(a, reloaded);
    assert.deepEqual(a.take().slice(0, 3), ['open', 'reset unacknowledged', 'replayed queued']);
    assert.deepEqual(reloaded.take(), ['open', 'message queued']);
    assert.equal(await handle.delivered, 'unknown');
    assert.equal(a.endpoint.sid, 'other');
  });

  it('never sends messages meant for one peer to a different peer', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    a.endpoint.detach();
    const { handle } = a.endpoint.send('for the first peer');
    a.endpoint.renew('other', true);
    assert.equal(await handle.delivered, 'dropped');
    const other = new Recorder({}, 'other');
    await connect(a, other);
    assert.deepEqual(other.take(), ['open']);
    assert.ok(a.take().includes('reset for the first peer'));
  });

  it('accepts messages that were composed before it was created', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    const message = composeMessage('early-1', 'early', OPTIONS);
    a.endpoint.queue(message);
    a.endpoint.send('late');
    await connect(a, b);
    assert.deepEqual(b.take(), ['open', 'message early', 'message late']);
    assert.equal(await message.handle.delivered, 'delivered');
  });

  it('sends all messages before FIN', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    a.endpoint.send('last');
    const finished = a.endpoint.finish();
    await settle(a, b);
    await finished;
    assert.deepEqual(b.take(), ['open', 'message last', 'fin']);
  });

  it('settles sent messages when it ends, but keeps queued messages for its successor', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    await connect(a, b);
    const sent = a.endpoint.send('on the way').handle;
    await Promise.resolve();
    a.endpoint.detach();
    const queued = a.endpoint.send('queued').handle;
    a.endpoint.end();
    assert.equal(await sent.delivered, 'unknown');
    assert.equal(a.endpoint.queued, 1);
    assert.deepEqual(
      a.endpoint.takeQueue().map(({ data }) => data),
      ['queued'],
    );
    assert.equal(await queued.delivered, 'dropped');
    a.take();
    a.attach();
    assert.deepEqual(a.take(), []);
  });

  it('refuses messages that are too large or of an unsupported type', () => {
    const a = new Recorder({ maxMessageSize: 4 });
    assert.throws(() => a.endpoint.send('hello'), { code: 'too-large' });
    assert.throws(() => a.endpoint.send(5), { name: 'ValidationError' });
    assert.deepEqual([a.endpoint.queued, a.take()], [0, []]);
  });

  it('reports low bufferedAmount once per drop below the threshold', async () => {
    const [a, b] = [new Recorder(), new Recorder()];
    a.endpoint.bufferedAmountLowThreshold = 5;
    await connect(a, b);
    for (const text of ['one', 'two', 'three']) a.endpoint.send(text);
    await settle(a, b);
    assert.equal(a.take().filter((call) => call === 'low').length, 1);
    a.endpoint.send('x');
    await settle(a, b);
    assert.equal(a.take().filter((call) => call === 'low').length, 0);
  });
});
