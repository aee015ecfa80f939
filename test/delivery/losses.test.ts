/** Links that lose what they were given and live on: each is left, and the next one brings it. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Session } from '../../src/delivery/session.js';
import { End, Wire } from './wire.js';

const tick = (): void => mock.timers.tick(100);
/** How often it is looked whether acknowledgements come, in ms. */
const LOOK = 15_000;
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

describe('a link that loses messages', () => {
  it('a link that loses a message is left, and the next one brings it; four in a row are the other side’s fault', () => {
    const wire = new Wire();
    const left: string[] = [];
    const broken: string[] = [];
    const end = new End('sid');
    end.session = new Session(
      'sid',
      { maxMessageSize: 1 << 20, maxQueuedBytes: Infinity },
      {
        onMessage: (data) => void end.got.push(data),
        onReady: () => undefined,
        onDone: () => undefined,
        onFin: () => undefined,
        onHole: (reason) => void left.push(reason),
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
    assert.deepEqual([left, end.got], [['message 1 was expected, 2 came'], []]);
    wire.connect();
    wire.settle(tick);
    assert.deepEqual(end.got, ['one', 'two']);
    for (let i = 0; i < 4; i++) {
      lose();
      assert.deepEqual([left.length, broken.length], i < 3 ? [2 + i, 0] : [4, 1]);
    }
  });

  it('a living link that carries nothing on is left, and the next one brings what was lost at its end', () => {
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
      assert.deepEqual(a.errors.splice(0), ['nothing was acknowledged for 15 s'], lost);
      wire.connect();
      wire.settle(tick);
      assert.deepEqual(b.got, ['last']);
      mock.timers.tick(10 * LOOK);
      assert.deepEqual([[...a.outcomes.values()], a.errors], [['delivered'], []], lost);
    }
  });

  it('a link is not left while bytes leave it or the other side is silent; one after the other it has more time', () => {
    const wire = new Wire();
    wire.connect();
    wire.settle(tick);
    const { a } = wire.ends;
    a.send(new ArrayBuffer(1_000_000));
    const looks = (count: number): number => {
      for (let i = 0; i < count; i++) mock.timers.tick(LOOK);
      return a.errors.splice(0).length;
    };
    for (let i = 0; i < 5; i++) {
      a.port!.bufferedAmount--;
      assert.equal(looks(1), 0, 'it moves');
    }
    a.port!.isAlive = false;
    assert.equal(looks(5), 0, 'the heartbeat sees to that');
    a.port!.isAlive = true;
    assert.equal(looks(2), 1, 'nothing moves');
    wire.connect();
    wire.pass('b', 1);
    assert.equal(looks(3), 0, 'twice as long');
    assert.equal(looks(1), 1);
    wire.connect();
    wire.settle(tick);
    assert.deepEqual([wire.ends.b.got.length, looks(8)], [1, 0]);
    a.send('x');
    a.port!.data.pop();
    a.port!.bufferedAmount = 0;
    assert.equal(looks(2), 1, 'what arrived in between puts it back');
  });
});
