/**
 * Replays traffic recorded between a v0.20 client and a v0.5.4 server against the current server. Each request, with current
 * ids and a new signature in the old form, must get a reply of the recorded shape, except for the `CORRECTIONS` that
 * protocol.md requires. Additional tests cover the headers of HTTP replies.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CAPS } from '../../server/src/index.js';
import { Identity, post, signOld, startServer } from './helpers.js';

interface Request {
  method: string;
  message: string;
  signature: string;
  publicKey?: string;
  params?: unknown;
}
interface Exchange {
  note: string;
  request?: Request | Request[];
  status: number;
  response: unknown;
}
interface Keys {
  alice: { publicKey: string; privateKey: string };
  bob: { publicKey: string; privateKey: string };
}

const lines = readFileSync(new URL('../vectors/rpc-v0.20.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as unknown);
const keys = lines[0] as Keys;
const exchanges = lines.slice(1) as Exchange[];

/** Required differences between a current reply and the recorded reply, with the reason. */
const CORRECTIONS: Record<string, (actual: Record<string, unknown>) => void> = {
  // discovery on v0.5.4 matches only the exact version; discovery on this server also returns compatible versions
  'getService, direct, older compatible version asked (upstream answers not found: exact match)': (actual) => {
    assert.equal(actual['success'], true);
    assert.equal((actual['result'] as { serviceFqn: string }).serviceFqn, 'chat:1.2.0@alice');
  },
};

/** Recorded reply fields that protocol.md omits: the row id and the repeated offer id of each candidate in a poll. */
const DROPPED = /^\.result\.iceCandidates\.[^.]+\.0\.(id|offerId)$/;

/** Asserts that `actual` has every key of `expected`, with a value of the same type. */
function sameShape(actual: unknown, expected: unknown, path = ''): void {
  if (DROPPED.test(path)) return;
  const kind = (value: unknown): string => (Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value);
  assert.equal(kind(actual), kind(expected), `type of ${path || 'the reply'}`);
  if (Array.isArray(expected)) assert.equal((actual as unknown[]).length, expected.length, `length of ${path}`);
  if (typeof expected !== 'object' || expected === null) return;
  for (const [name, value] of Object.entries(expected))
    sameShape((actual as Record<string, unknown>)[name], value, `${path}.${name}`);
}

test('every recorded exchange gets a reply of the same shape and status', async (t) => {
  const server = await startServer(t);
  const people = {
    alice: new Identity('alice', keys.alice.privateKey),
    bob: new Identity('bob.smith', keys.bob.privateKey),
  };
  assert.equal(people.alice.publicKey, keys.alice.publicKey, 'the seed of the file gives its public key');
  /** Current ids, keyed by recorded id. */
  const ids = new Map<string, string>();
  const translate = <T>(value: T): T =>
    JSON.parse([...ids].reduce((text, [recordedId, id]) => text.replaceAll(recordedId, id), JSON.stringify(value))) as T;

  const resign = (recorded: Request): Request => {
    const request = translate(recorded);
    // a call to an unknown method cannot be signed again
    if (recorded.method === 'nope') return request;
    const name = request.message.split(':')[1];
    // in the recording, the call under a stolen name is signed with Bob's key
    const owner = request.publicKey === keys.bob.publicKey || name === 'bob.smith' ? people.bob : people.alice;
    return signOld(owner.as(name!), request.method, request.params, { publicKey: request.publicKey });
  };

  for (const exchange of exchanges.filter(({ request }) => request)) {
    await t.test(exchange.note, async () => {
      const request = Array.isArray(exchange.request) ? exchange.request.map(resign) : resign(exchange.request!);
      const { status, body } = await post(server.url, request);
      assert.equal(status, exchange.status);
      learnIds(ids, body, exchange.response);
      const correction = CORRECTIONS[exchange.note];
      if (correction) return correction(body as Record<string, unknown>);
      const expected = translate(exchange.response);
      sameShape(body, expected);
      const [error, recordedError] = [body, exchange.response].map((reply) => (reply as { error?: string }).error);
      // old clients parse error messages, so current messages must begin with the recorded messages
      if (recordedError !== undefined) assert.ok(error!.startsWith(recordedError), `${error} must begin with ${recordedError}`);
    });
  }
});

/** Maps recorded service and offer ids to current ids. Offers are matched by SDP, because their order differs. */
function learnIds(ids: Map<string, string>, actualReply: unknown, recordedReply: unknown): void {
  const [actual, recorded] = [actualReply, recordedReply].map(
    (reply) => (reply as { result?: { serviceId?: string; offers?: { offerId: string; sdp: string }[] } }).result,
  );
  if (ids.size || !actual?.offers || !recorded?.offers) return;
  ids.set(recorded.serviceId!, actual.serviceId!);
  for (const { offerId, sdp } of recorded.offers) ids.set(offerId, actual.offers.find((offer) => offer.sdp === sdp)!.offerId);
}

test('GET / and GET /health have the recorded shape', async (t) => {
  const server = await startServer(t);
  for (const path of ['/', '/health']) {
    const recorded = exchanges.find(({ note }) => note === `GET ${path}`)!;
    const response = await fetch(server.url + path);
    assert.equal(response.status, recorded.status);
    const body = (await response.json()) as Record<string, unknown>;
    sameShape(body, recorded.response);
    if (path === '/') {
      assert.equal(body['name'], 'Rondevu');
      assert.deepEqual(body['caps'], CAPS, 'GET / lists what the header lists');
    } else assert.equal(body['status'], 'ok');
  }
});

test('every kind of reply has the Rondevu-Caps header, exposed through CORS', async (t) => {
  const server = await startServer(t);
  const origin = { origin: 'https://app.example' };
  const replies = {
    'GET /': await fetch(server.url, { headers: origin }),
    'GET /health': await fetch(`${server.url}/health`, { headers: origin }),
    'a path that is not there': await fetch(`${server.url}/nope`, { headers: origin }),
    'a call that fails': await fetch(`${server.url}/rpc`, { method: 'POST', body: '{}', headers: origin }),
    'wrong JSON': await fetch(`${server.url}/rpc`, { method: 'POST', body: '{', headers: origin }),
    'a batch': await fetch(`${server.url}/rpc`, { method: 'POST', body: '[{}]', headers: origin }),
    'GET /rpc': await fetch(`${server.url}/rpc`, { headers: origin }),
  };
  for (const [what, response] of Object.entries(replies)) {
    await response.text();
    assert.equal(response.headers.get('rondevu-caps'), CAPS.join(', '), what);
    assert.equal(response.headers.get('access-control-allow-origin'), '*', what);
    assert.match(response.headers.get('access-control-expose-headers') ?? '', /rondevu-caps/i, what);
  }
});

test('a preflight request is allowed from any origin by default', async (t) => {
  const server = await startServer(t);
  const headers = {
    origin: 'https://app.example',
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'content-type',
  };
  const response = await fetch(`${server.url}/rpc`, { method: 'OPTIONS', headers });
  assert.equal(response.status, 204);
  assert.equal(response.headers.get('access-control-allow-origin'), '*');
  assert.match(response.headers.get('access-control-allow-methods') ?? '', /POST/);
  assert.match(response.headers.get('access-control-allow-headers') ?? '', /content-type/i);
});

test('only origins on the allow-list may read replies', async (t) => {
  const server = await startServer(t, { corsOrigins: ['https://good.example'] });
  const allowed = async (origin: string): Promise<string | null> =>
    (await fetch(server.url, { headers: { origin } })).headers.get('access-control-allow-origin');
  assert.equal(await allowed('https://good.example'), 'https://good.example');
  assert.equal(await allowed('https://evil.example'), null);
});

test('accepts a body as either text/plain or application/json', async (t) => {
  const server = await startServer(t);
  for (const type of ['text/plain', 'application/json']) {
    const request = signOld(new Identity('carol'), 'getUser', { username: 'nobody' }, { publicKey: undefined });
    const response = await fetch(`${server.url}/rpc`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: JSON.stringify(request),
    });
    assert.deepEqual(await response.json(), { success: true, result: { username: 'nobody', available: true } });
  }
});
