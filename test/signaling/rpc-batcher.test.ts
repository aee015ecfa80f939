/**
 * RpcBatcher: which calls are batched, which calls are sent immediately, and how failures stay independent of each other. The
 * tests provide the function that sends a batch.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkError, RondevuError, ValidationError } from '../../src/errors.js';
import type { RpcRequest, RpcResponse } from '../../src/protocol/rpc.js';
import { RpcBatcher, type BatchingOptions } from '../../src/signaling/rpc-batcher.js';
import { until } from '../server/helpers.js';

const request = (n: number): RpcRequest => ({ method: 'poll', message: `message ${n}`, signature: 'AA==', params: { n } });
const numberOf = ({ params }: RpcRequest): number => (params as { n: number }).n;

/** Creates a batcher that records its batches and answers each call with the number of the call. */
function recorded(options?: BatchingOptions, answer?: (requests: RpcRequest[]) => Promise<RpcResponse[]>) {
  const batches: number[][] = [];
  const send = (requests: RpcRequest[]): Promise<RpcResponse[]> => {
    batches.push(requests.map(numberOf));
    return answer?.(requests) ?? Promise.resolve(requests.map((one) => ({ success: true as const, result: numberOf(one) })));
  };
  return { batcher: new RpcBatcher(send, options), batches };
}
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('the first call is sent immediately', () => {
  const { batcher, batches } = recorded({ maxWaitTime: 10_000 });
  void batcher.add(request(1));
  assert.deepEqual(batches, [[1]]);
});

test('later calls are batched, and each call gets its own reply', async () => {
  const { batcher, batches } = recorded({ maxWaitTime: 20 });
  await batcher.add(request(0));
  const replies = await Promise.all(numbers(1, 5).map((n) => batcher.add(request(n))));
  assert.deepEqual(batches, [[0], [1, 2, 3, 4, 5]]);
  assert.deepEqual(
    replies.map((reply) => reply.success && reply.result),
    [1, 2, 3, 4, 5],
  );
});

test('a batch is sent as soon as it contains maxBatchSize calls', async () => {
  const { batcher, batches } = recorded({ maxBatchSize: 3, maxWaitTime: 20 });
  await batcher.add(request(0));
  const calls = numbers(1, 8).map((n) => batcher.add(request(n)));
  assert.deepEqual(batches, [[0], [1, 2, 3], [4, 5, 6]]);
  await Promise.all(calls);
  assert.deepEqual(batches.at(-1), [7, 8]);
});

test('maxBatchSize defaults to ten', async () => {
  const { batcher, batches } = recorded();
  await batcher.add(request(0));
  const calls = numbers(1, 11).map((n) => batcher.add(request(n)));
  assert.deepEqual(batches[1], numbers(1, 10));
  await Promise.all(calls);
  assert.deepEqual(batches[2], [11]);
});

test('an urgent call is sent immediately, together with all queued calls', async () => {
  const { batcher, batches } = recorded({ maxWaitTime: 10_000 });
  await batcher.add(request(0));
  const waiting = batcher.add(request(1));
  const urgent = batcher.add(request(2), true);
  assert.deepEqual(batches, [[0], [1, 2]]);
  await Promise.all([waiting, urgent]);
});

test('throttling delays the next batch, which then contains all queued calls', async () => {
  const { batcher, batches } = recorded({ maxWaitTime: 0, throttleInterval: 60 });
  await batcher.add(request(0));
  const begun = performance.now();
  await Promise.all([batcher.add(request(1)), new Promise(setImmediate).then(() => batcher.add(request(2)))]);
  assert.deepEqual(batches, [[0], [1, 2]]);
  assert.ok(performance.now() - begun >= 50, 'setTimeout may be a little early, not more');
});

test('a failed call does not affect the other calls in the batch', async () => {
  const { batcher } = recorded({ maxWaitTime: 5 }, (requests) =>
    Promise.resolve(
      requests.map((one) =>
        numberOf(one) === 2 ? { success: false as const, error: 'no' } : { success: true as const, result: 1 },
      ),
    ),
  );
  await batcher.add(request(0));
  const replies = await Promise.all(numbers(1, 3).map((n) => batcher.add(request(n))));
  assert.deepEqual(
    replies.map(({ success }) => success),
    [true, false, true],
  );
});

test('a batch that cannot be sent does not affect the next batch', async () => {
  let down = true;
  const { batcher } = recorded({ maxWaitTime: 5 }, (requests) =>
    down
      ? Promise.reject(new NetworkError('down'))
      : Promise.resolve(requests.map(() => ({ success: true as const, result: 1 }))),
  );
  const failed = await Promise.allSettled(numbers(1, 3).map((n) => batcher.add(request(n))));
  assert.ok(failed.every((result) => result.status === 'rejected' && result.reason instanceof NetworkError));
  down = false;
  assert.equal((await batcher.add(request(4))).success, true);
});

test('all calls reject if the reply has too few or too many items', async () => {
  for (const count of [0, 1, 3]) {
    const { batcher } = recorded({ maxBatchSize: 2, maxWaitTime: 5 }, (requests) =>
      Promise.resolve(
        Array.from({ length: numberOf(requests[0]!) === 0 ? 1 : count }, () => ({ success: true as const, result: 1 })),
      ),
    );
    await batcher.add(request(0));
    const both = await Promise.allSettled([batcher.add(request(1)), batcher.add(request(2))]);
    assert.ok(both.every((result) => result.status === 'rejected' && result.reason instanceof NetworkError));
  }
});

test('clear rejects only the calls that have not been sent', async () => {
  let answer: (() => void) | undefined;
  const { batcher, batches } = recorded({ maxWaitTime: 10_000 }, (requests) =>
    new Promise<void>((resolve) => (answer = resolve)).then(() => requests.map(() => ({ success: true as const, result: 1 }))),
  );
  const sent = batcher.add(request(1));
  const waiting = batcher.add(request(2));
  batcher.clear();
  await assert.rejects(waiting, (error) => error instanceof RondevuError && error.code === 'closed');
  await until(() => answer !== undefined);
  answer!();
  assert.equal((await sent).success, true);
  assert.deepEqual(batches, [[1]]);
});

test('out-of-range options are refused with an error that contains the name and the value', () => {
  const bad: [BatchingOptions, string, string][] = [
    [{ maxBatchSize: 0 }, 'maxBatchSize', '0'],
    [{ maxBatchSize: 101 }, 'maxBatchSize', '101'],
    [{ maxBatchSize: 1.5 }, 'maxBatchSize', '1.5'],
    [{ maxWaitTime: -1 }, 'maxWaitTime', '-1'],
    [{ throttleInterval: NaN }, 'throttleInterval', 'NaN'],
    [{ maxWaitTime: '5' } as unknown as BatchingOptions, 'maxWaitTime', '"5"'],
  ];
  for (const [options, name, value] of bad) {
    assert.throws(
      () => recorded(options),
      (error) => error instanceof ValidationError && error.message.includes(name) && error.message.includes(value),
    );
  }
});
