/**
 * Additional channels of a connection, with real WebRTC in Node: either peer can create channels, which are as durable as the
 * connection.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RondevuChannel, RondevuConnection } from '../../src/index.js';
import { someone, startServer, until } from '../server/helpers.js';
import { OldHost } from '../support/old-host.js';
import { client, pair } from './pair.js';

type Data = string | ArrayBuffer;
const received = (channel: RondevuChannel): Data[] => {
  const messages: Data[] = [];
  channel.on('message', (data) => messages.push(data));
  return messages;
};
const channelOf = async (connection: RondevuConnection, label: string): Promise<RondevuChannel> => {
  await until(() => connection.getChannel(label) !== undefined, `the channel ${label} at the other side`);
  return connection.getChannel(label)!;
};
const numbers = (count: number, from: string) => Array.from({ length: count }, (_, index) => `${from} ${index + 1}`);

describe('additional channels', { concurrency: 3 }, () => {
  test('a channel created by either peer carries text and bytes in both directions', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const made: string[] = [];
    other.on('channel', ({ label }) => made.push(label));
    const files = connection.createChannel('files');
    assert.deepEqual([files.readyState, files.getQueueSize()], ['connecting', 0]);
    files.send('before it is open');
    assert.equal(files.getQueueSize(), 1);
    const there = await channelOf(other, 'files');
    const [atHost, atBob] = [received(there), received(files)];
    there.send(Uint8Array.of(1, 2, 3));
    assert.equal(await files.send('x'.repeat(300_000)).delivered, 'delivered');
    await until(() => atBob.length === 1, 'the bytes');
    assert.deepEqual(atHost, ['before it is open', 'x'.repeat(300_000)]);
    assert.deepEqual(new Uint8Array(atBob[0] as ArrayBuffer), Uint8Array.of(1, 2, 3));
    assert.equal(connection.createChannel('files'), files, 'one label is one channel');
    const back = other.createChannel('back');
    const atBack = received(await channelOf(connection, 'back'));
    back.send('from the host');
    await until(() => atBack.length === 1, 'the message from the host');
    assert.deepEqual(made, ['files']);
    assert.deepEqual([files.readyState, files.bufferedAmount, back.config.ordered], ['open', 0, true]);
  });

  test('channels that both peers create simultaneously with the same label become one channel', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const [one, two] = [connection.createChannel('game'), other.createChannel('game')];
    const [atBob, atHost] = [received(one), received(two)];
    for (const text of numbers(20, 'bob')) one.send(text);
    for (const text of numbers(20, 'alice')) two.send(text);
    await until(() => atBob.length >= 20 && atHost.length >= 20, 'the messages');
    assert.deepEqual([atBob, atHost], [numbers(20, 'alice'), numbers(20, 'bob')]);
    assert.equal(await one.send('last').delivered, 'delivered');
  });

  test('channels deliver messages exactly once and in order while the peer connection is closed 20 times', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const count = 400;
    const ends = [
      ...['a', 'b'].map((label) => ({ label, from: connection, to: other })),
      ...['c', 'd', 'e'].map((label) => ({ label, from: other, to: connection })),
    ].map(({ label, from, to }) => {
      const [here, there] = [from.createChannel(label), to.createChannel(label)];
      here.bufferedAmountLowThreshold = 1000;
      let low = 0;
      here.on('bufferedAmountLow', () => low++);
      return { label, here, there, got: received(there), back: received(here), low: () => low };
    });
    for (let round = 0; round < 20; round++) {
      for (const { label, here, there } of ends) {
        for (const text of numbers(count / 20, `${label} ${round}`)) {
          here.send(`${text} ${'x'.repeat(500)}`);
          there.send(text);
        }
      }
      const { generation } = connection;
      (round % 2 ? other : connection).getPeerConnection()!.close();
      await until(() => connection.generation > generation && connection.isConnected() && other.isConnected(), 'the next link');
    }
    await until(() => ends.every(({ got, back }) => got.length >= count && back.length >= count), 'all messages', 30_000);
    for (const { label, got, back, low } of ends) {
      const all = Array.from({ length: 20 }, (_, round) => numbers(count / 20, `${label} ${round}`)).flat();
      assert.deepEqual(back, all);
      assert.deepEqual(
        got.map((text) => (text as string).slice(0, -501)),
        all,
      );
      await until(() => low() > 0, 'bufferedAmountLow');
    }
  });

  test('a channel closes after all messages have been sent, and frees its label', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const first = connection.createChannel('once');
    first.send('the only one');
    const closing = first.close();
    assert.throws(() => first.send('too late'), /closed|closing/);
    const there = await channelOf(other, 'once');
    const got = received(there);
    const closed = new Promise<void>((resolve) => there.once('close', () => resolve()));
    await Promise.all([closing, closed]);
    assert.deepEqual([got, first.readyState, there.readyState], [['the only one'], 'closed', 'closed']);
    const second = connection.createChannel('once');
    assert.equal(await second.send('again').delivered, 'delivered');
    assert.notEqual(other.getChannel('once'), there);
  });

  test('a channel that is closed while the link is down closes at the peer after recovery', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const channel = connection.createChannel('gone');
    await channel.send('here').delivered;
    const there = other.getChannel('gone')!;
    connection.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    await channel.close();
    await until(() => there.readyState === 'closed', 'the channel to close at the peer');
    assert.equal(other.getChannel('gone'), undefined);
  });

  test('a lossy channel reports delivery as unknown', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const position = connection.createChannel('position', { ordered: false, maxRetransmits: 0 });
    const there = await channelOf(other, 'position');
    const got = received(there);
    assert.deepEqual(there.config, { maxQueueSize: 1000, maxMessageAge: 60_000, ordered: false, maxRetransmits: 0 });
    await until(() => position.readyState === 'open', 'open');
    assert.equal(await position.send('12 5').delivered, 'unknown');
    await until(() => got.length === 1, 'the message');
    other.getPeerConnection()!.close();
    await until(() => position.readyState === 'connecting', 'the loss');
    await until(() => position.readyState === 'open', 'the link to recover');
    position.send('13 5');
    await until(() => got.length === 2, 'the next message');
    await position.close();
    await until(() => there.readyState === 'closed', 'the channel to close at the peer');
  });

  test('queueOverflow reports the number and the content of dropped messages', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const channel = connection.createChannel('small', { maxQueueSize: 2 });
    await channel.send('first').delivered;
    const got = received(other.getChannel('small')!);
    const dropped: unknown[] = [];
    channel.on('queueOverflow', (count, messages) => dropped.push(count, ...messages.map(({ data }) => data)));
    connection.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    const handles = ['one', 'two', 'three', 'four'].map((text) => channel.send(text));
    assert.deepEqual(dropped, [1, 'one', 1, 'two']);
    await until(() => got.length >= 2, 'the rest');
    assert.deepEqual(got, ['three', 'four']);
    assert.deepEqual(await Promise.all(handles.map(({ delivered }) => delivered)), [
      'dropped',
      'dropped',
      'delivered',
      'delivered',
    ]);
  });

  test('messages queued for an absent peer are delivered when the peer restarts', async (t) => {
    const { join, server } = await pair(t);
    const { rondevu, connection, other } = await join('bob');
    const channel = other.createChannel('news');
    await channel.send('seen').delivered;
    const lost: string[] = [];
    channel.on('reset', (messages) => lost.push(...messages.map(({ data }) => data as string)));
    rondevu.hint('hide');
    await until(() => !other.isConnected(), 'the host to notice');
    channel.send('for later');
    const again = await client(t, server, 'bob', { keypair: rondevu.getKeypair() });
    const back = await again.connectToService({ serviceFqn: connection.serviceFqn, wait: 10_000 });
    const got = received(back.createChannel('news'));
    await until(() => got.length === 1, 'the queued message');
    assert.deepEqual([got, lost], [['for later'], []]);
    assert.equal(channel.readyState, 'open');
  });

  test('channels close with their connection, after all messages have been sent', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const channel = connection.createChannel('tail');
    await channel.send('first').delivered;
    const there = other.getChannel('tail')!;
    const got = received(there);
    for (const text of numbers(200, 'tail')) channel.send(text);
    await connection.close();
    await until(() => there.readyState === 'closed', 'the channel to close');
    assert.deepEqual(got, numbers(200, 'tail'));
    assert.throws(() => connection.createChannel('another'), /closed/);
  });

  test('createChannel rejects invalid options, and reports a peer that does not support channels', async (t) => {
    const server = await startServer(t);
    const host = new OldHost(server.url, someone('oldhost'), 'chat:1.0.0');
    t.after(() => host.close());
    await host.offer();
    const rondevu = await client(t, server, 'bob');
    const connection = await rondevu.connectToService({ serviceFqn: host.serviceFqn });
    assert.throws(() => connection.createChannel('x', { ordered: 'no' as never }), /ordered must be a boolean, got "no"/);
    assert.throws(() => connection.createChannel('x', { order: true } as never), /must be ordered maxRetransmits/);
    assert.throws(() => connection.createChannel('x'.repeat(257)), /label must be/);
    const { config } = connection.createChannel('defaults', { ordered: undefined, maxQueueSize: undefined } as never);
    assert.deepEqual(config, { ordered: true, maxQueueSize: 1000, maxMessageAge: 60_000 });
    const errors: string[] = [];
    const channel = connection.createChannel('x');
    channel.on('error', ({ code }) => errors.push(code));
    await until(() => channel.readyState === 'closed', 'the channel to close', 20_000);
    assert.deepEqual(errors, ['unsupported']);
  });
});
