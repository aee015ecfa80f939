/**
 * Tests replay protection, which must not affect honest old clients (protocol.md, "The old form"), the validation of messages
 * in the old form, and request bodies: invalid JSON, deeply nested JSON and batches.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { CallError, Client, post, refused, resultOf, signOld, signV2, someone, startServer } from './helpers.js';

const FQN = 'chat:1.0.0';

async function start(t: TestContext) {
  const server = await startServer(t);
  const old = (prefix?: string): Client => new Client(server.url, someone(prefix), 'old');
  const host = old('host');
  const send = async (request: unknown): Promise<unknown> => resultOf((await post(server.url, request)).body);
  return { server, old, host, fqn: `${FQN}@${host.username}`, send };
}

test('accepts two addIceCandidates calls with the same timestamp and signature but different params', async (t) => {
  const { old, host, fqn, send } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const { offerId } = await joiner.take(fqn);
  await joiner.answer({ serviceFqn: fqn, offerId });
  const timestamp = Date.now();
  const add = (candidate: string) =>
    signOld(joiner.identity, 'addIceCandidates', { serviceFqn: fqn, offerId, candidates: [{ candidate }] }, { timestamp });
  const [one, two] = [add('one'), add('two')];
  assert.equal(one.signature, two.signature);
  assert.deepEqual(await send(one), { count: 1, offerId });
  assert.deepEqual(await send(two), { count: 1, offerId });
  const { candidates } = await host.call('getIceCandidates', { serviceFqn: fqn, offerId, since: 0 });
  assert.deepEqual(
    candidates.map(({ candidate }) => candidate.candidate),
    ['one', 'two'],
  );
  await send(one);
  const again = await host.call('getIceCandidates', { serviceFqn: fqn, offerId, since: 0 });
  assert.equal(again.candidates.length, 2, 'a repeated candidate is stored only once');
});

test('answerOffer can be repeated only by the same user with the same SDP', async (t) => {
  const { old, host, fqn } = await start(t);
  await host.publish(fqn, ['offer']);
  const joiner = old();
  const offer = await joiner.take(fqn);
  await joiner.answer(offer, 'mine');
  await joiner.answer(offer, 'mine');
  await refused(joiner.answer(offer, 'another of mine'), 'already-answered');
  await refused(old().answer(offer, 'mine'), 'already-answered');
  const { answers } = await host.call('poll', { since: 0 });
  assert.deepEqual(
    answers.map(({ sdp, answererId }) => [sdp, answererId]),
    [['mine', joiner.username]],
  );
});

test('publishing an SDP again while its offer is live returns the same offer', async (t) => {
  const { old, host, fqn } = await start(t);
  const first = await host.publish(fqn, ['a', 'b']);
  const second = await host.publish(fqn, ['b', 'c']);
  assert.equal(second.serviceId, first.serviceId);
  assert.equal(second.offers[0]!.offerId, first.offers[1]!.offerId);
  const taken = [await old().take(fqn), await old().take(fqn), await old().take(fqn)].map(({ sdp }) => sdp);
  assert.deepEqual(taken.sort(), ['a', 'b', 'c']);
  await refused(old().take(fqn), 'no-offer');
});

test('a replayed deleteService does not delete later publications', async (t) => {
  const { old, host, fqn, send } = await start(t);
  await host.publish(fqn, ['before']);
  const request = signOld(host.identity, 'deleteService', { serviceFqn: fqn });
  await send(request);
  await host.publish(fqn, ['after']);
  await refused(send(request), 'replayed');
  assert.equal((await old().take(fqn)).sdp, 'after');
});

test('a message in the old form is valid for one method only', async (t) => {
  const { host, fqn, send } = await start(t);
  await host.publish(fqn, ['offer']);
  const published = signOld(host.identity, 'publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }] });
  // a message captured from publishService, replayed as deleteService
  await refused(send({ ...published, method: 'deleteService', params: { serviceFqn: fqn } }), 'bad-signature');
});

test('a message in the old form is valid only for the signed service, offer, username and `since`', async (t) => {
  const { old, host, fqn, send } = await start(t);
  const { offers } = await host.publish(fqn, ['one', 'two']);
  const [one, two] = offers.map(({ offerId }) => offerId);
  const joiner = old();
  const other = `game:1.0.0@${host.username}`;
  const substitutions: [method: string, signedFor: object, sent: object][] = [
    ['publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }] }, { serviceFqn: other, offers: [{ sdp: 'x' }] }],
    ['getService', { serviceFqn: fqn }, { serviceFqn: other }],
    ['deleteService', { serviceFqn: fqn }, { serviceFqn: other }],
    ['answerOffer', { serviceFqn: fqn, offerId: one, sdp: 'x' }, { serviceFqn: fqn, offerId: two, sdp: 'x' }],
    ['getOfferAnswer', { serviceFqn: fqn, offerId: one }, { serviceFqn: fqn, offerId: two }],
    ['addIceCandidates', { serviceFqn: fqn, offerId: one, candidates: [] }, { serviceFqn: fqn, offerId: two, candidates: [] }],
    ['getIceCandidates', { serviceFqn: fqn, offerId: one, since: 0 }, { serviceFqn: fqn, offerId: one, since: 5 }],
    ['getUser', { username: 'alice' }, { username: 'bob' }],
  ];
  for (const [method, signedParams, params] of substitutions) {
    for (const client of [host, joiner]) {
      await refused(send({ ...signOld(client.identity, method, signedParams), params }), 'bad-signature');
    }
  }
});

test('refuses the old form for methods that do not exist in v0.20', async (t) => {
  const { host, fqn, send } = await start(t);
  await host.publish(fqn, ['offer']);
  await refused(send(signOld(host.identity, 'withdrawOffers', { serviceFqn: fqn, offerIds: [] })), 'bad-signature');
});

test('invalid JSON gets HTTP 400', async (t) => {
  const { server, host } = await start(t);
  for (const body of ['', '{', 'nope', '{"method":', '[{]', '\u0000']) {
    const reply = await post(server.url, body);
    assert.equal(reply.status, 400, body);
    assert.equal((reply.body as { success: boolean }).success, false);
  }
  await host.call('poll', {});
});

test('JSON that is not a call gets HTTP 200 with a bad-request error', async (t) => {
  const { server } = await start(t);
  const whole = { method: 'poll', message: 'x', signature: 'x' };
  const bodies = ['1', 'null', '"text"', '{}', '{"method":1}', '{"method":"poll"}', '{"__proto__":{"method":"poll"}}'];
  for (const key of Object.keys(whole))
    bodies.push(JSON.stringify({ ...whole, [key]: 7 }), JSON.stringify({ ...whole, [key]: null }));
  for (const body of bodies) {
    const reply = await post(server.url, body);
    assert.equal(reply.status, 200, body);
    assert.throws(
      () => resultOf(reply.body),
      (error: CallError) => error.code === 'bad-request',
      body,
    );
  }
});

test('invalid params are refused with an error that names the field', async (t) => {
  const { server, host, fqn, send } = await start(t);
  const call = (method: string, params: unknown) => send(signV2(host.identity, method, params, server.url));
  for (const params of [{}, null, [], 7, 'text', { since: 'x' }, { since: -1 }]) {
    if (params && typeof params === 'object' && 'since' in params) await refused(call('poll', params), 'bad-request');
    else await refused(call('publishService', params), 'bad-request');
  }
  const offers = [{ sdp: 'x' }];
  for (const serviceFqn of [
    '',
    'chat',
    'chat:1',
    'Chat:1.0.0',
    'chat:1.0.0@',
    'chat:01.0.0',
    `${fqn}#${'x'.repeat(22)}`,
    'x'.repeat(300),
  ]) {
    const error = await call('publishService', { serviceFqn, offers }).catch((caught: CallError) => caught);
    assert.ok(error instanceof CallError && /^(bad-request|too-large)$/.test(error.code!), serviceFqn);
    assert.match(error.message, /serviceFqn/);
  }
  for (const ttl of [0, 999, 86_400_001, '300000']) {
    const error = await refused(call('publishService', { serviceFqn: fqn, offers, ttl }), 'bad-request');
    assert.match(error.message, /ttl/);
  }
});

test('refuses deeply nested JSON without side effects', async (t) => {
  const { server, host, fqn } = await start(t);
  const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  const logged = t.mock.method(console, 'error', () => undefined);
  assert.equal((await post(server.url, deep(400_000))).status, 413, 'too many values to be parsed');
  const metadata = JSON.parse(deep(1000)) as unknown;
  const request = signOld(host.identity, 'publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }] });
  const body = JSON.stringify({ ...request, params: { ...(request.params as object), metadata: 0 } });
  for (const [levels, status] of [
    [2000, 200],
    [10_000, 200],
    [100_000, 413],
  ] as const) {
    const reply = await post(server.url, body.replace('"metadata":0', `"metadata":${deep(levels)}`));
    assert.equal(reply.status, status, `${levels} levels`);
    if (levels > 2000 && status === 200) assert.throws(() => resultOf(reply.body), CallError);
  }
  const v2 = new Client(server.url, host.identity);
  await refused(v2.call('publishService', { serviceFqn: fqn, offers: [{ sdp: 'x' }], metadata }).catch(asRefusal), 'bad-request');
  await host.publish(fqn, ['fine']);
  for (const { arguments: said } of logged.mock.calls) assert.doesNotMatch(String(said), /uncaught/i);
});
/** Rethrows an error from the local signer as a refused call; the signer refuses the same params as the server. */
const asRefusal = (error: Error & { code?: string }): never => {
  throw new CallError(error.message, error.code);
};

test('replies to a batch in order, with HTTP 200 even if some of its calls fail', async (t) => {
  const { server, host, fqn, old } = await start(t);
  const joiner = old();
  const items = [
    host.signed('publishService', { serviceFqn: fqn, offers: [{ sdp: 'offer' }] }),
    { method: 'nope', message: 'nope:x:1', signature: 'x' },
    null,
    7,
    [],
    joiner.signed('getService', { serviceFqn: fqn }),
    joiner.signed('getService', { serviceFqn: fqn }, { timestamp: 0 }),
  ];
  const { status, body } = await post(server.url, items);
  assert.equal(status, 200);
  const replies = body as { success: boolean; result?: { sdp?: string } }[];
  assert.deepEqual(
    replies.map(({ success }) => success),
    [true, false, false, false, false, true, false],
  );
  assert.equal(replies[5]!.result?.sdp, 'offer');
});

test('refuses an empty batch or a batch of more than 100 calls with HTTP 400', async (t) => {
  const { server, host } = await start(t);
  const items = (length: number) => Array.from({ length }, () => host.signed('poll', {}));
  for (const length of [0, 101]) assert.equal((await post(server.url, items(length))).status, 400);
  const { status, body } = await post(server.url, items(100));
  assert.equal(status, 200);
  assert.ok((body as { success: boolean }[]).every(({ success }) => success));
});

test('unknown paths and HTTP methods get 404', async (t) => {
  const { server } = await start(t);
  for (const [method, path] of [
    ['GET', '/rpc'],
    ['PUT', '/rpc'],
    ['POST', '/'],
    ['GET', '/demo/../package.json'],
    ['GET', '/%2e%2e/package.json'],
  ]) {
    assert.equal((await fetch(server.url + path!, { method: method! })).status, 404, `${method} ${path}`);
  }
});
