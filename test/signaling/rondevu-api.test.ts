/**
 * RondevuAPI and its HTTP transport: batched requests, clock skew, error messages of old servers, invalid replies and aborted
 * calls. The tests use the real server where possible, and otherwise an HTTP server that behaves like a broken or an old
 * server.
 */
import assert from 'node:assert/strict';
import { createServer as createHttpServer, type ServerResponse } from 'node:http';
import { test, type TestContext } from 'node:test';
import { NetworkError, RondevuError, ValidationError } from '../../src/errors.js';
import type { RpcRequest } from '../../src/protocol/rpc.js';
import { RondevuAPI, ServerError, type BatchingOptions } from '../../src/signaling/index.js';
import { startServer, until } from '../server/helpers.js';
import { listenFor } from '../support/set-up.js';

let count = 0;
async function apiFor(url: string, batching?: BatchingOptions | false): Promise<RondevuAPI> {
  return new RondevuAPI(url, `user-${++count}`, await RondevuAPI.generateKeypair(), undefined, batching);
}

/** Records the bodies of all requests to /rpc. */
function watchRequests(t: TestContext): unknown[] {
  const bodies: unknown[] = [];
  const real = globalThis.fetch;
  t.mock.method(globalThis, 'fetch', (...args: Parameters<typeof fetch>) => {
    bodies.push(JSON.parse(String(args[1]?.body)));
    return real(...args);
  });
  return bodies;
}
const sizes = (bodies: unknown[]) => bodies.map((body) => (Array.isArray(body) ? body.length : 1));

/** Starts a server whose replies are defined by the test. */
async function serve(t: TestContext, reply: (requests: RpcRequest[], response: ServerResponse) => void) {
  const seen: RpcRequest[][] = [];
  const server = createHttpServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += String(chunk)));
    request.on('end', () => {
      const body = JSON.parse(text) as RpcRequest | RpcRequest[];
      seen.push([body].flat());
      reply([body].flat(), response);
    });
  });
  return { url: await listenFor(t, server), seen };
}
const json = (response: ServerResponse, body: unknown, status = 200) =>
  void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const codeOf = async (call: Promise<unknown>): Promise<string> => {
  const error: unknown = await call.then(
    () => assert.fail('expected an error'),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof RondevuError, String(error));
  return error.code;
};

test('every method works with the real server', async (t) => {
  const { url } = await startServer(t);
  const [host, joiner] = [await apiFor(url), await apiFor(url)];
  const serviceFqn = `chat:1.2.0@${host.username}`;
  const published = await host.publishService({ serviceFqn, offers: [{ sdp: 'offer 1' }, { sdp: 'offer 2' }] });
  assert.equal(published.offers.length, 2);
  const { available, publicKey } = await joiner.getUser(host.username);
  assert.deepEqual([available, publicKey], [false, (await host.getUser(host.username)).publicKey]);
  const entry = await joiner.getService({ serviceFqn: 'chat:1.0.0' });
  assert.equal(entry.username, host.username);
  assert.equal((await joiner.listServices('chat:1.2.0', 10, 0)).count, 1);
  assert.equal((await joiner.getServiceById({ serviceId: published.serviceId })).serviceFqn, serviceFqn);
  const offer = { serviceFqn, offerId: entry.offerId };
  assert.equal(await host.getOfferAnswer(serviceFqn, entry.offerId), null);
  await joiner.answerOffer({ ...offer, sdp: 'answer' });
  assert.equal((await host.getOfferAnswer(serviceFqn, entry.offerId))?.sdp, 'answer');
  await joiner.addIceCandidates({ ...offer, candidates: [{ candidate: 'candidate:1', sdpMid: '0' }] });
  const [candidate] = (await host.getIceCandidates(serviceFqn, entry.offerId)).candidates;
  assert.deepEqual([candidate?.role, candidate?.candidate.candidate], ['answerer', 'candidate:1']);
  assert.equal((await host.poll()).answers.length, 1);
  const other = published.offers.find(({ offerId }) => offerId !== entry.offerId)!;
  assert.deepEqual(await host.withdrawOffers(serviceFqn, [other.offerId]), { count: 1 });
  assert.deepEqual(await host.deleteService(serviceFqn), { success: true });
});

test('isUsernameClaimed checks any username without claiming it', async (t) => {
  const { url } = await startServer(t);
  const [api, other] = [await apiFor(url), await apiFor(url)];
  assert.equal(await api.isUsernameClaimed(), false);
  assert.equal(await other.isUsernameClaimed(api.username), false, 'the question did not claim it');
  await api.poll();
  assert.equal(await api.isUsernameClaimed(), true);
  assert.equal(await other.isUsernameClaimed(api.username), true);
  const late = new RondevuAPI(url, api.username, await RondevuAPI.generateKeypair());
  assert.equal(await late.isUsernameClaimed(), true);
});

test('calls are batched, except for the first call and urgent calls', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url);
  const bodies = watchRequests(t);
  const first = api.getUser('someone');
  await until(() => bodies.length === 1, 'the first call to leave');
  await Promise.all([first, api.getUser('someone'), api.getUser('sometwo'), api.poll()]);
  assert.deepEqual(sizes(bodies), [1, 3]);
  const patient = await apiFor(url, { maxWaitTime: 600_000 });
  await patient.poll();
  await patient.poll({}, { urgent: true }); // without `urgent`, the call would be queued for ten minutes
});

test('maxBatchSize limits the size of a batch, and `batching: false` disables batching', async (t) => {
  const { url } = await startServer(t);
  const bodies = watchRequests(t);
  const api = await apiFor(url, { maxBatchSize: 4 });
  await api.poll();
  await Promise.all(Array.from({ length: 9 }, () => api.poll()));
  assert.ok(sizes(bodies).every((size) => size <= 4) && bodies.length === 4, String(sizes(bodies)));
  bodies.length = 0;
  const alone = await apiFor(url, false);
  await Promise.all(Array.from({ length: 5 }, () => alone.poll()));
  assert.deepEqual(sizes(bodies), [1, 1, 1, 1, 1]);
});

test('a call that waits for an offer is never batched', async (t) => {
  const { url } = await startServer(t);
  const bodies = watchRequests(t);
  const api = await apiFor(url);
  await api.poll();
  const waiting = codeOf(api.getService({ serviceFqn: 'nobody:1.0.0', wait: 300 }));
  await Promise.all([api.poll(), api.poll()]);
  assert.equal(await waiting, 'not-found');
  assert.deepEqual(sizes(bodies).sort(), [1, 1, 2]);
});

test('a refused call in a batch does not affect the other calls', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url);
  await api.poll();
  const results = await Promise.allSettled([api.getUser('someone'), api.getService({ serviceFqn: 'nobody:1.0.0' }), api.poll()]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  const reason = (results[1] as PromiseRejectedResult).reason as ServerError;
  assert.ok(reason instanceof ServerError && reason instanceof RondevuError);
  assert.equal(reason.code, 'not-found');
  assert.match(reason.message, /^getService: /);
});

test('the client silently corrects a wrong clock once, and keeps the correction', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url, false);
  const bodies = watchRequests(t);
  api.signer.setServerTime(Date.now() + 10 * 60_000);
  await api.poll();
  assert.equal(bodies.length, 2, 'signed again, once');
  const [wrong, right] = bodies as RpcRequest[];
  assert.notEqual(wrong!.message.split(':')[3], right!.message.split(':')[3], 'with a nonce of its own');
  await api.poll();
  assert.equal(bodies.length, 3);
});

test('every call in a batch is retried after the clock is corrected', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url);
  await api.poll();
  api.signer.setServerTime(Date.now() - 10 * 60_000);
  await Promise.all([api.poll(), api.poll(), api.getUser('someone')]);
});

test('a call is attempted only twice if the server keeps reporting clock skew', async (t) => {
  const { url, seen } = await serve(t, (requests, response) =>
    json(response, { success: false, error: 'clock', code: 'clock-skew', serverTime: 1000 * requests.length }),
  );
  assert.equal(await codeOf((await apiFor(url)).poll()), 'clock-skew');
  assert.equal(seen.length, 2);
});

test('a call is not signed again for a server whose clock is more than a day ahead', async (t) => {
  const { url, seen } = await serve(t, (_requests, response) =>
    json(response, { success: false, error: 'clock', code: 'clock-skew', serverTime: Date.now() + 2 * 86_400_000 }),
  );
  assert.equal(await codeOf((await apiFor(url)).poll()), 'clock-skew');
  assert.equal(seen.length, 1);
});

test('the client does not follow redirects', async (t) => {
  const inner = await serve(t, (_requests, response) => json(response, { success: true, result: {} }));
  for (const status of [301, 302, 307, 308]) {
    const { url } = await serve(
      t,
      (_requests, response) => void response.writeHead(status, { location: `${inner.url}/rpc` }).end(),
    );
    await assert.rejects(
      (await apiFor(url)).poll(),
      (error) => error instanceof NetworkError && /a redirect/.test(error.message),
    );
  }
  assert.deepEqual(inner.seen, []);
});

test('error messages from v0.5.4 servers are mapped to error codes', async (t) => {
  const texts: Record<string, string> = {
    'Offer already answered': 'already-answered',
    'Offer not yet answered': 'not-found',
    'Username already claimed': 'name-taken',
    'Invalid signature': 'bad-signature',
    'Timestamp too old': 'clock-skew',
    'No available offers for this service': 'no-offer',
    'Service not found': 'not-found',
    'No services found': 'not-found',
    'Offer not found or expired': 'not-found',
    'Not authorized to access this offer': 'forbidden',
    'Too many offers (max 10)': 'too-large',
    'Unknown method: nope': 'bad-request',
    'Internal server error': 'bad-request',
  };
  let text = '';
  const { url } = await serve(t, (_requests, response) => json(response, { success: false, error: text }));
  const api = await apiFor(url);
  for (const [said, code] of Object.entries(texts)) {
    text = said;
    const error: unknown = await api.poll({}, { urgent: true }).catch((caught: unknown) => caught);
    assert.ok(error instanceof ServerError);
    assert.deepEqual([error.code, error.message], [code, `poll: ${said}`]);
  }
});

test('the error code takes precedence over the error message', async (t) => {
  const { url } = await serve(t, (_requests, response) =>
    json(response, { success: false, error: 'Invalid signature', code: 'replayed' }),
  );
  assert.equal(await codeOf((await apiFor(url)).poll()), 'replayed');
});

test('an unreachable server causes a NetworkError that contains the address', async () => {
  const api = await apiFor('http://127.0.0.1:9/some/path/');
  const error: unknown = await api.poll().catch((caught: unknown) => caught);
  assert.ok(error instanceof NetworkError);
  assert.equal(error.code, 'unavailable');
  assert.match(error.message, /127\.0\.0\.1:9\/some\/path\/rpc/);
  assert.equal(error.willRetry, false, 'a single call is not tried again by itself');
});

test('a reply from a server that is not a Rondevu server causes a NetworkError with the address and a hint', async (t) => {
  const replies: [number, string, string][] = [
    [200, 'text/html', '<!doctype html><title>It works!</title>'],
    [404, 'text/html', 'Not Found'],
    [502, 'text/html', 'Bad Gateway'],
    [200, 'application/json', '{"hello":"world"}'],
    [200, 'application/json', 'null'],
    [200, 'application/json', '[null]'],
    [200, 'text/plain', ''],
  ];
  let current = replies[0]!;
  const { url } = await serve(t, (_requests, response) =>
    response.writeHead(current[0], { 'content-type': current[1] }).end(current[2]),
  );
  for (const reply of replies) {
    current = reply;
    const error: unknown = await (await apiFor(url)).poll().catch((caught: unknown) => caught);
    const what = `${reply[0]} ${reply[2]}: ${String(error)}`;
    assert.ok(error instanceof NetworkError, what);
    assert.ok(error.message.includes(url), what);
    assert.match(error.message, /apiUrl|reply/, what);
    assert.doesNotMatch(error.message, /cannot be reached/, `it was reached: ${what}`);
  }
});

test('an empty array is refused as a reply', async (t) => {
  const { url } = await serve(t, (_requests, response) => json(response, []));
  for (const batching of [false, {}] as const) assert.equal(await codeOf((await apiFor(url, batching)).poll()), 'unavailable');
});

test('if a whole batch is refused, each call rejects with the error code', async (t) => {
  const { url } = await serve(t, (requests, response) =>
    requests.length > 1
      ? json(response, { success: false, error: 'Request too large', code: 'too-large' }, 413)
      : json(response, { success: true, result: { answers: [], iceCandidates: {} } }),
  );
  const api = await apiFor(url);
  await api.poll();
  const codes = await Promise.all([codeOf(api.poll()), codeOf(api.poll())]);
  assert.deepEqual(codes, ['too-large', 'too-large']);
});

test('an aborted call rejects with the abort reason, whether queued or in flight', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url);
  const reason = new Error('changed my mind');
  const before = api.getService({ serviceFqn: 'nobody:1.0.0' }, { signal: AbortSignal.abort(reason) });
  await assert.rejects(before, (error) => error === reason);
  const controller = new AbortController();
  const waiting = api.getService({ serviceFqn: 'nobody:1.0.0', wait: 20_000 }, { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 30);
  await assert.rejects(waiting, (error) => error === reason);
});

test('close rejects queued calls', async (t) => {
  const { url } = await startServer(t);
  const api = await apiFor(url, { maxWaitTime: 60_000 });
  await api.poll();
  const waiting = codeOf(api.poll());
  await new Promise((resolve) => setTimeout(resolve, 20)); // signing takes a moment
  api.close();
  assert.equal(await waiting, 'closed');
});

test('calls are sent as text/plain, so that browsers send no CORS preflight request', async (t) => {
  const types: (string | undefined)[] = [];
  const server = createHttpServer((request, response) => {
    types.push(request.headers['content-type']);
    json(response, { success: true, result: { answers: [], iceCandidates: {} } });
  });
  await (await apiFor(await listenFor(t, server))).poll();
  assert.match(types[0] ?? '', /^text\/plain/);
});

test('an invalid server address is refused immediately', async () => {
  for (const url of ['', 'localhost:3000', 'ftp://localhost', '/rpc']) {
    await assert.rejects(apiFor(url), (error) => error instanceof ValidationError && error.message.includes(url));
  }
});
