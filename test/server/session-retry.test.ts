/**
 * Tests that the client retries openSession after the server has refused it because of the rate limit. The test waits until
 * the rate limit resets.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { DEFAULT_LIMITS } from '../../server/src/index.js';
import { RondevuAPI, SignalingClient } from '../../src/signaling/index.js';
import { startServer, until } from './helpers.js';

async function client(t: TestContext, url: string, username: string, WebSocketClass: unknown) {
  const api = new RondevuAPI(url, username, await RondevuAPI.generateKeypair());
  const signaling = new SignalingClient(api, WebSocketClass as typeof globalThis.WebSocket);
  t.after(() => signaling.close());
  return signaling;
}

test('the client retries openSession after the rate limit caused a refusal', async (t) => {
  const { url } = await startServer(t, { limits: { ...DEFAULT_LIMITS, pointsPerAddress: 9 } });
  const [polling, pushing] = [await client(t, url, 'polling', null), await client(t, url, 'pushing', WebSocket)];
  // the poll costs 4 points and a session costs 6, including 3 for a new key, so the session must wait for the next 10 s
  await polling.call('poll', {});
  // the outcome of this call does not matter
  await pushing.call('poll', {}).catch(() => undefined);
  assert.notEqual(pushing.state, 'push');
  await until(() => pushing.state === 'push', 'push', 30_000);
});
