/**
 * SignalingClient and PushSocket with the real server: push and polling, events, server restarts, queueing for an offer, and
 * the detection of an old server.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { describe, test, type TestContext } from 'node:test';
import { WebSocket } from 'ws';
import { DEFAULT_CONNECTION_CONFIG } from '../../src/connection/connection-config.js';
import { NetworkError, RondevuError } from '../../src/errors.js';
import type { AnswerInfo, CandidateInfo, ServiceEntry } from '../../src/protocol/rpc.js';
import { RondevuAPI, SignalingClient, type SignalingState } from '../../src/signaling/index.js';
import { startServer, until } from '../server/helpers.js';
import { OldServer } from '../support/old-server.js';
import { listenFor } from '../support/set-up.js';

const Socket = WebSocket as unknown as typeof globalThis.WebSocket;
let count = 0;

async function client(t: TestContext, url: string, WebSocketClass: typeof globalThis.WebSocket | undefined = Socket) {
  const api = new RondevuAPI(url, `user-${++count}`, await RondevuAPI.generateKeypair());
  const signaling = new SignalingClient(api, WebSocketClass);
  const states: SignalingState[] = [];
  signaling.on('state', (state) => states.push(state));
  t.after(() => signaling.close());
  return { api, signaling, states, fqn: `chat:1.0.0@${api.username}` };
}
const polling = (t: TestContext, url: string) => client(t, url, null as unknown as undefined);
const never = new AbortController().signal;
const publish = (signaling: SignalingClient, serviceFqn: string, ...sdps: string[]) =>
  signaling.publish({ serviceFqn, offers: sdps.map((sdp) => ({ sdp })) });

/** Performs one handshake through the server; returns both clients, the offer, and a function that counts `taken` events. */
async function handshake(t: TestContext, url: string, make: typeof client) {
  const [host, joiner] = [await make(t, url), await make(t, url)];
  const answers: AnswerInfo[] = [];
  host.signaling.subscribe({ onAnswer: (answer) => answers.push(answer), onDemand: () => undefined, onReset: () => undefined });
  await publish(host.signaling, host.fqn, 'the offer');
  const entry = await joiner.signaling.findOffer(host.fqn, 0, () => undefined, never);
  const [atHost, atJoiner]: [CandidateInfo[], CandidateInfo[]] = [[], []];
  let taken = 0;
  const atHosts = { onCandidates: (some: CandidateInfo[]) => atHost.push(...some) };
  host.signaling.watch(entry.offerId, host.fqn, false, atHosts, DEFAULT_CONNECTION_CONFIG);
  const handlers = { onCandidates: (some: CandidateInfo[]) => atJoiner.push(...some), onTaken: () => taken++ };
  const stop = joiner.signaling.watch(entry.offerId, host.fqn, true, handlers, DEFAULT_CONNECTION_CONFIG);
  await joiner.signaling.answerOffer(entry, 'the answer');
  await joiner.signaling.addCandidates(host.fqn, entry.offerId, [{ candidate: 'of the joiner', sdpMid: '0' }]);
  await host.signaling.addCandidates(host.fqn, entry.offerId, [{ candidate: 'of the host', sdpMid: '0' }]);
  await until(() => answers.length > 0 && atHost.length > 0 && atJoiner.length > 0, 'answer and candidates');
  assert.deepEqual([answers[0]!.sdp, answers[0]!.answererId], ['the answer', joiner.api.username]);
  assert.deepEqual([...new Set(atHost.map(({ candidate }) => candidate.candidate))], ['of the joiner']);
  assert.deepEqual([...new Set(atJoiner.map(({ candidate }) => candidate.candidate))], ['of the host']);
  return { host, joiner, entry, stop, taken: () => taken };
}

describe('the signaling client', { concurrency: 4 }, () => {
  test('opens a WebSocket alongside the first call, and uses it for later calls', async (t) => {
    const { url, ...server } = await startServer(t);
    const { signaling, api, states } = await client(t, url);
    assert.equal(signaling.state, 'idle');
    assert.equal(server.sessions, 0);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
    assert.deepEqual(states, ['connecting', 'push']);
    for (const cap of ['v2', 'push', 'instances', 'wait', 'withdraw']) assert.ok(signaling.can(cap), cap);
    let overHttp = 0;
    api.onCaps = () => overHttp++; // onCaps is called for each HTTP reply
    await api.getUser('someone');
    assert.equal(overHttp, 0);
    const refused = api.getService({ serviceFqn: 'nobody:1.0.0' });
    await assert.rejects(refused, (error) => error instanceof RondevuError && error.code === 'not-found');
    signaling.close();
    assert.equal(signaling.state, 'idle');
    await assert.rejects(signaling.call('poll', {}), (error) => error instanceof RondevuError && error.code === 'closed');
  });

  test('completes a handshake over push, including candidates and `taken`', async (t) => {
    const { url } = await startServer(t);
    const { host, joiner, taken } = await handshake(t, url, client);
    await until(() => host.signaling.state === 'push' && joiner.signaling.state === 'push', 'push');
    await until(() => taken() > 0, 'taken');
  });

  test('completes a handshake by polling if there is no WebSocket', async (t) => {
    const { url } = await startServer(t);
    const { host, joiner } = await handshake(t, url, polling);
    assert.equal(host.signaling.state, 'polling');
    assert.equal(joiner.signaling.sendsTaken, false);
  });

  test('falls back to polling if a WebSocket cannot be created or never opens', async (t) => {
    const { url } = await startServer(t);
    class Forbidden {
      constructor() {
        throw new DOMException('Content Security Policy', 'SecurityError');
      }
    }
    class Silent {
      readyState = 0;
      close(): void {}
    }
    for (const Class of [Forbidden, Silent]) {
      await handshake(t, url, (context, address) => client(context, address, Class as unknown as typeof globalThis.WebSocket));
    }
  });

  test('passes candidates to a new watch after the previous watch was stopped', async (t) => {
    const { url } = await startServer(t);
    const { host, entry, stop, joiner } = await handshake(t, url, client);
    await until(() => joiner.signaling.state === 'push', 'push');
    stop();
    const late: CandidateInfo[] = [];
    const handlers = { onCandidates: (some: CandidateInfo[]) => late.push(...some) };
    joiner.signaling.watch(entry.offerId, host.fqn, true, handlers, DEFAULT_CONNECTION_CONFIG);
    await host.signaling.addCandidates(host.fqn, entry.offerId, [{ candidate: 'late', sdpMid: '0' }]);
    await until(() => late.some(({ candidate }) => candidate.candidate === 'late'), 'the second watch');
  });

  test('reopens the socket and emits `reset` when the server restarts on the same port', async (t) => {
    const server = await startServer(t);
    const { signaling, states } = await client(t, server.url);
    let resets = 0;
    signaling.on('reset', () => resets++);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
    assert.equal(resets, 0, 'the first time there is nothing to publish again');
    await server.close();
    await until(() => signaling.state !== 'push', 'the loss');
    const fresh = await startServer(t, { port: server.port });
    await until(() => signaling.state === 'push', 'push again', 15_000);
    await until(() => resets === 1 && fresh.sessions === 1, 'reset');
    assert.ok(!states.includes('idle'));
  });

  test('reconnects immediately when hint() is called between reconnect attempts', async (t) => {
    const server = await startServer(t);
    const { signaling } = await client(t, server.url);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
    await server.close();
    await until(() => signaling.state !== 'push', 'the loss');
    await startServer(t, { port: server.port });
    signaling.hint();
    await until(() => signaling.state === 'push', 'push again');
  });

  test('rejects pending calls with `unavailable` when the socket closes', async (t) => {
    const server = await startServer(t);
    const { signaling } = await client(t, server.url);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
    const waiting = signaling.call('getService', { serviceFqn: 'nobody:1.0.0', wait: 30_000 });
    const failed = assert.rejects(waiting, (error) => error instanceof RondevuError && error.code === 'unavailable');
    await until(() => server.waiting === 1, 'the call to wait');
    await server.close();
    await failed;
  });

  test('reports a refused session once and does not retry it', async (t) => {
    const server = await startServer(t);
    const owner = await client(t, server.url);
    await owner.signaling.call('poll', {});
    const api = new RondevuAPI(server.url, owner.api.username, await RondevuAPI.generateKeypair());
    let sockets = 0;
    class Counting extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        sockets++;
      }
    }
    const impostor = new SignalingClient(api, Counting as unknown as typeof globalThis.WebSocket);
    t.after(() => impostor.close());
    const errors: (RondevuError | undefined)[] = [];
    impostor.on('state', (state, error) => state === 'offline' && errors.push(error));
    await assert.rejects(impostor.call('poll', {}), (error) => error instanceof RondevuError && error.code === 'name-taken');
    await until(() => errors.length > 0, 'the refusal');
    assert.equal(errors[0]?.code, 'name-taken');
    await new Promise((resolve) => setTimeout(resolve, 1200)); // a retry would have happened within 650 ms
    assert.equal(sockets, 1);
  });

  test('opens the socket despite a wrong clock', async (t) => {
    const { url } = await startServer(t);
    const { signaling, api } = await client(t, url);
    api.signer.setServerTime(Date.now() - 10 * 60_000);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
  });

  test('findOffer waits until an offer is published, over a WebSocket and over HTTP', async (t) => {
    const server = await startServer(t);
    for (const make of [client, polling]) {
      const [host, joiner] = [await make(t, server.url), await make(t, server.url)];
      let calls = 0;
      const found = joiner.signaling.findOffer(host.fqn, 30_000, () => calls++, never);
      await until(() => server.waiting === 1, 'the joiner to be queued');
      await publish(host.signaling, host.fqn, 'late');
      assert.equal((await found).sdp, 'late');
      assert.equal(calls, 1);
    }
  });

  test('emits `demand` at the host if a joiner waits because all offers are taken', async (t) => {
    const server = await startServer(t);
    const [host, first, second] = [await client(t, server.url), await client(t, server.url), await client(t, server.url)];
    const demands: number[] = [];
    host.signaling.on('demand', ({ waiting }) => demands.push(waiting));
    await publish(host.signaling, host.fqn, 'one');
    await until(() => host.signaling.state === 'push', 'push');
    await first.signaling.findOffer(host.fqn, 0, () => undefined, never);
    const found = second.signaling.findOffer(host.fqn, 30_000, () => undefined, never);
    await until(() => demands.length > 0, 'demand');
    await publish(host.signaling, host.fqn, 'two');
    assert.equal((await found).sdp, 'two');
  });

  test('findOffer rejects when the wait time has elapsed or the signal is aborted', async (t) => {
    const { url, ...server } = await startServer(t);
    void server;
    for (const make of [client, polling]) {
      const { signaling } = await make(t, url);
      const over = signaling.findOffer('nobody:1.0.0', 300, () => undefined, never);
      await assert.rejects(over, (error) => error instanceof RondevuError && error.code === 'not-found');
      const controller = new AbortController();
      const reason = new Error('enough');
      const aborted = signaling.findOffer('nobody:1.0.0', 30_000, () => controller.abort(reason), controller.signal);
      await assert.rejects(aborted, (error) => error === reason);
    }
  });

  test('findOffer calls a server that ignores `wait` no more often than a server without a queue', async (t) => {
    let calls = 0;
    const liar = createServer((_request, response) => {
      calls++;
      response.setHeader('rondevu-caps', 'v2, instances, wait');
      response.end(JSON.stringify({ success: false, error: 'nobody', code: 'no-offer', errorCode: 'no-offer' }));
    });
    const { signaling } = await polling(t, await listenFor(t, liar));
    const over = signaling.findOffer('chat:1.0.0@nobody', 3000, () => undefined, never);
    await assert.rejects(over, (error) => error instanceof RondevuError && error.code === 'no-offer');
    assert.ok(calls >= 3 && calls <= 4, `${calls} calls in 3 s`);
  });

  test('is offline with an error only while the server is unreachable', async (t) => {
    const first = await startServer(t);
    await first.close();
    for (const make of [client, polling]) {
      const { signaling, states } = await make(t, first.url);
      const errors: unknown[] = [];
      signaling.on('state', (_state, error) => error && errors.push(error));
      await assert.rejects(signaling.call('poll', {}), NetworkError);
      assert.ok(states.includes('offline') && errors[0] instanceof NetworkError);
      signaling.on('answer', () => undefined); // a listener for `answer` events makes the client poll
      signaling.hint();
      const server = await startServer(t, { port: first.port });
      await until(() => signaling.state === (make === client ? 'push' : 'polling'), 'the server to be reachable again', 15_000);
      signaling.close();
      await server.close();
    }
  });

  test('stays offline until the server replies, even if the reply is that the service is missing', async (t) => {
    const first = await startServer(t);
    await first.close();
    for (const make of [client, polling]) {
      const { signaling, states } = await make(t, first.url);
      const reasons: string[] = [];
      const found = signaling.findOffer('nobody:1.0.0', 30_000, ({ code }) => reasons.push(code), never);
      const ended = assert.rejects(found, (error) => error instanceof RondevuError && error.code === 'closed');
      await until(() => reasons.length > 0, 'the reason');
      assert.deepEqual([reasons, signaling.state, signaling.error?.code], [['unavailable'], 'offline', 'unavailable']);
      assert.match(signaling.error!.message, new RegExp(`${first.url}/rpc cannot be reached: .*ECONNREFUSED`));
      const before = states.length;
      await assert.rejects(signaling.call('poll', {}), NetworkError);
      assert.equal(states.length, before, 'the same reason is not told twice');
      const server = await startServer(t, { port: first.port });
      await until(() => reasons.length > 1, 'the server’s word', 15_000);
      assert.deepEqual([reasons[1], signaling.state === 'offline', signaling.error], ['not-found', false, undefined]);
      signaling.close();
      await server.close();
      await ended;
    }
  });

  test('goes offline when the server stays unreachable, even if no call is pending', async (t) => {
    const server = await startServer(t);
    const { signaling, states } = await client(t, server.url);
    await signaling.call('poll', {});
    await until(() => signaling.state === 'push', 'push');
    await server.close();
    await until(() => signaling.state === 'offline', 'offline', 15_000);
    await startServer(t, { port: server.port });
    signaling.hint();
    await until(() => signaling.state === 'push', 'push', 15_000);
    assert.deepEqual([states.filter((state) => state === 'offline').length, signaling.error], [1, undefined]);
  });

  for (const [what, status, body] of [
    ['a page that says 404', 404, '<h1>Not found</h1>'],
    ['a 404 in the form of a reply', 404, JSON.stringify({ success: false, error: 'Not found', code: 'not-found' })],
    ['a page instead of the server', 200, '<!doctype html>'],
    ['a gateway in trouble', 502, 'Bad Gateway'],
  ] as const) {
    test(`reports ${what} as unavailable rather than as a missing service`, async (t) => {
      const other = createServer((_request, response) => void response.writeHead(status).end(body));
      const url = await listenFor(t, other);
      for (const make of [client, polling]) {
        const { signaling } = await make(t, url);
        const failed = signaling.findOffer('nobody:1.0.0', 0, () => undefined, never);
        await assert.rejects(failed, (error) => error instanceof NetworkError && error.code === 'unavailable');
        assert.equal(signaling.state, 'offline');
        assert.match(signaling.error!.message, new RegExp(`${url}/rpc .*HTTP ${status}.*apiUrl`));
      }
    });
  }

  test('detects an old server from its first reply, and completes a handshake without calling newer methods', async (t) => {
    const server = await OldServer.start(t);
    const { host, joiner } = await handshake(t, server.url, client);
    assert.equal(host.signaling.state, 'polling');
    assert.deepEqual([host.signaling.caps?.size, host.signaling.keepsOffers(), joiner.signaling.sendsTaken], [0, false, false]);
    await host.signaling.withdraw(host.fqn, ['x'], false);
    assert.ok(!server.calls.some(({ method }) => /withdraw|delete/.test(method)), 'not while other offers are left');
    await host.signaling.withdraw(host.fqn, ['x'], true);
    assert.equal(server.calls.at(-1)?.method, 'deleteService');
    const entry: ServiceEntry | undefined = await joiner.signaling
      .findOffer(host.fqn, 0, () => undefined, never)
      .catch(() => undefined);
    assert.equal(entry, undefined);
  });

  test('treats every server as old until its first reply', async (t) => {
    const { url } = await startServer(t);
    const { signaling } = await client(t, url);
    assert.deepEqual([signaling.keepsOffers(), signaling.can('wait'), signaling.sendsTaken], [false, false, false]);
    await signaling.call('poll', {});
    assert.deepEqual([signaling.keepsOffers(), signaling.can('wait')], [true, true]);
  });
});

test('candidates are polled every icePollingInterval, for at most icePollingTimeout', async (t) => {
  const { url } = await startServer(t);
  const count = async (icePollingInterval: number, icePollingTimeout: number) => {
    const { signaling, api } = await polling(t, url);
    const call = t.mock.method(api, 'call');
    signaling.watch(
      'an-offer',
      'chat:1.0.0@nobody',
      true,
      { onCandidates: () => undefined },
      { icePollingInterval, icePollingTimeout },
    );
    return () => call.mock.calls.filter(({ arguments: [method] }) => method === 'poll').length;
  };
  const [often, seldom, briefly] = [await count(50, 60_000), await count(400, 60_000), await count(50, 300)];
  await until(() => seldom() >= 5, 'the seldom one to poll');
  assert.ok(often() >= 2 * seldom(), `${often()} polls at 50 ms, ${seldom()} at 400 ms`);
  const ended = briefly();
  assert.ok(ended > 0);
  const before = often();
  await until(() => often() >= before + 10, 'further polls');
  assert.equal(briefly(), ended, 'polls after icePollingTimeout');
});
