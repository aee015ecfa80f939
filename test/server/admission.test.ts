/** Tests the limits on concurrent requests from one address, the refusal of unread requests, and fair use of the event loop. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { countItems } from '../../server/src/count-values.js';
import { Discovery, LISTED_PER_POINT } from '../../server/src/discovery.js';
import { POLLED_PER_POINT, createHandlers } from '../../server/src/handlers.js';
import { DEFAULT_LIMITS, type Limits, type RunningServer, type ServerOptions } from '../../server/src/index.js';
import { NEW_KEY_COST } from '../../server/src/limiter.js';
import { createLog } from '../../server/src/log.js';
import { Matchmaker } from '../../server/src/matchmaker.js';
import { MemoryHub } from '../../server/src/memory-hub.js';
import { Quotas } from '../../server/src/quotas.js';
import { MAX_CONCURRENT_BODIES } from '../../server/src/rpc-endpoint.js';
import type { Params } from '../../server/src/schemas.js';
import { MAX_REFUSED } from '../../server/src/session.js';
import { LARGE_CALLS, LARGE_CALLS_PER_ADDRESS, Slots } from '../../server/src/slots.js';
import { SqliteStore } from '../../server/src/sqlite-store.js';
import { DEFAULT_TURN, Turn } from '../../server/src/turn.js';
import { MAX_ROUNDS, POINTS_PER_TURN, ROUNDS_TIME_LIMIT, Turns } from '../../server/src/turns.js';
import {
  Client,
  PushClient,
  PushSocket,
  anonymous,
  closed,
  post,
  refused,
  someone,
  startServer,
  until,
  connectRaw,
  type RawConnection,
} from './helpers.js';

const limited = (t: TestContext, limits: Partial<Limits>, options: ServerOptions = {}) =>
  startServer(t, { limits: { ...DEFAULT_LIMITS, ...limits }, ...options });

/** Sends the header of a POST request and the first bytes of its body. */
async function begin(t: TestContext, server: RunningServer, length: number, body = ''): Promise<RawConnection> {
  const raw = connectRaw(t, server.port);
  await once(raw.socket, 'connect');
  raw.socket.write(`POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n${body}`);
  return raw;
}

/** Spends points from the budgets of this machine's address and of one new key. */
async function exhaust(server: RunningServer, points: number): Promise<void> {
  const client = new Client(server.url, anonymous());
  for (let i = 0; i < points; i++) await client.call('poll', {});
}

test('a request from an address over its limit is refused before its body arrives', async (t) => {
  const server = await limited(t, { pointsPerAddress: 5 + NEW_KEY_COST });
  await exhaust(server, 5);
  const { received } = await begin(t, server, 500_000, '[');
  await until(() => received().includes('\r\n\r\n'), 'the refusal');
  assert.match(received(), /^HTTP\/1\.1 429 /);
  assert.match(received(), /\r\nRetry-After: \d+\r\n/i);
  assert.match(received(), /\r\nConnection: close\r\n/i);
});

test('keeps the connection open after refusing a small request without reading it', async (t) => {
  const server = await limited(t, { pointsPerAddress: 5 + NEW_KEY_COST });
  await exhaust(server, 5);
  const { socket, received } = await begin(t, server, 10, 'x'.repeat(10));
  await until(() => received().includes('rate-limited'), 'the refusal');
  socket.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until(() => received().includes('HTTP/1.1 200'), 'the next reply');
});

test('a batch from an address over its limit gets HTTP 200 with an error for every call', async (t) => {
  const server = await limited(t, { pointsPerAddress: 5 + NEW_KEY_COST });
  await exhaust(server, 5);
  const old = new Client(server.url, someone(), 'old');
  for (const count of [1, 3, 100]) {
    const { status, body } = await post(
      server.url,
      Array.from({ length: count }, (_, index) => old.signed('getUser', { username: `some,[one]"{${index}` })),
    );
    assert.equal(status, 200);
    const items = body as { success: boolean; code: string; retryAfter: number }[];
    assert.equal(items.length, count);
    for (const { success, code, retryAfter } of items)
      assert.deepEqual([success, code, retryAfter > 0], [false, 'rate-limited', true]);
  }
  for (const body of [[], Array(101).fill(0), {}, '', '[', '[[]', 'x'])
    assert.equal((await post(server.url, body)).status, 429, JSON.stringify(body).slice(0, 40));
  for (const [json, items] of [
    [' [ ] ', 0],
    ['[0]', 1],
    ['[[1,2],{"a":[1,2]},"],[\\"",3]', 4],
    ['{"a":[1,2]}', 0],
  ] as const)
    assert.equal(countItems(Buffer.from(json)), items, json);
});

test('limits the total size of incomplete bodies from one address', async (t) => {
  const server = await limited(t, { maxBodyBytes: 2048 });
  const open: RawConnection[] = [];
  for (let i = 0; i < MAX_CONCURRENT_BODIES; i++) open.push(await begin(t, server, 2048, 'x'.repeat(2040)));
  await until(
    async () => (await post(server.url, 'x'.repeat(1024))).status === 429,
    'a request beyond the byte limit of the address to be refused',
  );
  const { body } = await post(server.url, 'x'.repeat(1024));
  assert.match((body as { error: string }).error, /Too many bytes from this address at once/);
  for (const { socket } of open) socket.destroy();
  await until(async () => (await post(server.url, 'x'.repeat(1024))).status === 400, 'room for further bytes');
});

test('limits the number of concurrent requests from one address', async (t) => {
  const server = await limited(t, { maxSocketsPerAddress: 2 });
  const open = [await begin(t, server, 100, 'x'), await begin(t, server, 100, 'x')];
  await until(async () => (await post(server.url, [])).status === 429, 'a third request to be refused');
  for (const { socket } of open) socket.destroy();
  await until(async () => (await post(server.url, [])).status === 400, 'room for another request');
});

test('limits the number of TCP connections from one address', async (t) => {
  const server = await limited(t, { maxSocketsPerAddress: 2 });
  const open: Socket[] = [];
  for (let i = 0; i < 4; i++) {
    const { socket, received } = await begin(t, server, 2, '[]');
    await until(() => received().includes('HTTP/1.1 400'), 'a reply');
    open.push(socket);
  }
  const more = connect(server.port, '127.0.0.1');
  await closed(more);
  open[0]!.destroy();
  await once(open[0]!, 'close');
  await until(async () => (await fetch(`${server.url}/health`).catch(() => undefined))?.status === 200, 'a free connection');
});

test('does not parse a large frame from an address over its limit', async (t) => {
  const server = await limited(t, { pointsPerAddress: 10 + 2 * NEW_KEY_COST });
  const client = await PushClient.open(server.url, anonymous());
  await exhaust(server, 7);
  // if the frame were parsed, the socket would be closed with code 1003
  client.send('x'.repeat(100_000));
  assert.equal(await client.closed, 4429);
});

test('closes a socket that keeps making refused calls', async (t) => {
  const server = await limited(t, { pointsPerKey: 4 });
  const client = await PushClient.open(server.url, anonymous());
  let open = true;
  void client.closed.then(() => (open = false));
  for (let i = 0; open && i < MAX_REFUSED + 100; i++) await client.call('poll', {}).catch(() => undefined);
  assert.equal(await client.closed, 4429);
});

/**
 * Creates a `Turns` with a fake clock that advances with each call. `began` lists, for each turn of the event loop, the
 * addresses of the calls that began in it.
 */
function mockTurns() {
  let now = 0;
  const turns = new Turns(() => now);
  const began: string[][] = [[]];
  const make = (address: string, calls: number, ms: number): void => {
    for (let call = 0; call < calls; call++)
      void Promise.resolve(turns.take(address, POINTS_PER_TURN)).then(() => {
        now += ms;
        began.at(-1)!.push(address);
      });
  };
  const turn = async (): Promise<string[]> => {
    await new Promise(setImmediate);
    began.push([]);
    return began.at(-2)!;
  };
  return { turns, make, turn };
}

test('an address that has used up its points for an event loop turn does not delay other addresses', async () => {
  const { turns, make, turn } = mockTurns();
  const calls = 10;
  make('greedy', calls, ROUNDS_TIME_LIMIT);
  await Promise.resolve();
  assert.equal(turns.take('modest', 1), undefined);
  const begun: string[] = [];
  for (let each = 1; begun.length < calls; each++) {
    begun.push(...(await turn()));
    // one call on arrival, then one per turn: each call uses up the time limit, so no further round starts
    assert.ok(begun.length <= each + 1, `${begun.length} calls in ${each} turns`);
    assert.ok(each <= calls + 1, `${begun.length} calls in ${each} turns`);
  }
});

test('serves several rounds of short calls in one turn of the event loop', async () => {
  const { make, turn } = mockTurns();
  make('a', 6, ROUNDS_TIME_LIMIT / 20);
  make('b', 3, ROUNDS_TIME_LIMIT / 20);
  const first = await turn();
  assert.deepEqual([...first, ...(await turn())], ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'a', 'a']);
});

test('starts no round after ROUNDS_TIME_LIMIT, however many addresses are waiting', async () => {
  const { make, turn } = mockTurns();
  const addresses = Array.from({ length: 5 }, (_, index) => `address ${index}`);
  for (const address of addresses) make(address, 20, ROUNDS_TIME_LIMIT / 10);
  const counts: number[] = [];
  for (let begun = 0; begun < 100; begun += counts.at(-1)!) counts.push((await turn()).length);
  // one call per address on arrival, then rounds over all addresses until the time limit is reached
  for (const count of counts) assert.ok(count <= 5 + 10 + 5, `${count} calls in one turn`);
  assert.ok(counts.length <= 12, `${counts.length} turns`);
});

test('runs at most MAX_ROUNDS rounds per turn of the event loop, however short the calls are', async () => {
  const { make, turn } = mockTurns();
  make('a', 10 * MAX_ROUNDS, 0);
  make('b', 10 * MAX_ROUNDS, 0);
  assert.equal((await turn()).length, 2 * (1 + MAX_ROUNDS));
  assert.equal((await turn()).length, 2 * MAX_ROUNDS);
});

test('charges the extra cost of a large call in arrears, before the call releases its slot', async (t) => {
  const [store, log] = [new SqliteStore(':memory:'), createLog('silent')];
  const hub = new MemoryHub(store, log, () => undefined);
  const discovery = new Discovery(store);
  t.after(() => {
    hub.close();
    return store.close();
  });
  let held = 0;
  let inArrears = 0;
  class CountingSlots extends Slots {
    override run<T>(name: string, work: (hasWaited: boolean) => Promise<T>): Promise<T> {
      return super.run(name, async (hasWaited) => {
        held++;
        return work(hasWaited).finally(() => held--);
      });
    }
  }
  const handlers = createHandlers({
    store,
    hub,
    discovery,
    matchmaker: new Matchmaker(store, discovery, log, DEFAULT_LIMITS, () => undefined),
    limits: DEFAULT_LIMITS,
    turn: new Turn(DEFAULT_TURN),
    quotas: new Quotas(store, DEFAULT_LIMITS),
    async charge() {
      assert.equal(held, 0, 'a call must not wait for a turn while it holds a slot');
    },
    async chargeInArrears(_caller, points) {
      assert.equal(held, 1);
      inArrears += points;
    },
    checkPoints: async () => undefined,
    large: new CountingSlots(LARGE_CALLS_PER_ADDRESS, LARGE_CALLS),
    onRelease: async () => undefined,
    clock: { at: (now) => now },
  });
  const [one, other] = [
    { username: 'one', publicKey: 'key-1' },
    { username: 'other', publicKey: 'key-2' },
  ];
  const now = Date.now();
  for (let index = 0; index < Math.max(POLLED_PER_POINT, LISTED_PER_POINT + 1); index++) {
    const service = { name: 'many', version: `1.0.${index}`, serviceFqn: `many:1.0.${index}@one` };
    const input = { ...one, ...service, offers: [{ sdp: 'to answer' }, { sdp: 'free' }], ttl: 60_000 };
    const { offers } = await store.publish(input, 10, now);
    assert.equal(await store.answer(offers[0]!, { ...other, sdp: 'answer' }, now), 'answered');
  }
  const caller = { ...one, address: '192.0.2.1' };
  const disconnectSignal = (): AbortSignal => new AbortController().signal;
  await handlers.poll({ since: 0 }, caller, disconnectSignal);
  assert.equal(inArrears, 1, 'points of the poll');
  inArrears = 0;
  await handlers.getService({ serviceFqn: 'many:1.0.0@one', limit: 10 } as Params<'getService'>, caller, disconnectSignal);
  assert.ok(inArrears > 0, 'points of the page');
});

test('limits the number of sockets per key and per address', async (t) => {
  const server = await limited(t, { maxSocketsPerKey: 2, maxSocketsPerAddress: 4 });
  const one = someone();
  const sockets = [await PushClient.open(server.url, one), await PushClient.open(server.url, one)];
  const error = await refused(PushClient.open(server.url, one), 'rate-limited');
  assert.match(error.message, /At most 2 sockets per key/);
  await sockets[0]!.close();
  await PushClient.open(server.url, one);
  await PushClient.open(server.url, someone());
  await PushClient.open(server.url, someone());
  await assert.rejects(new PushSocket(server.url).connect(), /HTTP 429/);
  await sockets[1]!.close();
  await PushClient.open(server.url, one);
});

test('the limit on instances per user counts HTTP and socket clients together', async (t) => {
  const server = await limited(t, { maxInstancesPerUser: 2 });
  const user = someone();
  await PushClient.open(server.url, user);
  await new Client(server.url, user, 'v2', 'second-instance').call('poll', {});
  const third = new Client(server.url, user, 'v2', 'third-instance');
  const { status, body } = await post(server.url, third.signed('poll', { instance: 'third-instance' }));
  assert.equal(status, 429);
  assert.match((body as { error: string }).error, /At most 2 instances per user/);
  await new Client(server.url, user, 'v2', 'second-instance').call('poll', {});
});

test('parked candidates from a stranger cost 20 extra points', async (t) => {
  const server = await limited(t, { pointsPerKey: 30 });
  const host = new Client(server.url);
  const { offers } = await host.publish(`x:1.0.0@${host.username}`, ['offer']);
  const stranger = new Client(server.url);
  const offer = { serviceFqn: `x:1.0.0@${host.username}`, offerId: offers[0]!.offerId };
  await stranger.addCandidates(offer, 'one');
  const { status } = await post(
    server.url,
    stranger.signed('addIceCandidates', { ...offer, candidates: [{ candidate: 'two', sdpMid: '0', sdpMLineIndex: 0 }] }),
  );
  assert.equal(status, 429);
});
