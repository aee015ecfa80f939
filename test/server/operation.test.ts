/** Tests the interfaces for operators: metrics, readiness and the log, none of which may contain secrets. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { Client, PushClient, refused, someone, startServer, until } from './helpers.js';

/** Scrapes the metrics, and returns the samples keyed by name and labels. */
async function scrape(url: string, headers: Record<string, string> = {}): Promise<Map<string, number>> {
  const response = await fetch(`${url}/metrics`, { headers });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

test('metrics count calls by method and outcome, and report current totals', async (t) => {
  const server = await startServer(t);
  const identity = someone('alice');
  const serviceFqn = `chat:1.0.0@${identity.username}`;
  await new Client(server.url, identity).call('publishService', { serviceFqn, offers: [{ sdp: 'one' }, { sdp: 'two' }] });
  const bob = new Client(server.url, someone('bob'));
  await bob.call('getService', { serviceFqn });
  await refused(bob.call('getService', { serviceFqn: 'chat:1.0.0@nobody' }), 'not-found');
  await PushClient.open(server.url, someone('carol'));
  const samples = await scrape(server.url);
  assert.equal(samples.get('rondevu_requests_total{method="publishService",outcome="ok"}'), 1);
  assert.equal(samples.get('rondevu_requests_total{method="getService",outcome="ok"}'), 1);
  assert.equal(samples.get('rondevu_requests_total{method="getService",outcome="not-found"}'), 1);
  assert.equal(samples.get('rondevu_request_seconds_count{method="getService"}'), 2);
  assert.equal(samples.get('rondevu_sockets'), 1);
  assert.equal(samples.get('rondevu_waiting_joiners'), 0);
  assert.equal(samples.get('rondevu_free_offers'), 2);
  assert.equal(samples.get('rondevu_verify_seconds_count'), 4);
  assert.equal(samples.get('rondevu_store_seconds_count{operation="publish"}'), 1);
  for (const name of samples.keys()) assert.doesNotMatch(name, /alice|bob|carol|one|two/);
});

test('an unknown method does not add a metrics label', async (t) => {
  const server = await startServer(t);
  const bob = new Client(server.url, someone('bob'));
  await refused(bob.call('__proto__' as never, {} as never), 'bad-request');
  await refused(bob.call('x'.repeat(50) as never, {} as never), 'bad-request');
  assert.ok(![...(await scrape(server.url)).keys()].some((name) => /proto|xxx/.test(name)));
});

test('metrics are served only to local clients, or to clients with the token if a token is set', async (t) => {
  const open = await startServer(t);
  const proxied = await fetch(`${open.url}/metrics`, { headers: { 'X-Forwarded-For': '203.0.113.7' } });
  assert.equal(proxied.status, 403);
  const token = 'a token of some length';
  const { url } = await startServer(t, { metricsToken: token });
  assert.equal((await fetch(`${url}/metrics`)).status, 403);
  assert.equal((await fetch(`${url}/metrics`, { headers: { Authorization: 'Bearer another token' } })).status, 403);
  await scrape(url, { Authorization: `Bearer ${token}`, 'X-Forwarded-For': '203.0.113.7' });
});

test('refuses metrics to web pages opened on this machine and to requests forwarded by a local proxy', async (t) => {
  const { port } = await startServer(t);
  const ask = (headers: Record<string, string>, version = '1.1'): Promise<number> => statusOf(port, '/metrics', headers, version);
  const host = `localhost:${port}`;
  assert.equal(await ask({ Host: host }), 200);
  const prometheus = { 'User-Agent': 'Prometheus/3.0.0', Accept: 'text/plain', 'X-Prometheus-Scrape-Timeout-Seconds': '10' };
  assert.equal(await ask({ Host: host, 'Accept-Encoding': 'gzip', ...prometheus }), 200);
  assert.equal(await ask({ Host: `[::1]:${port}`, 'Sec-Fetch-Site': 'none' }), 200);
  const strange: Record<string, string>[] = [
    { Origin: 'https://page.example' },
    { Origin: 'null' },
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-origin' },
    { Forwarded: 'for=203.0.113.7' },
    { 'X-Forwarded-For': '' },
    { 'X-Forwarded-Proto': 'https' },
    { 'X-Real-IP': '203.0.113.7' },
    { Via: '1.1 proxy' },
    { 'X-Client-IP': '203.0.113.7' },
    { 'Fastly-Client-IP': '203.0.113.7' },
    { 'X-Request-Id': '1' },
    { Traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    // host names whose DNS records could point to this machine
    { Host: 'page.example' },
    { Host: '127.0.0.1.page.example' },
    { Host: 'localhost.page.example:3000' },
  ];
  for (const headers of strange) assert.equal(await ask({ Host: host, ...headers }), 403, JSON.stringify(headers));
  assert.equal(await ask({ Host: host }, '1.0'), 403);
  for (const options of [{ publicUrls: ['https://signal.example'] }, { trustedProxies: ['127.0.0.1'] }]) {
    const { url } = await startServer(t, options);
    assert.equal((await fetch(`${url}/metrics`)).status, 403, JSON.stringify(options));
  }
});

/** Sends a GET request without default headers, and returns the HTTP status. */
async function statusOf(port: number, path: string, headers: Record<string, string>, version: string): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  const lines = Object.entries({ ...headers, Connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET ${path} HTTP/${version}\r\n${lines.join('')}\r\n`);
  let received = '';
  socket.on('data', (data) => (received += String(data)));
  await once(socket, 'close');
  return Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1]);
}

test('a stopping server is not ready, but still answers requests while it drains its sockets', async (t) => {
  const server = await startServer(t, { drainTime: 600 });
  const { url } = server;
  assert.equal((await fetch(`${url}/ready`)).status, 200);
  const sockets = await Promise.all([1, 2, 3].map(() => PushClient.open(url)));
  const closed: number[] = [];
  for (const { socket } of sockets) socket.on('close', () => closed.push(performance.now()));
  const stopping = server.close();
  const ready = await fetch(`${url}/ready`);
  assert.deepEqual([ready.status, ready.headers.get('connection')], [503, 'close']);
  assert.equal(((await ready.json()) as { status: string }).status, 'draining');
  assert.equal((await fetch(`${url}/health`)).status, 200);
  assert.equal(await new Client(url, someone('bob')).call('getUser', { username: 'nobody' }).then(() => 'answered'), 'answered');
  await stopping;
  await until(() => closed.length === 3, 'all sockets to be closed');
  assert.ok(closed[2]! - closed[0]! > 200, 'not all at once');
});

test('the log contains JSON lines without secrets', async () => {
  const args = ['server/dist/main.js', '--port', '0', '--storage', ':memory:', '--log-level', 'debug'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, log] = ['', ''];
  child.stdout.on('data', (text: Buffer) => (out += String(text)));
  child.stderr.on('data', (text: Buffer) => (log += String(text)));
  while (!/on (http\S+)/.test(out)) await once(child.stdout, 'data');
  const url = /on (http\S+)/.exec(out)![1]!;
  const alice = someone('alice');
  await new Client(url, alice).call('publishService', {
    serviceFqn: `chat:1.0.0@${alice.username}`,
    offers: [{ sdp: 'v=0 secret' }],
  });
  child.kill('SIGTERM');
  await once(child, 'exit');
  const lines = log
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { level: number; msg: string; url?: string });
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['started', 'stopping', 'stopped'],
  );
  assert.equal(lines[0]!.url, url);
  assert.doesNotMatch(log, /secret|publicKey|signature/);
  assert.ok(!log.includes(alice.publicKey));
});
