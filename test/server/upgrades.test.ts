/** Tests upgrade requests for protocols other than WebSocket, which are answered without an upgrade. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/index.js';
import { MAX_IGNORED_UPGRADES } from '../../server/src/upgrades.js';
import { signV2, someone, startServer, until, connectRaw, type RawConnection } from './helpers.js';

/** Opens a connection, and sends all `requests` in a single write. */
function pipelined(t: TestContext, port: number, requests: string): RawConnection {
  const raw = connectRaw(t, port);
  raw.socket.write(requests);
  return raw;
}
const upgradeOf = (port: number): string =>
  `Host: localhost:${port}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n`;

test('answers pipelined h2c upgrade requests in order', async (t) => {
  const { port } = await startServer(t);
  const call = JSON.stringify(
    signV2(someone(), 'getService', { serviceFqn: 'nothing:1.0.0', wait: 300 }, `http://localhost:${port}`),
  );
  const { received } = pipelined(
    t,
    port,
    `GET /one HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /rpc HTTP/1.1\r\n${upgradeOf(port)}Content-Length: ${call.length}\r\n\r\n${call}` +
      `GET /two HTTP/1.1\r\n${upgradeOf(port)}\r\nGET /three HTTP/1.1\r\n${upgradeOf(port)}\r\nGET /four HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  );
  await until(() => received().includes('GET /four'), 'the last reply');
  const order = [...received().matchAll(/GET \/(\w+)|No services found/g)].map((match) => match[1] ?? 'call');
  assert.deepEqual(order, ['one', 'call', 'two', 'three', 'four']);
});

const replies = (received: string): number => received.split('HTTP/1.1 404').length - 1;

test('closes a connection after MAX_IGNORED_UPGRADES upgrade requests for h2c', async (t) => {
  const { port } = await startServer(t, { limits: { ...DEFAULT_LIMITS, maxSocketsPerAddress: 1 } });
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  t.after(() => process.off('warning', onWarning));
  const request = `GET /nothing HTTP/1.1\r\n${upgradeOf(port)}\r\n`;
  const { socket, received, closed: isOver } = pipelined(t, port, request);
  for (let count = 1; count < MAX_IGNORED_UPGRADES; count++) {
    await until(() => replies(received()) === count, `reply ${count}`);
    socket.write(request);
  }
  await isOver;
  assert.equal(replies(received()), MAX_IGNORED_UPGRADES);
  const all = pipelined(t, port, request.repeat(1000));
  await all.closed;
  assert.ok(replies(all.received()) <= MAX_IGNORED_UPGRADES);
  assert.deepEqual(warnings, []);
});
