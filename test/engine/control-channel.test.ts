/** Queueing and sending on the control channel. The data channel is a stub whose state the tests set. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlChannel } from '../../src/connection/control-channel.js';

function control() {
  const channel = {
    readyState: 'connecting',
    bufferedAmount: 0,
    sent: [] as string[],
    onopen: undefined as (() => void) | undefined,
    onmessage: undefined as ((event: { data: unknown }) => void) | undefined,
    send: (text: string) => void channel.sent.push(text),
    close: () => undefined,
  };
  const pc = { createDataChannel: () => channel } as unknown as RTCPeerConnection;
  return { channel, control: new ControlChannel(pc) };
}

test('up to 1000 messages are queued until the control channel opens', () => {
  const { channel, control: ours } = control();
  for (let i = 0; i < 5000; i++) ours.send(`${i}`);
  channel.readyState = 'open';
  channel.onopen!();
  assert.deepEqual(
    channel.sent,
    Array.from({ length: 1000 }, (_, i) => `${i}`),
  );
});

test('a peer that stops reading gets no pongs, and loses its link when more than 1 MiB is buffered', () => {
  const { channel, control: ours } = control();
  const broken: string[] = [];
  ours.onBroken = (reason) => broken.push(reason);
  channel.readyState = 'open';
  channel.bufferedAmount = 16_384;
  channel.onmessage!({ data: 'ping' });
  assert.deepEqual(channel.sent, []);
  ours.send('text');
  channel.bufferedAmount = 1_048_577;
  ours.send('more');
  assert.deepEqual([channel.sent, broken.length], [['text'], 1]);
});

test('a probe without a time limit waits for the pong', async () => {
  const { channel, control: ours } = control();
  channel.readyState = 'open';
  const probe = ours.probe(Infinity);
  setImmediate(() => channel.onmessage!({ data: 'pong' }));
  assert.equal(await probe, true);
});

test('closing the channel ends its probes', async () => {
  const { channel, control: ours } = control();
  channel.readyState = 'open';
  const probe = ours.probe(Infinity);
  ours.close();
  assert.equal(await probe, false);
});
