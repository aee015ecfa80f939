/** Connection options whose effect shows only on a real link. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import wrtc from '@roamhq/wrtc';
import { pair } from './pair.js';
import { until } from '../support/until.js';

test("the peer's candidates are created with the rtcIceCandidate option", async (t) => {
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

test('closed and disconnected pass a code along with the reason', async (t) => {
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
