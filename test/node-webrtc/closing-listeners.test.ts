/** Tests listeners that close their connection while it is still reporting an event. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { until } from '../server/helpers.js';
import { NodePeerConnection, SlowPeerConnection } from '../support/old-host.js';
import { listen, pair, record } from './pair.js';

describe('a listener that closes the connection', { concurrency: 3 }, () => {
  for (const event of ['state:changed', 'cleanup:started', 'closed'] as const) {
    test(`on ${event} can call close again without losing messages`, async (t) => {
      const { connection, other } = await (await pair(t)).join('bob');
      const got = listen(other);
      let again: Promise<void> | undefined;
      connection.on(event, () => void (again = connection.close()));
      const handles = Array.from({ length: 20 }, (_, index) => connection.send(`${index} `.padEnd(100_000, 'x')));
      const closing = connection.close();
      assert.equal(again, closing);
      await closing;
      await until(() => other.getState() === 'closed', 'the peer to close');
      assert.deepEqual(
        got.map((data) => parseInt(data as string)),
        handles.map((_, index) => index),
      );
      // the last acknowledgements may be lost when the peer closes, but no outcome may stay pending
      const outcomes = await Promise.all(handles.map(({ delivered }) => delivered));
      assert.deepEqual(
        outcomes.filter((outcome) => !/^(delivered|unknown)$/.test(outcome)),
        [],
      );
    });
  }

  test('on `reconnecting` leaves no session timer at the host', async (t) => {
    const { join } = await pair(t, { connectionConfig: { sessionTtl: 500 } });
    const { connection, other } = await join('bob');
    const closes = t.mock.method(other, 'close');
    other.on('reconnecting', () => void other.close());
    connection.getPeerConnection()!.close();
    other.getPeerConnection()!.close();
    await until(() => other.getState() === 'closed', 'the host to close');
    await sleep(1000);
    assert.equal(closes.mock.callCount(), 1);
  });

  test('on `connected` prevents `reconnect:success` and `resumed`', async (t) => {
    const { connection, other } = await (await pair(t)).join('bob');
    const logs = [connection, other].map((side) => record(side, 'connected', 'reconnect:success', 'resumed', 'reset', 'closed'));
    for (const side of [connection, other]) side.on('connected', () => void side.close());
    connection.getPeerConnection()!.close();
    other.getPeerConnection()!.close();
    await until(() => connection.getState() === 'closed' && other.getState() === 'closed', 'both to close');
    assert.deepEqual(new Set(logs.map(String)), new Set(['connected,closed']));
  });

  test('on `ice:polling:stopped` also closes a silent link that has just recovered', async (t) => {
    const attach = t.mock.method(WebRtcLink.prototype, 'attach');
    const { join } = await pair(t);
    const { connection } = await join('bob', { rtcPeerConnection: SlowPeerConnection }); // delays the opening of the next link
    const pc = connection.getPeerConnection()!;
    const { onDead, onAlive } = attach.mock.calls.find((call) => (call.this as WebRtcLink).pc === pc)!.arguments[0];
    connection.on('ice:polling:started', () => queueMicrotask(onAlive!));
    connection.on('ice:polling:stopped', () => void connection.close());
    await until(() => {
      if (connection.isConnected()) onDead(); // repeat this if a late message from the host has ended the silence
      return connection.getState() === 'closed';
    }, 'the connection to close');
    await until(() => pc.signalingState === 'closed', 'the old link to close', 5000);
  });

  test('on `datachannel:close` ends a host connection without a `failed` event', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const log = record(other, 'closed', 'disconnected', 'reconnect:failed', 'failed');
    other.on('datachannel:close', () => void other.close());
    connection.dropLinkForNow('test');
    await until(() => other.getState() === 'closed', 'the host to close');
    assert.deepEqual(log, ['closed']);
  });

  for (const event of ['connection:timeout', 'reconnect:failed'] as const) {
    test(`on ${event} stops the host from reconnecting`, async (t) => {
      const { join } = await pair(t, { connectionConfig: { connectionTimeout: 3000 } });
      const { rondevu, other } = await join('bob');
      const lost = other.getOfferId();
      rondevu.hint('hide');
      await until(() => other.getOfferId() !== lost, 'the pool to bind the connection to a new offer');
      const [here, there] = [new NodePeerConnection(), new NodePeerConnection()];
      t.after(() => [here, there].forEach((pc) => pc.close()));
      here.createDataChannel('x');
      const offer = await here.createOffer(); // contains no candidates, so the link never comes up
      await here.setLocalDescription(offer);
      await there.setRemoteDescription(offer);
      other.rebindToOffer('offer', here);
      await other.processAnswer((await there.createAnswer()).sdp!, 'bob');
      const expected = ['connection:timeout', 'reconnect:failed', 'failed'] as const;
      const log = record(other, ...expected, 'closed');
      other.on(event, () => void other.close());
      await until(() => other.getState() === 'closed', 'the host to close');
      assert.deepEqual(log, [...expected.slice(0, expected.indexOf(event) + 1), 'closed']);
    });
  }
});
