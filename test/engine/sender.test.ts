/**
 * Sender: what it hands to a channel, in which order, and when it waits. The channel is a stand-in with a `bufferedAmount`
 * that the test moves; the real ones are in the tests with connections.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Sender, byteLength } from '../../src/connection/sender.js';
import type { BufferedMessage, MessageData } from '../../src/connection/message-buffer.js';
import { until } from '../server/helpers.js';

const HIGH_WATER = 262_144;

class FakeChannel {
  readyState: RTCDataChannelState = 'open';
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  onbufferedamountlow: (() => void) | null = null;
  sent: (string | ArrayBuffer)[] = [];
  /** What `send` throws, if anything. */
  failure: Error | undefined;

  send(data: string | ArrayBuffer): void {
    if (this.failure) throw this.failure;
    this.sent.push(data);
    this.bufferedAmount += typeof data === 'string' ? data.length : data.byteLength;
  }

  /** The network takes all but `rest` bytes. */
  drain(rest = 0): void {
    const wasAbove = this.bufferedAmount > this.bufferedAmountLowThreshold;
    this.bufferedAmount = rest;
    if (wasAbove && rest <= this.bufferedAmountLowThreshold) this.onbufferedamountlow?.();
  }

  get texts(): string[] {
    return this.sent.map((data) => (typeof data === 'string' ? data : Buffer.from(data).toString()));
  }

  asChannel(): RTCDataChannel {
    return this as unknown as RTCDataChannel;
  }
}

let count = 0;
const message = (data: MessageData): BufferedMessage => ({ id: `${++count}`, data, timestamp: 0, attempts: 0 });
const bytes = (length: number): ArrayBuffer => new ArrayBuffer(length);

function setUp(): { sender: Sender; channel: FakeChannel; push(...data: MessageData[]): void } {
  const sender = new Sender();
  const channel = new FakeChannel();
  return { sender, channel, push: (...data) => data.forEach((item) => sender.push(message(item))) };
}

test('sends at once on an open channel, in order, and tells when each was handed over', () => {
  const { sender, channel } = setUp();
  sender.use(channel.asChannel());
  const handed: string[] = [];
  for (const text of ['a', 'b', 'c']) sender.push(message(text), () => handed.push(text));
  assert.deepEqual(channel.sent, ['a', 'b', 'c']);
  assert.deepEqual(handed, ['a', 'b', 'c']);
  assert.equal(sender.queuedBytes, 0);
});

test('keeps what is sent without a channel, and sends it first', () => {
  const { sender, channel, push } = setUp();
  push('a', 'b');
  assert.ok(sender.queuedBytes > 0);
  sender.use(channel.asChannel());
  push('c');
  assert.deepEqual(channel.sent, ['a', 'b', 'c']);
});

test('Blobs are read on the way and keep their place among strings and bytes', async () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  push('1', new Blob(['two']), '3', new Blob(['four']), new Blob(['five']), Uint8Array.of(54).buffer, '7');
  await until(() => channel.sent.length === 7, 'all seven');
  assert.deepEqual(channel.texts, ['1', 'two', '3', 'four', 'five', '6', '7']);
  assert.ok(channel.sent[1] instanceof ArrayBuffer);
  assert.equal(sender.queuedBytes, 0);
});

test('a Blob that cannot be read is left out and said; the rest goes on', async (t: TestContext) => {
  const { mock } = t.mock.method(console, 'error', () => undefined);
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  const gone = new Blob(['gone']);
  gone.arrayBuffer = () => Promise.reject(new Error('the file is gone'));
  push('1', gone, '3');
  await until(() => channel.sent.length === 2, 'the two others');
  assert.deepEqual(channel.texts, ['1', '3']);
  assert.equal(mock.callCount(), 1);
  assert.equal(sender.queuedBytes, 0);
});

test('pauses above the high water mark and goes on at the low one', () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  const chunk = bytes(65_536);
  for (let i = 0; i < 10; i++) push(chunk);
  assert.equal(channel.sent.length, HIGH_WATER / 65_536);
  assert.equal(sender.queuedBytes, 6 * 65_536);
  assert.equal(sender.bufferedAmount, 10 * 65_536);
  assert.ok(channel.bufferedAmountLowThreshold < HIGH_WATER && channel.bufferedAmountLowThreshold > 0);
  channel.drain(channel.bufferedAmountLowThreshold);
  assert.equal(channel.sent.length, 7);
  channel.drain();
  assert.equal(channel.sent.length, 10);
  assert.equal(sender.queuedBytes, 0);
});

test('a message is never held back for its own size: one past the mark goes on an empty channel', () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  push(bytes(2 * HIGH_WATER), 'after');
  assert.equal(channel.sent.length, 1);
  channel.drain();
  assert.equal(channel.sent.length, 2);
});

test('a channel that throws keeps the message at the head; the next channel gets it first', () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  push('1');
  channel.failure = new Error('closing under us');
  push('2', '3');
  assert.deepEqual(channel.sent, ['1']);
  const after = new FakeChannel();
  sender.use(after.asChannel());
  assert.deepEqual(after.sent, ['2', '3']);
  assert.equal(sender.queuedBytes, 0);
});

test('a channel that is not open is not tried', () => {
  for (const readyState of ['connecting', 'closing', 'closed'] as const) {
    const { sender, channel, push } = setUp();
    channel.readyState = readyState;
    sender.use(channel.asChannel());
    push('1');
    assert.deepEqual(channel.sent, []);
    assert.ok(sender.queuedBytes > 0);
  }
});

test('when the link goes the queue stays, and goes out on the next one in order', async () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  for (let i = 0; i < 4; i++) push(bytes(65_536));
  push('a', new Blob(['b']), 'c');
  sender.pause();
  channel.drain();
  assert.equal(channel.sent.length, 4, 'the old channel gets no more');
  const after = new FakeChannel();
  sender.use(after.asChannel());
  push('d');
  await until(() => after.sent.length === 4, 'the rest');
  assert.deepEqual(after.texts, ['a', 'b', 'c', 'd']);
  assert.equal(channel.sent.length, 4);
});

test('a link that goes while a Blob is read loses and repeats nothing', async () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  push('1', new Blob(['two']), '3');
  sender.pause();
  await new Promise((resolve) => setTimeout(resolve, 20)); // long enough for the Blob to be read
  assert.deepEqual(channel.texts, ['1']);
  const after = new FakeChannel();
  sender.use(after.asChannel());
  await until(() => after.sent.length === 2, 'the rest');
  assert.deepEqual(after.texts, ['two', '3']);
});

test('attempts count how often a message was handed over', () => {
  const { sender, channel } = setUp();
  const sent = message('x');
  sender.push(sent);
  assert.equal(sent.attempts, 0);
  sender.use(channel.asChannel());
  assert.equal(sent.attempts, 1);
});

test('drained waits for queue and channel, and resolves at once when there is nothing', async () => {
  const { sender, channel, push } = setUp();
  await sender.drained();
  sender.use(channel.asChannel());
  for (let i = 0; i < 6; i++) push(bytes(65_536));
  let drained = 0;
  const both = Promise.all([sender.drained().then(() => drained++), sender.drained().then(() => drained++)]);
  await new Promise(setImmediate);
  assert.equal(drained, 0);
  channel.drain(channel.bufferedAmountLowThreshold);
  await new Promise(setImmediate);
  assert.equal(drained, 0, 'the channel was filled again from the queue');
  channel.drain();
  await both;
  assert.equal(drained, 2);
});

test('drained holds over a change of the link', async () => {
  const { sender, channel, push } = setUp();
  sender.use(channel.asChannel());
  for (let i = 0; i < 6; i++) push(bytes(65_536));
  let done = false;
  const drained = sender.drained().then(() => (done = true));
  sender.pause();
  await new Promise(setImmediate);
  assert.equal(done, false, 'there are messages that wait');
  const after = new FakeChannel();
  sender.use(after.asChannel());
  after.drain();
  await drained;
});

test('a listener that pushes while the queue is being sent does not overtake', () => {
  const { sender, channel } = setUp();
  sender.push(message('1'), () => sender.push(message('3')));
  sender.push(message('2'));
  sender.use(channel.asChannel());
  assert.deepEqual(channel.sent, ['1', '2', '3']);
});

test('sizes: bytes of buffers and Blobs, an upper bound for text', () => {
  assert.equal(byteLength({ data: bytes(7) }), 7);
  assert.equal(byteLength({ data: new Blob(['seven..']) }), 7);
  for (const text of ['', 'plain', 'ü', '漢字', '🙂']) assert.ok(byteLength({ data: text }) >= Buffer.byteLength(text));
});
