/**
 * Sends malformed calls and frames, generated from a grammar, over HTTP, raw connections and sockets; most have valid
 * signatures, so that they pass the first checks. The server must not crash or reply with an internal error, valid traffic
 * must continue, and a second flood of the same size must not increase memory use. FUZZ_RUNS sets the number of calls and
 * frames (200 000 for a full run); FUZZ_SEED reproduces a run.
 */
import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { seedOf } from '../support/random.js';
import { anything, garbage, method, params, mutation } from './fuzz-grammar.js';
import {
  Client,
  Identity,
  PushClient,
  PushSocket,
  closed,
  newInstance,
  openSessionFrame,
  post,
  signOld,
  signV2,
  someone,
} from './helpers.js';

/** Number of calls and frames in a CI run. */
const USUAL = 4000;
const RUNS = Number(process.env['FUZZ_RUNS'] ?? USUAL);
const SEED = seedOf('FUZZ_SEED', RUNS > USUAL);
/** Number of inputs generated at a time. */
const CHUNK = 500;
/** Number of inputs sent concurrently. */
const LANES = 4;

let child: ChildProcess;
let url = '';
before(async () => {
  child = fork('test/server/fuzzed-server.ts', { execArgv: ['--expose-gc', '--import', 'tsx'] });
  [{ url }] = (await once(child, 'message')) as [{ url: string }];
});
after(() => child.kill());

/** Returns the server's heap size after a garbage collection, in bytes. */
async function heap(): Promise<number> {
  child.send('collect');
  const [{ heap: bytes }] = (await once(child, 'message')) as [{ heap: number }];
  return bytes;
}

const identities = [new Identity('fuzz'), new Identity('fuzzer-two'), new Identity('admin')];
const call = fc.record({
  ...{ method, params, mutation },
  form: fc.constantFrom('v2', 'v2', 'v2', 'old'),
  identity: fc.constantFrom(...identities),
  skew: fc.constantFrom(0, 0, 0, 0, -70_000, 400_000),
});
type Drawn<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Call = Drawn<typeof call>;

/** Builds a call, signs it if possible, and then corrupts it. */
function build({ method: name, params: given, mutation, form, identity, skew }: Call): unknown {
  let request: Record<string, unknown>;
  try {
    const timestamp = Date.now() + skew;
    const signed =
      form === 'v2' ? signV2(identity, name, given, url, { timestamp }) : signOld(identity, name, given, { timestamp });
    request = { ...signed };
  } catch {
    // the call is sent even if it cannot be signed
    request = { method: name, message: `${name}:fuzz:0`, signature: 'AA==', params: given };
  }
  if (mutation) request[mutation.field] = mutation.value;
  return request;
}

/** Asserts that a reply item is well-formed and not an internal error. */
function checkItem(item: unknown, sent: unknown): void {
  const { success, code } = item as { success?: unknown; code?: unknown };
  assert.equal(typeof success, 'boolean', `a strange reply to ${JSON.stringify(sent)?.slice(0, 2000)}`);
  assert.notEqual(code, 'unavailable', `an internal error at ${JSON.stringify(sent)?.slice(0, 2000)}`);
}

async function sendOverHttp(body: unknown): Promise<void> {
  const { status, body: reply } = await post(url, body);
  assert.ok(status < 500, `HTTP ${status} for ${JSON.stringify(body).slice(0, 2000)}`);
  for (const item of [reply].flat()) checkItem(item, body);
}

/** Sends raw bytes, which are usually malformed HTTP, on a separate connection. */
async function raw(bytes: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let received = '';
  socket.on('data', (data) => (received += String(data)));
  socket.end(bytes);
  await closed(socket);
  assert.doesNotMatch(received, /^HTTP\/1\.1 5/, `a 5xx for ${JSON.stringify(bytes).slice(0, 500)}`);
}
const requestLine = fc.record({
  verb: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'G\u0000T', ''),
  path: fc.constantFrom(
    '/',
    '/rpc',
    '/ws',
    '/health',
    '/ready',
    '/metrics',
    '/demo/../package.json',
    '/%00',
    '//',
    '/rpc?x=1',
    `/${'x'.repeat(20_000)}`,
    'rpc',
  ),
  headers: fc.array(
    fc.constantFrom(
      ...[
        'Host: localhost',
        'Content-Length: -1',
        'Content-Length: 5',
        'Transfer-Encoding: chunked',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Connection: close, Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'Upgrade: h2c, websocket',
      ],
      ...[
        'X-Forwarded-For: ::ffff:909:909',
        'X-Forwarded-For: [fe80::1%eth0]:443, 64:ff9b::1',
        `X-Forwarded-For: ${'['.repeat(8000)}`,
        'X-Forwarded-For: ::, 127.0.0.1, 999.1.1.1',
        'Sec-Fetch-Site: cross-site',
      ],
      ...[
        'Sec-WebSocket-Key: x',
        'Sec-WebSocket-Protocol: rondevu.v1',
        'Sec-WebSocket-Version: 13',
        'X-Forwarded-For: ' + '1.1.1.1,'.repeat(900),
      ],
      ...['Origin: null', `X: ${'y'.repeat(9000)}`, 'Host: a\u0000b', 'Expect: 100-continue'],
    ),
    { maxLength: 8 },
  ),
  body: fc.oneof(fc.constantFrom('', 'zz\r\n', '5\r\nhello\r\n0\r\n\r\n'), fc.string({ unit: 'binary', maxLength: 60 })),
});

/** Sends frames on one socket, with or without an open session, and checks the replies as they arrive. */
class Lane {
  #socket: PushSocket | undefined;
  #checked = 0;

  async send(frame: string, inSession: boolean): Promise<void> {
    if (!this.#socket || this.#socket.socket.readyState !== this.#socket.socket.OPEN) {
      this.#socket = await new PushSocket(url).connect();
      this.#checked = 0;
      if (inSession) await this.#socket.request(openSessionFrame(url, someone('lane'), newInstance()));
    }
    this.#socket.send(frame);
    if (this.#socket.socket.bufferedAmount > 100_000) await new Promise(setImmediate);
    this.look();
  }

  look(): void {
    const frames = this.#socket?.frames ?? [];
    for (; this.#checked < frames.length; this.#checked++) {
      const { error } = frames[this.#checked] as { error?: { code: string } };
      assert.notEqual(error?.code, 'unavailable', `an internal error: ${JSON.stringify(frames[this.#checked])}`);
    }
  }

  close(): void {
    this.#socket?.socket.terminate();
  }

  /** Makes a final call, waits for its reply, and checks all replies received so far. */
  async settle(): Promise<void> {
    if (this.#socket?.socket.readyState === this.#socket?.socket.OPEN)
      await Promise.race([this.#socket?.request({ method: 'poll', params: {} }).catch(() => undefined), this.#socket?.closed]);
    this.look();
  }
}

const frame = fc.oneof(
  { weight: 1, arbitrary: garbage },
  {
    weight: 5,
    arbitrary: fc
      .record({ id: fc.oneof(fc.nat(), anything), method, params, more: fc.constantFrom({}, { ack: 3 }, { pong: 1 }) })
      .map(({ more, ...rest }) => JSON.stringify({ ...rest, ...more })),
  },
);
const arbitraryRun = fc.oneof(
  { weight: 8, arbitrary: fc.array(call, { minLength: 1, maxLength: 20 }).map((calls) => ({ kind: 'batch' as const, calls })) },
  { weight: 4, arbitrary: call.map((one) => ({ kind: 'batch' as const, calls: [one] })) },
  { weight: 2, arbitrary: garbage.map((body) => ({ kind: 'body' as const, body })) },
  { weight: 1, arbitrary: requestLine.map((request) => ({ kind: 'raw' as const, request })) },
  {
    weight: 8,
    arbitrary: fc.array(frame, { minLength: 1, maxLength: 20 }).map((frames) => ({ kind: 'session' as const, frames })),
  },
  {
    weight: 2,
    arbitrary: fc.array(frame, { minLength: 1, maxLength: 3 }).map((frames) => ({ kind: 'socket' as const, frames })),
  },
);

/** @returns the number of calls and frames sent */
async function runOne(run: Drawn<typeof arbitraryRun>, session: Lane, bare: Lane): Promise<number> {
  switch (run.kind) {
    case 'batch': {
      const calls = run.calls.map(build);
      await sendOverHttp(calls.length === 1 ? calls[0] : calls);
      return calls.length;
    }
    case 'body':
      await sendOverHttp(run.body);
      return 1;
    case 'raw': {
      const { verb, path, headers, body } = run.request;
      await raw(`${verb} ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${body}`);
      return 1;
    }
    default:
      for (const text of run.frames) await (run.kind === 'session' ? session : bare).send(text, run.kind === 'session');
      return run.frames.length;
  }
}

/**
 * Completes valid handshakes, one after another, until `isOver` returns true.
 * @returns the number of handshakes
 */
async function validTraffic(isOver: () => boolean): Promise<number> {
  const host = await PushClient.open(url, someone('valid'));
  const fqn = `valid:1.0.0@${host.username}`;
  let count = 0;
  while (!isOver()) {
    await host.publish(fqn, [`offer ${count}`]);
    const joiner = new Client(url, someone('valid'));
    const offer = await joiner.take(fqn, { wait: 5000 });
    await joiner.answer(offer, `answer ${count}`);
    const { data, seq } = await host.event('answer', count);
    assert.equal(data.sdp, `answer ${count}`);
    host.send({ ack: seq });
    count++;
  }
  await host.close();
  return count;
}

/**
 * Sends half of the input alongside valid traffic.
 * @returns the heap size after short-lived data has expired, in bytes, and the number of valid handshakes
 */
async function flood(runs: number, seed: number, fails: Promise<unknown>): Promise<{ bytes: number; handshakes: number }> {
  let [done, isOver] = [0, false];
  const valid = validTraffic(() => isOver);
  const lanes = Array.from({ length: LANES }, () => [new Lane(), new Lane()] as const);
  for (let chunk = 0; done < runs; chunk++) {
    const drawn = fc.sample(arbitraryRun, { numRuns: CHUNK, seed: seed + chunk });
    const work = lanes.map(async ([session, bare]) => {
      for (let run = drawn.pop(); run; run = drawn.pop()) done += await runOne(run, session, bare);
      await session.settle();
      await bare.settle();
    });
    await Promise.race([Promise.all(work), fails, valid]);
    if (RUNS > 50_000) console.log(`  ${done} of ${runs}`);
  }
  isOver = true;
  const handshakes = await valid;
  for (const lane of lanes.flat()) lane.close();
  // nonces are kept for two minutes, and data about inactive clients for a shorter time
  if (RUNS > 50_000) await new Promise((resolve) => setTimeout(resolve, 150_000));
  return { bytes: await heap(), handshakes };
}

test(`the server survives ${RUNS} malformed calls and frames (seed ${SEED})`, { timeout: 3_000_000 }, async (t) => {
  let isOver = false;
  const ended = once(child, 'exit').then(([code, signal]) => assert.ok(isOver, `the server ended: ${code} ${signal}`));
  const first = await flood(RUNS / 2, SEED, ended);
  const second = await flood(RUNS / 2, SEED + 1_000_000, ended);
  isOver = true;
  assert.ok(first.handshakes > 0 && second.handshakes > 0);
  // the first flood fills all bounded caches, so any growth of memory during the second flood is a leak
  const allowed = first.bytes * 1.05 + 2_000_000;
  assert.ok(second.bytes <= allowed, `the heap grew from ${first.bytes} to ${second.bytes} bytes`);
  t.diagnostic(
    `${first.handshakes + second.handshakes} valid handshakes beside; heap ${first.bytes}, then ${second.bytes} bytes`,
  );
});
