/** Tests static files: which files are served and which are not, compression, and revalidation of cached copies. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { startServer, connectRaw } from './helpers.js';
import { temporaryFolder } from '../support/folders.js';

const SCRIPT = `export const text = '${'x'.repeat(2000)}';\n`;

async function setUp(t: TestContext, options: Parameters<typeof startServer>[1] = {}) {
  const root = temporaryFolder(t);
  for (const folder of ['demo', 'dist', 'demo/.git', 'secret']) mkdirSync(join(root, folder));
  const files = {
    'demo/index.html': '<!doctype html>demo',
    'demo/.env.js': 'secret',
    'demo/.git/config.json': 'secret',
    'demo/rondevu.db': 'secret',
    'demo/rondevu.db-wal': 'secret',
    'demo/key.pem': 'secret',
    'dist/rondevu-elements.js': SCRIPT,
    'secret/identity.json': 'secret',
    'package.json': 'secret',
    'rondevu.db': 'secret',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  symlinkSync(join(root, 'secret'), join(root, 'demo/link'));
  symlinkSync(join(root, 'secret/identity.json'), join(root, 'dist/link.json'));
  symlinkSync('/etc/hostname', join(root, 'demo/outside.json'));
  const server = await startServer(t, { staticRoot: root, ...options });
  /** Requests the path unchanged; fetch would normalise the path first. */
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    new Promise<{ status: number; headers: Record<string, string>; body: Buffer }>((resolve, reject) => {
      const { hostname, port } = new URL(server.url);
      const call = request({ hostname, port, path, headers, method }, (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('end', () =>
          resolve({
            status: reply.statusCode!,
            headers: reply.headers as Record<string, string>,
            body: Buffer.concat(chunks),
          }),
        );
      });
      call.on('error', reject);
      call.end();
    });
  return { root, server, get };
}

test('serves the demo and the bundle in an encoding that the client accepts', async (t) => {
  const { get } = await setUp(t);
  assert.equal((await get('/demo')).headers['location'], '/demo/');
  const demo = await get('/demo/');
  assert.deepEqual([demo.status, String(demo.body)], [200, '<!doctype html>demo']);
  assert.match(demo.headers['content-type']!, /^text\/html/);
  for (const path of ['/rondevu-elements.js', '/dist/rondevu-elements.js']) {
    for (const [accept, encoding, decode] of [
      ['gzip, deflate, br', 'br', brotliDecompressSync],
      ['gzip', 'gzip', gunzipSync],
      ['br;q=0, gzip', 'gzip', gunzipSync],
      ['*', 'br', brotliDecompressSync],
      ['identity, br;q=0.000, gzip;q=0', undefined, (bytes: Buffer) => bytes],
    ] as const) {
      const { status, headers, body } = await get(path, { 'accept-encoding': accept });
      assert.deepEqual([status, headers['content-encoding']], [200, encoding], accept);
      assert.match(headers['content-type']!, /^text\/javascript/);
      assert.equal(headers['vary']!.toLowerCase().includes('accept-encoding'), true);
      assert.equal(String(decode(body)), SCRIPT);
      if (encoding) assert.ok(body.length < SCRIPT.length / 4);
    }
  }
  const head = await get('/rondevu-elements.js', {}, 'HEAD');
  assert.deepEqual([head.status, head.body.length], [200, 0]);
});

test('replies with 304 to a current ETag and with the new file to an outdated ETag', async (t) => {
  const { root, get } = await setUp(t);
  const first = await get('/rondevu-elements.js', { 'accept-encoding': 'br' });
  assert.equal(first.headers['cache-control'], 'no-cache');
  const etag = first.headers['etag']!;
  for (const ifNoneMatch of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const again = await get('/rondevu-elements.js', { 'accept-encoding': 'br', 'if-none-match': ifNoneMatch });
    assert.deepEqual([again.status, again.body.length, again.headers['etag']], [304, 0, etag], ifNoneMatch);
  }
  const other = await get('/rondevu-elements.js', { 'if-none-match': etag });
  assert.equal(other.status, 200, 'each encoding has its own ETag');
  writeFileSync(join(root, 'dist/rondevu-elements.js'), 'export {};\n');
  const changed = await get('/rondevu-elements.js', { 'accept-encoding': 'br', 'if-none-match': etag });
  assert.deepEqual([changed.status, String(changed.body)], [200, 'export {};\n']);
});

test('does not serve databases, dotfiles, or paths and links that lead out of the public folders', async (t) => {
  const { get } = await setUp(t);
  for (const path of [
    '/rondevu.db',
    '/demo/rondevu.db',
    '/demo/rondevu.db-wal',
    '/demo/key.pem',
    '/demo/.env.js',
    '/demo/.git/config.json',
    '/demo/%2egit/config.json',
    '/demo/link/identity.json/',
    '/demo/link/identity.json',
    '/dist/link.json',
    '/demo/outside.json',
    '/package.json',
    '/secret/identity.json',
    '/demo/../package.json',
    '/demo/..%2fpackage.json',
    '/demo/%2e%2e/package.json',
    '/demo/%252e%252e/package.json',
    '/demo/..%5cpackage.json',
    '/demo/..\\package.json',
    '/demo//../../package.json',
    '/dist/%00rondevu-elements.js',
    '/demo/%ff',
    '/demo/%',
    '/rondevu-..%2f..%2fpackage.js',
    '/demo/constructor',
  ]) {
    const { status, body } = await get(path);
    assert.ok(status === 404 || status === 400, `${path}: ${status}`);
    assert.doesNotMatch(String(body), /^secret/, path);
  }
});

test('the reply for a static file has CORS, Rondevu-Caps and Vary headers', async (t) => {
  const { get } = await setUp(t, { corsOrigins: ['https://page.example'] });
  const { headers } = await get('/rondevu-elements.js', { Origin: 'https://page.example' });
  assert.equal(headers['access-control-allow-origin'], 'https://page.example');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.match(headers['rondevu-caps'] ?? '', /v2/);
  assert.deepEqual(headers['vary']!.split(', ').sort(), ['Accept-Encoding', 'Origin']);
  assert.equal(
    (await get('/rondevu-elements.js', { Origin: 'https://other' })).headers['access-control-allow-origin'],
    undefined,
  );
});

test('holds a file in memory only once even if many clients leave it unread', async (t) => {
  const { server, root } = await setUp(t);
  const size = 12 * 1024 * 1024;
  writeFileSync(join(root, 'demo/large.png'), Buffer.alloc(size, 1));
  const { port } = new URL(server.url);
  const begin = async (): Promise<void> => {
    const { socket } = connectRaw(t, Number(port));
    socket.write('GET /demo/large.png HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'data');
    socket.pause();
  };
  await begin();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 10; i++) await begin();
  assert.ok(process.memoryUsage().arrayBuffers - before < 3 * size);
});
