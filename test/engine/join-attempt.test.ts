/**
 * A join attempt settles exactly once, and ignores all later events. The link is a stub, and the tests check the order of
 * calls.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_CONNECTION_CONFIG } from '../../src/connection/connection-config.js';
import { JoinAttempt, OfferLostError, type JoinContext } from '../../src/connection/join-attempt.js';
import type { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { ConnectionError, RondevuError } from '../../src/errors.js';
import type { ServiceEntry } from '../../src/protocol/rpc.js';
import type { SdpLine } from '../../src/protocol/sdp-line.js';

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

/** @param listener event at which a listener ends the attempt */
function begin({ offer, listener }: { offer?: SdpLine; listener?: string } = {}) {
  const calls: string[] = [];
  const remote = deferred();
  const reply = deferred<unknown>();
  const sealing = deferred();
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
  const context = {
    config: DEFAULT_CONNECTION_CONFIG,
    port,
    proof: { seal: (sdp: string) => sealing.promise.then(() => ({ sdp })) },
    emit: (event: string) => void (listener === event && attempt.fail(new Error('closed by a listener'))),
  } as unknown as JoinContext;
  const attempt: JoinAttempt = new JoinAttempt(context, { entry: ENTRY, offer, sid: 'sid', unconfirmed: 0 });
  // the steps that a connection carries out
  const steps = async () => {
    await attempt.prepare(link);
    calls.push('prepared');
    await attempt.send();
    if (!attempt.isPending) return;
    calls.push('sent');
    attempt.watch();
  };
  steps().catch((error: Error) => attempt.fail(error));
  const outcome = attempt.ended.then(
    () => 'open',
    (error: Error) => error,
  );
  return { attempt, calls, remote, reply, sealing, outcome };
}

describe('a join attempt', () => {
  test('resolves when its link opens, and stops watching the offer', async () => {
    const { attempt, calls, remote, reply, outcome } = begin();
    remote.resolve();
    await turn();
    reply.resolve({});
    await turn();
    assert.deepEqual(calls, ['prepared', 'send', 'candidate', 'sent', 'watch']);
    attempt.opened();
    attempt.fail(new Error('late'));
    assert.equal(await outcome, 'open');
    assert.deepEqual(calls.slice(5), ['stop']);
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
    assert.deepEqual(calls, []);
  });

  test("ignores the server's reply to the answer if it has already failed", async () => {
    const { attempt, calls, remote, reply } = begin();
    remote.resolve();
    await turn();
    attempt.fail(new Error('aborted'));
    reply.resolve({});
    await turn();
    assert.deepEqual(calls, ['prepared', 'send']);
  });

  test('adds remote candidates, but does not watch the offer, if the link opens before the server replies', async () => {
    const { attempt, calls, remote, reply, outcome } = begin();
    remote.resolve();
    await turn();
    attempt.opened();
    reply.resolve({});
    await turn();
    assert.equal(await outcome, 'open');
    assert.deepEqual(calls.slice(2), ['candidate']);
  });

  test('sends no answer if it fails while the answer is being signed', async () => {
    const { attempt, calls, remote, sealing, outcome } = begin({ offer: { caps: [], sig: 'sig' } as unknown as SdpLine });
    remote.resolve();
    await turn();
    attempt.fail(new Error('aborted'));
    sealing.resolve();
    await turn();
    assert.equal(((await outcome) as Error).message, 'aborted');
    assert.deepEqual(calls, ['prepared']);
  });

  test('stops watching if a listener ends the attempt as soon as watching starts', async () => {
    const { calls, remote, reply, outcome } = begin({ listener: 'ice:polling:started' });
    remote.resolve();
    await turn();
    reply.resolve({});
    await turn();
    assert.equal(((await outcome) as Error).message, 'closed by a listener');
    assert.deepEqual(calls.slice(3), ['sent', 'watch', 'stop']);
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
