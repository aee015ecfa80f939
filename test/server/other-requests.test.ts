/** Tests requests that are not calls: their costs, and the replies to pipelined requests. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/index.js';
import { MAX_PIPELINED } from '../../server/src/other-requests.js';
import { Client, startServer, until, connectRaw } from './helpers.js';

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** Opens a raw connection, and collects the HTTP statuses of its replies. */
function connection(t: TestContext, port: number) {
  const { socket, received } = connectRaw(t, port);
  return { socket, statuses: () => [...received().matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)) };
}

test('requests for files, pages and unknown paths cost points, but health checks and metrics do not', async (t) => {
  const points = 30;
  const { url } = await startServer(t, { limits: { ...DEFAULT_LIMITS, pointsPerAddress: points } });
  const paths = ['/', '/demo/', '/rondevu-elements.js', '/nothing'];
  for (let i = 0; i < points; i++) assert.notEqual((await fetch(url + paths[i % paths.length]!)).status, 429);
  for (const init of [{}, { method: 'PUT', body: 'x' }, { method: 'OPTIONS' }]) {
    const refusal = await fetch(`${url}/nothing`, init);
    assert.equal(refusal.status, 429);
    assert.ok(Number(refusal.headers.get('retry-after')) > 0);
    assert.equal(((await refusal.json()) as { code: string }).code, 'rate-limited');
  }
  for (const path of ['/health', '/ready', '/metrics'])
    for (let i = 0; i < 2 * points; i++) assert.equal((await fetch(url + path)).status, 200);
});

test('60 visitors behind one address can each load a page with 15 files and make a call', async (t) => {
  const { url } = await startServer(t);
  const visit = async (): Promise<number[]> => {
    const files = await Promise.all(Array.from({ length: 15 }, async () => (await fetch(`${url}/`)).status));
    const client = new Client(url);
    await client.publish(`x:1.0.0@${client.username}`, ['offer']);
    return files;
  };
  const statuses = (await Promise.all(Array.from({ length: 60 }, visit))).flat();
  assert.equal(statuses.length, 900);
  assert.ok(statuses.every((status) => status === 200));
});

test('answers pipelined requests in order, and closes the connection if there are too many', async (t) => {
  const { port, url } = await startServer(t);
  const few = connection(t, port);
  few.socket.write(`${get('/')}${get('/nothing')}`.repeat(MAX_PIPELINED / 2));
  await until(() => few.statuses().length === MAX_PIPELINED, 'every reply');
  assert.deepEqual(
    few.statuses(),
    Array<number[]>(MAX_PIPELINED / 2)
      .fill([200, 404])
      .flat(),
  );
  few.socket.write(get('/health'));
  await until(() => few.statuses().length === MAX_PIPELINED + 1, 'a reply after them');
  for (const path of ['/', '/nothing', '/health', '/metrics']) {
    const many = connection(t, port);
    many.socket.write(get(path).repeat(1000));
    await once(many.socket, 'close');
    assert.ok(many.statuses().length <= MAX_PIPELINED);
  }
  assert.equal((await fetch(`${url}/health`)).status, 200);
});

test('the server keeps working after a connection is reset while its requests are queued', async (t) => {
  const server = await startServer(t);
  const aborted = connection(t, server.port);
  aborted.socket.write(get('/').repeat(MAX_PIPELINED), () => aborted.socket.resetAndDestroy());
  await once(aborted.socket, 'close');
  assert.equal((await fetch(`${server.url}/`)).status, 200);
});
