/**
 * The client validates every message from the server. The inputs are arbitrary JSON and valid messages with one value replaced,
 * used as results of every call, as WebSocket frames and as events. No callback throws, and the valid messages in between are
 * still handled.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { WebSocket, WebSocketServer } from 'ws';
import { DEFAULT_CONNECTION_CONFIG } from '../../src/connection/connection-config.js';
import { NetworkError, RondevuError } from '../../src/errors.js';
import { RondevuAPI, SignalingClient } from '../../src/signaling/index.js';
import { checkResult, parseFrame, parseReplies } from '../../src/signaling/server-messages.js';
import type { CandidateInfo, RpcMethod } from '../../src/protocol/rpc.js';
import { startServer, until } from '../server/helpers.js';
import { listenFor } from '../support/set-up.js';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const KEY = 'EJ08wQ4Zi9TDSG0BRnI3PODAcjAkGvh6NQSRZnsHIl4=';
const ICE = [{ urls: ['turn:turn.example.org'], username: 'u', credential: 'secret-credential' }];
const CANDIDATE = { candidate: 'candidate:1', sdpMid: '0', sdpMLineIndex: 0, usernameFragment: 'x' };
const ENTRY = {
  ...{ serviceId: 'id', username: 'alice', serviceFqn: 'chat:1.0.0@alice', offerId: 'o', sdp: 'v=0', publicKey: KEY },
  ...{ createdAt: 1, expiresAt: 2, candidates: [CANDIDATE], iceServers: ICE, iceTtl: 60 },
};
const ANSWER = { offerId: 'o', answererId: 'bob', sdp: 'v=0', answeredAt: 1, answererKey: KEY, answererInstance: 'instance' };
const FOREIGN = { candidate: CANDIDATE, role: 'answerer', username: 'bob', createdAt: 1 };

/** Valid result for each method, with the params of the call. */
const RESULTS: [method: string, params: object, result: Json][] = [
  ['getUser', {}, { available: false, publicKey: KEY }],
  ['publishService', { offers: [{}] }, { serviceId: 'id', expiresAt: 1, offers: [{ offerId: 'o' }] }],
  ['getService', {}, ENTRY],
  ['getService', { limit: 10 }, { services: [{ serviceId: 'id', username: 'alice', serviceFqn: 'chat:1.0.0@alice' }], count: 1 }],
  ['getServiceById', {}, ENTRY],
  ['getOfferAnswer', {}, { offerId: 'o', answererId: 'bob', sdp: 'v=0', answeredAt: 1 }],
  ['poll', {}, { answers: [ANSWER], iceCandidates: { o: [FOREIGN] } }],
  ['getIceServers', {}, { iceServers: ICE, ttl: 60 }],
  ['getIceCandidates', {}, { candidates: [{ candidate: CANDIDATE, createdAt: 1 }] }],
  ['openSession', {}, { epoch: 'e', seq: 0, caps: ['push'], iceServers: ICE, iceTtl: 60 }],
];
const EVENTS: { [name: string]: Json } = {
  answer: ANSWER,
  candidates: { offerId: 'o', candidates: [FOREIGN] },
  demand: { serviceFqn: 'chat:1.0.0@alice', waiting: 1 },
  taken: { offerId: 'o' },
  signal: { from: 'bob', sid: 'session', sdp: 'v=0' },
  resync: {},
};
/** Fields that the client does not use and therefore does not check. */
const UNUSED = /\.(createdAt|expiresAt|role|serviceId)$/;
const WRONG: Json[] = [null, 5, true, [], {}, [null], 'x'.repeat(300_000), -1e308];

/**
 * Yields every path in a message, its value, and a function that returns a copy of the message with a different value at the
 * path.
 */
function* places(value: Json, path = ''): Generator<[path: string, old: Json, put: (other: Json) => Json]> {
  yield [path, value, (other) => other];
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    const below = Array.isArray(value) ? `[${name}]` : `.${name}`;
    for (const [rest, old, put] of places(inner as Json, `${path}${below}`)) {
      yield [
        rest,
        old,
        (other) => {
          const copy = structuredClone(value) as { [name: string]: Json };
          copy[name] = put(other);
          return copy;
        },
      ];
    }
  }
}
const kindOf = (value: Json): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

test('a result for a service other than the requested one is refused', () => {
  const named = { serviceFqn: 'chat:1.0.0@alice' };
  const other: [what: string, change: { [name: string]: string }][] = [
    ['another name', { serviceFqn: 'backup:1.0.0@alice' }],
    ['another major version', { serviceFqn: 'chat:2.0.0@alice' }],
    ['an older version', { serviceFqn: 'chat:0.9.0@alice' }],
    ['another user', { serviceFqn: 'chat:1.0.0@bob', username: 'bob' }],
    ['a full name with another user', { serviceFqn: 'chat:1.0.0@bob' }],
  ];
  const isRefused = (error: unknown): boolean => error instanceof RondevuError && error.code === 'identity-mismatch';
  for (const [what, change] of other) {
    const result = { ...ENTRY, ...change };
    assert.throws(() => checkResult('getService', named, result), isRefused, what);
    const page = { services: [ENTRY, result], count: 2 };
    assert.throws(() => checkResult('getService', { ...named, limit: 2 }, page), isRefused, `${what}, in a page`);
  }
  assert.throws(() => checkResult('getServiceById', { serviceId: 'asked' }, ENTRY), isRefused, 'another id');
  const newer = { ...ENTRY, serviceFqn: 'chat:1.2.0@alice' };
  assert.equal(checkResult('getService', named, newer), newer);
  assert.equal(checkResult('getService', { serviceFqn: 'chat:1.0.0' }, ENTRY), ENTRY);
});

test('a result with a wrong type in any field is refused with an error that names the path, but not the value', () => {
  let refused = 0;
  for (const [method, params, valid] of RESULTS) {
    assert.deepEqual(checkResult(method, params, structuredClone(valid)), valid, `${method} as it should be`);
    for (const [path, old, put] of places(valid)) {
      for (const other of WRONG) {
        const mayBeNull = other === null && /\.(sdpMid|sdpMLineIndex|usernameFragment)$/.test(path);
        const isLong = typeof other === 'string';
        if ((kindOf(other) === kindOf(old) && !isLong) || mayBeNull || (UNUSED.test(path) && method !== 'publishService'))
          continue;
        // an invalid item from another user is dropped from its list, but an invalid list makes the whole reply malformed
        const foreign = /^(.*\.(?:answers|candidates)|\.iceCandidates\.o)\[0\]/.exec(path)?.[1];
        const what = `${method}: ${path} as ${JSON.stringify(other)?.slice(0, 20)}`;
        if (foreign !== undefined) {
          const result = checkResult(method, params, put(other));
          const at = (value: unknown) =>
            foreign
              .slice(1)
              .split('.')
              .reduce((inner, name) => (inner as { [name: string]: unknown })[name], value);
          assert.deepEqual(at(result), [], what);
          continue;
        }
        refused++;
        assert.throws(
          () => checkResult(method, params, put(other)),
          (error) => {
            assert.ok(error instanceof NetworkError && error.code === 'unavailable', what);
            assert.match(error.message, new RegExp(`^${method}: the server sent a malformed reply: result`), what);
            assert.ok(!error.message.includes('secret-credential') && error.message.length < 200, what);
            return true;
          },
        );
      }
    }
  }
  assert.ok(refused > 300, `only ${refused} were tried`);
});

test('unknown fields from a newer server are accepted in results and events', () => {
  for (const [method, params, valid] of RESULTS) checkResult(method, params, { ...(valid as object), later: [1] });
  for (const [event, data] of Object.entries(EVENTS))
    assert.ok(parseFrame(JSON.stringify({ event, seq: 1, later: 1, data: { ...(data as object), later: 1 } })), event);
});

test('arbitrary JSON from the server never causes an error other than NetworkError', () => {
  const json = fc.jsonValue({ maxDepth: 4 });
  fc.assert(
    fc.property(json, fc.constantFrom(...RESULTS), (value, [method, params]) => {
      parseFrame(JSON.stringify(value));
      parseReplies(JSON.stringify(value));
      try {
        checkResult(method, params, value);
      } catch (error) {
        assert.ok(error instanceof NetworkError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
  for (const text of ['', ' ', 'null', '5', '"x"', 'true', '[]', '[null]', '{}', 'garbage', '\u0000', '{"success":"true"}']) {
    assert.equal(parseFrame(text), undefined, `frame ${text}`);
    assert.equal(parseReplies(text), undefined, `reply ${text}`);
  }
  for (const data of [undefined, null, new ArrayBuffer(8), Buffer.from('{"ping":true}'), 5])
    assert.equal(parseFrame(data), undefined, 'binary data');
});

/** Starts an HTTP and WebSocket server whose replies are defined by the test. */
async function lyingServer(t: TestContext) {
  const liar = { url: '', sockets: new Set<WebSocket>(), reply: (_method: string): unknown => ({ success: false, error: 'no' }) };
  const http = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += String(chunk)));
    request.on('end', () => {
      const { method } = [JSON.parse(body)].flat()[0] as { method: string };
      response.setHeader('rondevu-caps', 'v2, push, instances, wait, ice, signal, withdraw');
      response.end(JSON.stringify(liar.reply(method)));
    });
  });
  new WebSocketServer({ server: http, path: '/ws' }).on('connection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('message', (data) => {
      const { id, method } = JSON.parse(String(data)) as { id?: number; method?: string };
      if (id === undefined || method === undefined) return;
      if (method === 'openSession') liar.sockets.add(socket);
      const reply = liar.reply(method) as { success: boolean; result: unknown; error: unknown };
      socket.send(JSON.stringify(reply?.success ? { id, result: reply.result } : { id, error: reply?.error }));
    });
  });
  t.after(() => {
    for (const socket of liar.sockets) socket.terminate();
  });
  liar.url = await listenFor(t, http);
  return liar;
}

async function clientOf(t: TestContext, url: string, WebSocketClass?: unknown, username = 'someone') {
  const api = new RondevuAPI(url, username, await RondevuAPI.generateKeypair(), undefined, false);
  const signaling = new SignalingClient(api, WebSocketClass as typeof globalThis.WebSocket | undefined);
  t.after(() => signaling.close());
  return signaling;
}

/** Waits for a valid `answer` event, which shows that the client still handles events. */
const hasListener = async (signaling: SignalingClient, push: () => void): Promise<void> => {
  const heard = new Promise<void>((resolve) => signaling.once('answer', () => resolve()));
  push();
  await heard;
};

describe('with a dishonest server', { concurrency: 2 }, () => {
  test('the client ignores malformed frames, and still handles valid frames', async (t) => {
    const warn = t.mock.method(console, 'warn', () => undefined);
    const liar = await lyingServer(t);
    const results = new Map(RESULTS.map(([method, , result]) => [method, result]));
    liar.reply = (method) => ({ success: true, result: results.get(method) ?? {} });
    const signaling = await clientOf(t, liar.url, WebSocket);
    const onCandidates = (some: CandidateInfo[]): unknown => some.map(({ candidate }) => candidate.candidate.length);
    signaling.watch('o', 'chat:1.0.0@alice', true, { onCandidates }, DEFAULT_CONNECTION_CONFIG);
    signaling.on('signal', ({ from, sid, sdp }) => [from, sid, sdp].map((text) => text?.length));
    await signaling.call('getUser', { username: 'alice' });
    await until(() => signaling.state === 'push', 'push');
    const push = (frame: unknown) => {
      for (const socket of liar.sockets) socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
    };
    const mutants = Object.entries(EVENTS).flatMap(([event, data]) =>
      [...places({ event, data, seq: 0 })].flatMap(([, , put]) => WRONG.slice(0, -2).map((other) => put(other))),
    );
    assert.ok(mutants.length > 200);
    for (const frame of ['null', '5', '"x"', 'true', '[null]', 'garbage', '{"id":1,"error":null}', ...mutants]) push(frame);
    for (const frame of fc.sample(fc.jsonValue({ maxDepth: 3 }), 500)) push(frame);
    for (const socket of liar.sockets) socket.send(Buffer.from('{"ping":true}'), { binary: true });
    await hasListener(signaling, () => push({ event: 'answer', data: ANSWER, seq: 1_000_000 }));
    assert.equal(signaling.state, 'push');
    assert.equal(warn.mock.callCount(), 1, 'one warning for all of them');
  });

  for (const transport of ['HTTP', 'the socket']) {
    test(`a call over ${transport} resolves only with a valid result`, async (t) => {
      const liar = await lyingServer(t);
      const session = RESULTS.find(([method]) => method === 'openSession')![2];
      let next: Json = null;
      liar.reply = (method) => (method === 'openSession' ? { success: true, result: session } : next);
      const signaling = await clientOf(t, liar.url, transport === 'HTTP' ? undefined : WebSocket);
      await signaling.call('getUser', { username: 'x' }).catch(() => undefined);
      if (transport !== 'HTTP') await until(() => signaling.state === 'push', 'push');
      const methods = RESULTS.map(([method]) => method).filter((method) => method !== 'openSession');
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...methods),
          fc.oneof(
            fc.jsonValue({ maxDepth: 3 }),
            fc.jsonValue({ maxDepth: 3 }).map((result) => ({ success: true, result })),
            fc.jsonValue({ maxDepth: 3 }).map((error) => ({ success: false, error, code: error, serverTime: error })),
          ),
          async (method, reply) => {
            next = reply as Json;
            await signaling.call(method as RpcMethod, { offers: [{ sdp: 'x' }] } as never).then(
              (result) => checkResult(method, { offers: [{}] }, result),
              (error: unknown) => assert.ok(error instanceof RondevuError, String(error)),
            );
          },
        ),
        { numRuns: 300 },
      );
      await signaling.fetchIceServers();
      await signaling.fetchAnswers();
    });
  }

  test('the client opens the session again after a malformed reply', async (t) => {
    const liar = await lyingServer(t);
    let asked = 0;
    liar.reply = (method) => {
      if (method !== 'openSession') return { success: true, result: { available: true } };
      return { success: true, result: ++asked === 1 ? { epoch: 5, caps: null } : RESULTS.at(-1)![2] };
    };
    const signaling = await clientOf(t, liar.url, WebSocket);
    await signaling.call('getUser', { username: 'alice' });
    await until(() => signaling.state === 'push', 'push', 10_000);
    assert.equal(asked, 2);
  });

  test('the client aborts an endless reply', async (t) => {
    const http = createServer((_request, response) => {
      const chunk = Buffer.alloc(1024 * 1024, 32);
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      more();
    });
    const signaling = await clientOf(t, await listenFor(t, http));
    await assert.rejects(
      signaling.call('poll', {}),
      (error) => error instanceof NetworkError && /longer than/.test(error.message),
    );
  });

  test('answers with timestamps far in the future do not hide later answers from a polling client', async (t) => {
    const liar = await lyingServer(t);
    const since: number[] = [];
    const ahead = Date.now() + 2 * 365 * 86_400_000;
    liar.reply = () => ({ success: true, result: { answers: [{ ...ANSWER, answeredAt: ahead }], iceCandidates: {} } });
    const signaling = await clientOf(t, liar.url);
    const call = signaling.api.call.bind(signaling.api);
    signaling.api.call = (method, params, options) => {
      since.push((params as { since: number }).since);
      return call(method, params, options);
    };
    await signaling.call('poll', { since: 0 });
    await signaling.fetchAnswers();
    await signaling.fetchAnswers();
    assert.ok(since.at(-1)! < Date.now() + 10 * 60_000, `asked since ${since.at(-1)}`);
  });
});

test('the client accepts all messages from a real server', async (t) => {
  const warn = t.mock.method(console, 'warn', () => undefined);
  const { url } = await startServer(t);
  const signaling = await clientOf(t, url, WebSocket);
  const fqn = 'chat:1.0.0@someone';
  await signaling.publish({ serviceFqn: fqn, offers: [{ sdp: 'v=0' }], metadata: { any: ['thing'] } });
  await until(() => signaling.state === 'push', 'push');
  const joiner = await clientOf(t, url, WebSocket, 'another');
  const entry = await joiner.findOffer(fqn, 0, () => undefined, new AbortController().signal);
  assert.equal(entry.sdp, 'v=0');
  await signaling.call('getService', { serviceFqn: 'chat:1.0.0', limit: 10, offset: 0 });
  assert.equal(warn.mock.callCount(), 0);
});
