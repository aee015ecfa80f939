/**
 * Collects calls for a short time and sends them as one HTTP request. Calls arrive already signed.
 */
import { timerDelay } from '../base/timers.js';
import { NetworkError, RondevuError, invalidValue } from '../errors.js';
import { MAX_BATCH, type RpcRequest, type RpcResponse } from '../protocol/rpc.js';

export interface BatchingOptions {
  /** Maximum number of calls in one request. Default 10, at most 100. */
  maxBatchSize?: number;
  /** How long a call may wait for other calls to share its request, in ms. Default 50. */
  maxWaitTime?: number;
  /** Minimum time between two requests, in ms. Default 10. */
  throttleInterval?: number;
}

interface Waiting {
  request: RpcRequest;
  resolve(response: RpcResponse): void;
  reject(error: unknown): void;
}

export class RpcBatcher {
  readonly #send: (requests: RpcRequest[]) => Promise<RpcResponse[]>;
  readonly #options: Required<BatchingOptions>;
  #queue: Waiting[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #first = true;
  #lastSent = -Infinity;

  /** @throws ValidationError if an option is not a non-negative integer, or if `maxBatchSize` is not from 1 to 100 */
  constructor(send: (requests: RpcRequest[]) => Promise<RpcResponse[]>, options: BatchingOptions = {}) {
    this.#send = send;
    const { maxBatchSize = 10, maxWaitTime = 50, throttleInterval = 10 } = options;
    this.#options = { maxBatchSize, maxWaitTime, throttleInterval };
    for (const [name, value] of Object.entries(this.#options)) {
      const least = name === 'maxBatchSize' ? 1 : 0;
      if (!Number.isInteger(value) || value < least || (least && value > MAX_BATCH)) {
        throw invalidValue(`batching.${name}`, `a whole number ${least ? `from 1 to ${MAX_BATCH}` : 'of 0 or more'}`, value);
      }
    }
  }

  /** @param urgent send immediately, together with the waiting calls; the very first call is always sent immediately */
  add(request: RpcRequest, urgent = false): Promise<RpcResponse> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, resolve, reject });
      const now = urgent || this.#first || this.#queue.length >= this.#options.maxBatchSize;
      this.#first = false;
      if (now) void this.flush();
      else
        this.#timer ??= setTimeout(
          () => void this.flush(),
          timerDelay(Math.max(this.#options.maxWaitTime, this.#lastSent + this.#options.throttleInterval - performance.now())),
        );
    });
  }

  /** Rejects calls that have not been sent. */
  clear(): void {
    clearTimeout(this.#timer);
    for (const { reject } of this.#queue.splice(0)) reject(new RondevuError('closed', 'the client was closed'));
  }

  /** Sends the waiting calls; resolves when all of them have settled. Never rejects, because each call settles on its own. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#lastSent = performance.now();
    const sent: Promise<void>[] = [];
    while (this.#queue.length) sent.push(this.#sendSome(this.#queue.splice(0, this.#options.maxBatchSize)));
    await Promise.all(sent);
  }

  /** Returns the number of waiting calls. */
  getQueueSize(): number {
    return this.#queue.length;
  }

  async #sendSome(waiting: Waiting[]): Promise<void> {
    try {
      const responses = await this.#send(waiting.map(({ request }) => request));
      if (responses.length !== waiting.length) {
        throw new NetworkError(`the server answered ${waiting.length} calls with ${responses.length} replies`);
      }
      waiting.forEach(({ resolve }, index) => resolve(responses[index]!));
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
