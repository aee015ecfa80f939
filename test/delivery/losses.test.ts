/**
 * Tests links that lose messages but stay alive: a session reports such a link and replays the lost messages on the next link.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Session } from '../../src/delivery/session.js';
import { End, Wire } from './wire.js';

const tick = (): void => mock.timers.tick(100);
/** Interval at which acknowledgements are checked, in ms. */
const LOOK = 30_000;
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

describe('a session on a link that loses messages', () => {
  it('recovers a lost message on the next link, but reports the peer after four gaps in a row', () => {
    const wire = new Wire();
    const left: string[] = [];
    const broken: string[] = [];
    const end = new End('sid');
    end.session = new Session(
      'sid',
      { maxMessageSize: 1 << 20, maxQueuedBytes: Infinity },
      {
        onMessage: (data) => void end.got.push(data),
        hasListener: () => true,
        onUnsent: () => undefined,
        onReady: () => undefined,
        onDone: () => undefined,
        onFin: () => undefined,
        onGap: (reason) => void left.push(reason),
        onError: ({ message }) => void broken.push(message),
      },
    );
    wire.ends.b = end;
    wire.connect();
    wire.settle(tick);
    const lose = (): void => {
      wire.ends.a.send('one');
      wire.ends.a.port!.data.shift();
      wire.ends.a.send('two');
      wire.pass('a', Infinity);
    };
    lose();
    assert.deepEqual([left, end.got], [['expected message 1, got 2'], []]);
    wire.connect();
    wire.settle(tick);
    assert.deepEqual(end.got, ['one', 'two']);
    for (let i = 0; i < 4; i++) {
      lose();
      assert.deepEqual([left.length, broken.length], i < 3 ? [2 + i, 0] : [4, 1]);
    }
  });

  it('reports a link that is alive but makes no progress', () => {
    for (const lost of ['the message', 'its acknowledgement', 'what the platform refused'] as const) {
      const wire = new Wire();
      wire.connect();
      wire.settle(tick);
      const { a, b } = wire.ends;
      if (lost === 'what the platform refused') a.port!.accepts = 0;
      a.send('last');
      if (lost === 'the message') a.port!.bufferedAmount -= (a.port!.data.pop() as ArrayBuffer).byteLength;
      wire.pass('a', Infinity);
      tick();
      if (lost === 'its acknowledgement') assert.deepEqual(b.port!.controls.splice(0), ['ack 2']);
      mock.timers.tick(LOOK);
      assert.deepEqual(a.errors, [], `${lost}: it may be on its way`);
      mock.timers.tick(LOOK);
      assert.deepEqual(a.errors.splice(0), ['nothing was acknowledged for 30 s'], lost);
      wire.connect();
      wire.settle(tick);
      assert.deepEqual(b.got, ['last']);
      mock.timers.tick(10 * LOOK);
      assert.deepEqual([[...a.outcomes.values()], a.errors], [['delivered'], []], lost);
    }
  });

  const looks = (end: End, count: number): number => {
    for (let i = 0; i < count; i++) mock.timers.tick(LOOK);
    return end.errors.splice(0).length;
  };
  /** Returns a connected wire, from which the test drops messages sent by `a`. */
  const losing = (): Wire => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    return wire;
  };
  const lose = ({ port }: End): void => {
    port!.data.splice(0);
    port!.bufferedAmount = 0;
  };

  it('keeps a link that still sends bytes, and gives successive links more time', () => {
    const wire = losing();
    const { a } = wire.ends;
    a.send(new ArrayBuffer(1_000_000));
    for (let i = 0; i < 5; i++) {
      a.port!.bufferedAmount--;
      assert.equal(looks(a, 1), 0, 'it moves');
    }
    a.port!.isAlive = false;
    assert.equal(looks(a, 5), 0, 'the heartbeat sees to that');
    a.port!.isAlive = true;
    assert.equal(looks(a, 1), 1, 'nothing moves');
    wire.connect();
    wire.pass('b', 1);
    assert.equal(looks(a, 3), 0, 'twice as long');
    assert.equal(looks(a, 1), 1);
    wire.connect();
    wire.settle(tick);
    assert.deepEqual([wire.ends.b.got.length, looks(a, 8)], [1, 0]);
    a.send('x');
    lose(a);
    assert.equal(looks(a, 2), 1, 'what arrived in between puts it back');
  });

  it('detects the loss while the application keeps sending', () => {
    const { a } = losing().ends;
    for (let i = 0; i < 6; i++) {
      a.send('tick');
      lose(a);
      mock.timers.tick(LOOK / 3);
    }
    assert.deepEqual(a.errors, ['nothing was acknowledged for 30 s']);
  });

  it('detects a loss after the link was detached and reattached', () => {
    const { a } = losing().ends;
    a.send('x');
    lose(a);
    const port = a.port!;
    a.session.detach();
    a.session.reattach(port);
    assert.equal(looks(a, 2), 1);
  });

  it('keeps the link while the peer acknowledges parts of a long, slow message', () => {
    const wire = losing();
    const { a, b } = wire.ends;
    a.send(new ArrayBuffer(1_000_000));
    for (let frames = 0; frames < 16; frames++) {
      // the channel has sent everything, but the data arrives slowly
      const { bufferedAmount } = a.port!;
      a.port!.bufferedAmount = 0;
      assert.equal(looks(a, 1), 0);
      a.port!.bufferedAmount = bufferedAmount;
      wire.pass('a', 1);
      tick();
      wire.pass('b', 0, 1);
    }
    assert.equal(b.got.length, 1);
  });

  it('keeps the link while a finishing peer sends its remaining messages', async () => {
    const wire = losing();
    const { a, b } = wire.ends;
    for (let i = 0; i < 10; i++) b.send(new ArrayBuffer(100_000));
    const ending = b.session.finish(2000);
    a.send('too late');
    wire.pass('a', 1);
    for (let i = 0; i < 20; i++) {
      for (let j = 0; j < 6; j++) {
        mock.timers.tick(LOOK / 6);
        wire.pass('b', 0, 9);
      }
      assert.deepEqual(a.errors, [], 'it is refused, and the link lives');
      if (i % 2) wire.pass('b', 1, 0);
    }
    wire.settle(tick);
    await new Promise(setImmediate);
    wire.settle(tick);
    await ending;
    assert.deepEqual([a.got.length, a.finished, a.session.end().length], [10, true, 0]);
    assert.deepEqual([...a.outcomes.values()], ['unknown']);
  });
});
