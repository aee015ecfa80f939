/** Tests the costs of calls, the order in which a call is validated, and the size limits on replies. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS, type Limits } from '../../server/src/index.js';
import { POLLED_PER_POINT } from '../../server/src/handlers.js';
import { BYTES_PER_POINT, NEW_KEY_COST, costOf } from '../../server/src/limiter.js';
import { MAX_JSON_DEPTH, type ServicePage } from '../../src/protocol/index.js';
import { CallError, Client, PushClient, mockClock, post, refused, someone, startServer, until } from './helpers.js';

const limited = (t: TestContext, limits: Partial<Limits>) => startServer(t, { limits: { ...DEFAULT_LIMITS, ...limits } });
const KIB = 1024;
const large = (text: string, size = 60 * KIB): string => text.padEnd(size, 'x');

/** Creates a user with `count` services, each with one large offer. */
async function publisher(url: string, count: number): Promise<Client> {
  const host = new Client(url);
  for (let i = 0; i < count; i++) await host.publish(`big:1.0.${i}@${host.username}`, [large(`${i} `)]);
  return host;
}
const pageOf = (client: Client, serviceFqn: string, offset: number): Promise<ServicePage> =>
  client.call('getService', { serviceFqn, limit: 100, offset }) as Promise<ServicePage>;

test('a page ends at the size limit and returns the offset of the next page', async (t) => {
  const { url } = await limited(t, { maxReplyBytes: 200 * KIB });
  const host = await publisher(url, 8);
  const seen: string[] = [];
  const sizes: number[] = [];
  for (let offset: number | undefined = 0; offset !== undefined;) {
    const page: ServicePage = await pageOf(host, `big:1.0.0@${host.username}`, offset);
    assert.ok(JSON.stringify(page).length < 201 * KIB, 'the size of a page');
    assert.equal(page.count, page.services.length);
    sizes.push(page.count);
    seen.push(...page.services.map(({ serviceFqn }) => serviceFqn));
    offset = page.next;
  }
  assert.deepEqual(sizes, [3, 3, 2]);
  assert.equal(new Set(seen).size, 8);
});

test('a page contains one service even if that service alone exceeds the size limit', async (t) => {
  const { url } = await limited(t, { maxReplyBytes: 1000 });
  const host = await publisher(url, 2);
  const page = await pageOf(host, `big:1.0.0@${host.username}`, 1);
  assert.deepEqual([page.count, page.next], [1, undefined]);
});

test('stops running the calls of a batch once its replies exceed the size limit', async (t) => {
  const { url } = await limited(t, { maxReplyBytes: 100 * KIB });
  const host = await publisher(url, 2);
  const lists = Array.from({ length: 30 }, () =>
    host.signed('getService', { serviceFqn: `big:1.0.0@${host.username}`, limit: 100 }),
  );
  const last = host.signed('publishService', { serviceFqn: `late:1.0.0@${host.username}`, offers: [{ sdp: 'late' }] });
  const { status, body } = await post(url, [...lists, last]);
  const items = body as { success: boolean; code?: string }[];
  assert.equal(status, 200);
  assert.equal(items.length, 31);
  assert.ok(JSON.stringify(body).length < 1000 * KIB, 'the total size of the replies');
  assert.ok(items.filter(({ success }) => success).length >= 8, 'the calls that were run');
  assert.deepEqual([items[30]!.success, items[30]!.code], [false, 'too-large']);
  await refused(host.take(`late:1.0.0@${host.username}`), 'not-found');
});

test('a poll reply ends at the size limit, and later polls return the rest', async (t) => {
  const { url } = await limited(t, { maxReplyBytes: 150 * KIB });
  const [host, joiner] = [new Client(url), new Client(url)];
  const fqn = `chat:1.0.0@${host.username}`;
  const { offers } = await host.publish(
    fqn,
    Array.from({ length: 8 }, (_, index) => `offer ${index}`),
  );
  for (const { offerId } of offers) await joiner.answer({ serviceFqn: fqn, offerId }, large(`answer to ${offerId}`));
  const answers = new Set<string>();
  for (let polls = 0; polls < 3; polls++) {
    const given = (await host.call('poll', {})).answers;
    // previously returned answers are repeated if the reply has room for them
    assert.ok(JSON.stringify(given).length < 211 * KIB, 'the size of a poll reply');
    for (const { offerId } of given) answers.add(offerId);
  }
  assert.equal(answers.size, 8);
});

test('the signature of the message is checked before the digest of the params', async (t) => {
  const { url } = await limited(t, {});
  const client = new Client(url);
  const call = { ...client.signed('poll', {}, { signature: `${'A'.repeat(86)}==` }), params: { other: 'params' } };
  const { body } = await post(url, call);
  assert.equal((body as { error: string }).error, 'Invalid signature');
  const signed = { ...client.signed('poll', {}), params: { other: 'params' } };
  assert.match(((await post(url, signed)).body as { error: string }).error, /it does not match these params/);
});

test('refuses params with too many values, over HTTP and over the socket', async (t) => {
  const { url } = await limited(t, {});
  const host = await PushClient.open(url);
  const params = { values: Array(20_000).fill(0) };
  await refused(host.http.call('poll', params as never), 'too-large');
  await refused(host.call('poll', params as never), 'too-large');
  const { body } = await post(url, { method: 'poll', message: `poll:nobody:${Date.now()}`, signature: '', params });
  assert.equal((body as { code: string }).code, 'too-large');
});

test('refuses deeply nested params before traversing them', async (t) => {
  const { url } = await limited(t, {});
  const host = await PushClient.open(url);
  let ids = 1000;
  const refusal = async (method: string, params: string): Promise<string | undefined> => {
    const id = ids++;
    host.send(`{"id":${id},"method":"${method}","params":${params}}`);
    let reply: Record<string, unknown> | undefined;
    await until(() => (reply = host.frames.find((frame) => frame['id'] === id)) !== undefined, 'a reply');
    return (reply!['error'] as { code: string } | undefined)?.code;
  };
  const publish = (metadata: string): string =>
    `{"serviceFqn":"x:1.0.0@${host.username}","offers":[{"sdp":"x"}],"metadata":${metadata}}`;
  const lists = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  const objects = (depth: number): string => '{"a":'.repeat(depth) + '0' + '}'.repeat(depth);
  assert.equal(await refusal('publishService', publish(lists(MAX_JSON_DEPTH - 1))), undefined);
  for (const depth of [MAX_JSON_DEPTH, 1000, 9300]) {
    for (const nested of [lists(depth), objects(depth)]) {
      assert.equal(await refusal('publishService', publish(nested)), 'too-large', `metadata of ${depth} levels`);
      assert.equal(await refusal('poll', `{"unknown":${nested}}`), 'too-large', `an unknown field of ${depth} levels`);
    }
  }
  const nested = lists(9300);
  for (const method of ['getService', 'answerOffer']) {
    const call = `{"method":"${method}","message":"${method}:someone::${Date.now()}","signature":"","params":{"serviceFqn":${nested},"offerId":${nested}}}`;
    assert.equal(((await post(url, call)).body as { code: string }).code, 'too-large');
  }
});

test('refuses a body with too many values before parsing, without counting the content of strings', async (t) => {
  const { url } = await limited(t, {});
  for (const json of [`{"a":[${'[],'.repeat(50_000)}`, `{${'"a":0,'.repeat(50_000)}`, '['.repeat(50_000)]) {
    const { status, body } = await post(url, json);
    assert.deepEqual([status, (body as { code: string }).code], [413, 'too-large'], json.slice(0, 20));
  }
  const socket = await PushClient.open(url);
  socket.send(`[${'0,'.repeat(50_000)}0]`);
  assert.equal(await socket.closed, 1009);
  const host = new Client(url);
  const texts = [',:[', '\\",:[', '"'].map((text, index) => `${index}${text.repeat(8_000)}`);
  await host.publish(`x:1.0.0@${host.username}`, texts);
});

test('the cost of a call grows with the number of items in it', () => {
  const ids = Array(1000).fill('x');
  assert.equal(costOf('withdrawOffers', { offerIds: ids }), 101);
  assert.equal(costOf('addIceCandidates', { candidates: Array(100).fill({}) }), 11);
  assert.equal(costOf('signal', { candidates: Array(100).fill({}) }), 11);
  assert.equal(costOf('poll', { offerIds: ids, offers: ids, candidates: ids }), 1);
  for (const list of [{ length: 1e9 }, 'x'.repeat(1000), null, 5]) assert.equal(costOf('withdrawOffers', { offerIds: list }), 1);
});

/** Returns the number of points that this address has left: makes calls without a key until one is refused. */
async function left(url: string): Promise<number> {
  for (let count = 0; ; count++) if ((await post(url, {})).status === 429) return count;
}

const POINTS = 120;
const spending: [string, (url: string) => Promise<unknown>, spent: number][] = [
  ['a body of 200 KiB, before it is parsed', (url) => post(url, `{"x":"${'y'.repeat(200 * KIB)}`), 50 + 1],
  ['a body that is not JSON', (url) => post(url, '{'), 1],
  ['an object that is not a call', (url) => post(url, { method: 5 }), 1],
  ['an unknown method', (url) => post(url, { method: 'no', message: 'no', signature: '' }), 1],
  ['a batch of 20 items that are not calls', (url) => post(url, Array(20).fill(null)), 20],
];
for (const [what, spend, spent] of spending) {
  test(`points charged for ${what}: ${spent}`, async (t) => {
    mockClock(t);
    const { url } = await limited(t, { pointsPerAddress: POINTS });
    await spend(url);
    assert.equal(await left(url), POINTS - spent);
  });
}

test('charges the bytes of a reply against the budget for later calls', async (t) => {
  mockClock(t);
  const { url } = await limited(t, { pointsPerAddress: POINTS });
  const host = new Client(url);
  // this call costs 3 points, plus 9 for the bytes of the request and 9 for the bytes of the reply
  await host.publish(`big:1.0.0@${host.username}`, [large('x', 9.5 * BYTES_PER_POINT)]);
  const before = POINTS - NEW_KEY_COST - 3 - 9 - 9;
  await pageOf(host, `big:1.0.0@${host.username}`, 0); // this call costs 7 points, plus 9 for the bytes of the reply
  assert.equal(await left(url), before - 7 - 9);
});

test('a poll costs more if the user has many answered offers', async (t) => {
  mockClock(t);
  const { url } = await limited(t, { pointsPerKey: 700 });
  const [host, joiner] = [new Client(url, someone()), new Client(url, someone())];
  for (let done = 0; done < POLLED_PER_POINT; done += 10) {
    const sdps = Array.from({ length: 10 }, (_, index) => `offer ${done + index}`);
    const { serviceFqn, offers } = await host.publish(`many:1.0.0@${host.username}`, sdps);
    for (const { offerId } of offers) await joiner.answer({ serviceFqn, offerId });
  }
  const spent = (POLLED_PER_POINT / 10) * 4;
  // `since` is in the future, so that the server does not return the same answers again
  const since = Date.now() + 1000;
  const isRefused = (): Promise<boolean> =>
    host.call('poll', { since }).then(
      () => false,
      (error: CallError) => {
        assert.equal(error.code, 'rate-limited');
        return true;
      },
    );
  let polls = 0;
  while (!(await isRefused())) polls++;
  // each poll costs 2 points, and the first polls cost more for the bytes of their replies
  assert.ok(polls > (700 - spent) / 4 && polls <= (700 - spent) / 2, `${polls} polls`);
});

test('closes a socket that sends too many frames that are not calls', async (t) => {
  mockClock(t);
  const { url } = await limited(t, { pointsPerAddress: POINTS });
  const host = await PushClient.open(url);
  for (let i = 0; i < POINTS; i++) host.send({});
  assert.equal(await host.closed, 4429);
  assert.ok(host.frames.filter(({ error }) => error).length <= POINTS, 'the frames that were answered');
});

test('16 acknowledgements or pongs cost one point', async (t) => {
  mockClock(t);
  const { url } = await limited(t, { pointsPerAddress: POINTS });
  const host = await PushClient.open(url);
  for (let i = 0; i < 160; i++) host.send(i % 2 ? { ack: 0 } : { pong: true });
  await host.call('poll', {});
  assert.equal(await left(url), POINTS - NEW_KEY_COST - 3 - 10 - 1);
});

test('closes a socket that sends a frame too large for its remaining points', async (t) => {
  mockClock(t);
  const { url } = await limited(t, { pointsPerAddress: POINTS });
  const host = await PushClient.open(url, someone());
  host.send(JSON.stringify({ id: 1, method: 'poll', params: { x: 'y'.repeat(700 * KIB) } }));
  assert.equal(await host.closed, 4429);
});

test('does not run the rest of a batch after its client disconnects', async (t) => {
  const { url } = await limited(t, {});
  const client = new Client(url);
  const batchOf = (caller: Client): unknown[] =>
    Array.from({ length: 100 }, (_, index) =>
      caller.signed('publishService', { serviceFqn: `s${index}:1.0.0@${caller.username}`, offers: [{ sdp: `offer ${index}` }] }),
    );
  const abort = new AbortController();
  const reply = post(url, batchOf(client), abort.signal).catch(() => undefined);
  while ((await new Client(url).take(`s0:1.0.0@${client.username}`).catch(() => undefined)) === undefined);
  abort.abort();
  await reply;
  // waits for as long as the rest of the first batch would have taken
  await post(url, batchOf(new Client(url)));
  await refused(new Client(url).take(`s99:1.0.0@${client.username}`), 'not-found');
});
