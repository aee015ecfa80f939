/** The client against a server without room for its session. Waits until the period of the rate limit is over. */
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

test('the client retries a session that the server has no room for', async (t) => {
  const { url } = await startServer(t, { limits: { ...DEFAULT_LIMITS, pointsPerAddress: 9 } });
  const [polling, pushing] = [await client(t, url, 'polling', null), await client(t, url, 'pushing', WebSocket)];
  await polling.call('poll', {}); // costs 4, a session 6, each with 3 for a new key: it must wait for the next 10 s
  await pushing.call('poll', {}).catch(() => undefined); // its outcome does not matter
  assert.notEqual(pushing.state, 'push');
  await until(() => pushing.state === 'push', 'push', 30_000);
});
