/**
 * A join attempt settles exactly once, and ignores all later events. The link is a stub, and the tests check the order of
 * calls.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_CONNECTION_CONFIG } from '../../src/connection/connection-config.js';
import { JoinAttempt, OfferLostError, type JoinAttemptHost } from '../../src/connection/join-attempt.js';
import type { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { ConnectionError, RondevuError } from '../../src/errors.js';
import type { ServiceEntry } from '../../src/protocol/rpc.js';

const ENTRY = {
  serviceFqn: 'chat:1.0.0@alice',
  offerId: 'offer',
  sdp: 'v=0\r\na=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n',
} as ServiceEntry;

/** Creates a promise and the functions that settle it. */
function deferred<T = void>() {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onResolve, onReject) => ([resolve, reject] = [onResolve, onReject]));
  return { promise, resolve, reject };
}

/** Waits until all pending promise callbacks have run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function begin() {
  const calls: string[] = [];
  const remote = deferred();
  const reply = deferred<unknown>();
  const pc = {
    iceGatheringState: 'complete',
    localDescription: { sdp: 'the answer' },
    createAnswer: () => Promise.resolve({}),
    setLocalDescription: () => Promise.resolve(),
    getConfiguration: () => ({}),
  };
  const link = {
    pc,
    localCandidates: [{}],
    setRemote: () => remote.promise,
    addRemoteCandidate: () => void calls.push('candidate'),
  } as unknown as WebRtcLink;
  const port = {
    sendsTaken: false,
    keepsOffers: () => true,
    answerOffer: () => (calls.push('send'), reply.promise),
    addCandidates: () => Promise.resolve(),
    watch: () => (calls.push('watch'), () => void calls.push('stop')),
  };
  const host = {
    config: DEFAULT_CONNECTION_CONFIG,
    port,
    takeLink: () => (calls.push('take link'), link),
    useLink: () => undefined,
    reached: (event: string) => void calls.push(event),
    answered: () => true,
    emit: () => undefined,
  } as unknown as JoinAttemptHost;
  const attempt = new JoinAttempt(host, { entry: ENTRY, offer: undefined, sid: 'sid', unconfirmed: 0 });
  const outcome = attempt.run().then(
    () => 'open',
    (error: Error) => error,
  );
  return { attempt, calls, remote, reply, outcome };
}

describe('a join attempt', () => {
  test('resolves when its link opens, and stops watching the offer', async () => {
    const { attempt, calls, remote, reply, outcome } = begin();
    remote.resolve();
    await turn();
    reply.resolve({});
    await turn();
    assert.deepEqual(calls, ['take link', 'gather', 'signal', 'send', 'candidate', 'check', 'watch']);
    attempt.opened();
    attempt.fail(new Error('late'));
    assert.equal(await outcome, 'open');
    assert.deepEqual(calls.slice(7), ['stop']);
  });

  test('ignores a failure after success, and success after a failure', async () => {
    const first = begin();
    first.attempt.opened();
    first.attempt.fail(new Error('late'));
    assert.equal(await first.outcome, 'open');
    const second = begin();
    const error = new Error('failed');
    second.attempt.fail(error);
    second.attempt.opened();
    assert.equal(await second.outcome, error);
  });

  test('sends no answer if it fails while the answer is being created', async () => {
    const { attempt, calls, remote, outcome } = begin();
    attempt.fail(new Error('aborted'));
    remote.resolve();
    await turn();
    assert.equal(((await outcome) as Error).message, 'aborted');
    assert.deepEqual(calls, ['take link', 'gather']);
  });

  test("ignores the server's reply to the answer if it has already failed", async () => {
    const { attempt, calls, remote, reply } = begin();
    remote.resolve();
    await turn();
    attempt.fail(new Error('aborted'));
    reply.resolve({});
    await turn();
    assert.deepEqual(calls, ['take link', 'gather', 'signal', 'send']);
  });

  test('adds remote candidates, but does not watch the offer, if the link opens before the server replies', async () => {
    const { attempt, calls, remote, reply, outcome } = begin();
    remote.resolve();
    await turn();
    attempt.opened();
    reply.resolve({});
    await turn();
    assert.equal(await outcome, 'open');
    assert.deepEqual(calls.slice(4), ['candidate', 'check']);
  });

  test('fails with OfferLostError only if the server reports the offer as answered or gone', async () => {
    for (const [code, isLost] of [
      ['already-answered', true],
      ['offer-gone', true],
      ['forbidden', false],
    ] as const) {
      const { remote, reply, outcome } = begin();
      remote.resolve();
      await turn();
      reply.reject(new RondevuError(code, code));
      assert.equal((await outcome) instanceof OfferLostError, isLost, code);
    }
  });

  test('fails if the offer cannot be applied', async () => {
    const { remote, outcome } = begin();
    remote.reject(new Error('malformed'));
    const error = await outcome;
    assert.ok(error instanceof ConnectionError);
    assert.match(error.message, /cannot answer the offer of .*: Error: malformed/);
  });
});
