/** Connection options whose effect can be observed only on a real link. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { test, type TestContext } from 'node:test';
import wrtc from '@roamhq/wrtc';
import type { Rondevu } from '../../src/index.js';
import { client, pair } from './pair.js';
import { startServer } from '../server/helpers.js';
import { NodePeerConnection } from '../support/old-host.js';
import { until } from '../support/until.js';

/** Returns the URL of a STUN server that never replies, which delays the end of candidate gathering. */
async function silentStun(t: TestContext): Promise<string> {
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const address = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal);
  return `stun:${address?.address ?? '127.0.0.1'}:${socket.address().port}`;
}

/** Publishes an offer whose peer connection is closed, because libwebrtc stops gathering as soon as ICE finds a path. */
async function publishDeadOffer(host: Rondevu, service: string): Promise<string> {
  const pc = new NodePeerConnection();
  pc.createDataChannel('unused');
  await pc.setLocalDescription(await pc.createOffer());
  const { sdp } = pc.localDescription!;
  pc.close();
  const serviceFqn = `${service}@${host.getUsername()}`;
  await host.api.call('publishService', { serviceFqn, offers: [{ sdp }] });
  return serviceFqn;
}

test('ice:gathering:timeout is emitted while candidates are still being gathered', async (t) => {
  const server = await startServer(t);
  const serviceFqn = await publishDeadOffer(await client(t, server, 'alice'), 'chat:1.0.0');
  const joiner = await client(t, server, 'bob');
  const connection = await joiner.prepareConnection({
    serviceFqn,
    rtcConfig: { iceServers: [{ urls: await silentStun(t) }] },
    connectionConfig: { iceGatheringTimeout: 50 },
  });
  const states: (string | undefined)[] = [];
  connection.on('ice:gathering:timeout', () => states.push(connection.getPeerConnection()?.iceGatheringState));
  connection.start(0);
  await connection.found;
  await until(() => states.length > 0, 'ice:gathering:timeout');
  assert.notEqual(states[0], 'complete');
});

test('remote candidates are created with the constructor in the rtcIceCandidate option', async (t) => {
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

test('closed and disconnected events provide a code in addition to the reason', async (t) => {
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
  // the message that announces the departure is lost if the channel closes first
  assert.match(String(lost[1]), /^(peer-gone|timeout)$/);
});
