/** Options of a connection whose effect only a real link shows. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { test, type TestContext } from 'node:test';
import wrtc from '@roamhq/wrtc';
import { client, pair } from './pair.js';
import { startServer } from '../server/helpers.js';
import { until } from '../support/until.js';

/** Address of a STUN server that never replies, so that gathering does not end soon. */
async function silentStun(t: TestContext): Promise<string> {
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const address = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal);
  return `stun:${address?.address ?? '127.0.0.1'}:${socket.address().port}`;
}

test('iceGatheringTimeout: the event is emitted while candidates are still being gathered', async (t) => {
  const server = await startServer(t);
  const host = await client(t, server, 'alice');
  const pool = await host.publishService({ service: 'chat:1.0.0' });
  await pool.start();
  const carol = await client(t, server, 'carol');
  const connection = await carol.prepareConnection({
    serviceFqn: pool.fqn,
    rtcConfig: { iceServers: [{ urls: await silentStun(t) }] },
    connectionConfig: { iceGatheringTimeout: 50 },
  });
  const states: (string | undefined)[] = [];
  connection.on('ice:gathering:timeout', () => states.push(connection.getPeerConnection()?.iceGatheringState));
  connection.start(10_000);
  await connection.opened;
  await until(() => states.length > 0, 'ice:gathering:timeout');
  assert.deepEqual(states, ['gathering']);
});

test('rtcIceCandidate: candidates of the peer are made with it', async (t) => {
  const made: RTCIceCandidateInit[] = [];
  class Candidate extends (wrtc.RTCIceCandidate as typeof RTCIceCandidate) {
    constructor(init?: RTCLocalIceCandidateInit) {
      super(init);
      made.push(init!);
    }
  }
  const { join } = await pair(t);
  await join('bob', { rtcIceCandidate: Candidate });
  assert.ok(made.length > 0);
  assert.ok(made.every(({ candidate }) => candidate?.startsWith('candidate:')));
});

test('closed and disconnected carry a code beside the reason', async (t) => {
  const { join } = await pair(t);
  const { connection, other } = await join('bob');
  const events: unknown[][] = [];
  connection.on('closed', (reason, { code }) => events.push(['joiner', reason, code]));
  other.on('closed', (reason, { code }) => events.push(['host', reason, code]));
  await connection.close({ reason: 'enough' });
  await until(() => events.length === 2, 'both to close');
  assert.deepEqual(events, [
    ['joiner', 'enough', 'closed'],
    ['host', 'closed by the peer', 'closed-by-peer'],
  ]);

  const second = await join('carol');
  const lost: unknown[] = [];
  second.other.on('disconnected', (_reason, { code }) => lost.push(code));
  second.connection.on('disconnected', (_reason, { code }) => lost.push(code));
  second.rondevu.hint('hide');
  await until(() => lost.length === 2, 'both to be disconnected');
  assert.equal(lost[0], 'closed');
  // the announcement is lost if the channel closes first
  assert.match(String(lost[1]), /^(peer-gone|timeout)$/);
});
