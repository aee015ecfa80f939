/** Makes calls as fast as they are answered, or at a given rate, and computes statistics of the response times. */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { WebSocket } from 'ws';

export const percentile = (values: number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;

/**
 * Measures calls per second for `ms` milliseconds, with `window` pending calls on each lane.
 * @param call makes a call on a lane; resolves when the call is answered
 */
export async function throughput(
  lanes: number,
  window: number,
  ms: number,
  call: (lane: number) => Promise<unknown>,
): Promise<number> {
  const start = performance.now();
  let count = 0;
  const run = async (lane: number): Promise<void> => {
    while (performance.now() - start < ms) {
      await call(lane);
      count++;
    }
  };
  await Promise.all(Array.from({ length: lanes * window }, (_, index) => run(index % lanes)));
  return (count * 1000) / (performance.now() - start);
}

/** Starts tasks at a fixed rate without waiting for earlier tasks, then waits for all tasks. */
export async function atRate(perSecond: number, ms: number, work: (index: number) => Promise<void>): Promise<void> {
  const start = performance.now();
  const all: Promise<void>[] = [];
  const total = Math.floor((perSecond * ms) / 1000);
  while (all.length < total) {
    const due = Math.floor(((performance.now() - start) * perSecond) / 1000);
    while (all.length <= Math.min(due, total - 1)) all.push(work(all.length));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(all);
}

/** A socket to a bare server: received messages resolve the pending calls in order, or are passed to a listener. */
export class BareSocket {
  readonly socket: WebSocket;
  readonly #waiting: ((text: string) => void)[] = [];
  onText: ((text: string) => void) | undefined;

  constructor(url: string) {
    this.socket = new WebSocket(url.replace('http', 'ws'), { perMessageDeflate: false });
    this.socket.on('message', (data) => {
      const text = String(data);
      if (this.onText) this.onText(text);
      else this.#waiting.shift()?.(text);
    });
  }

  static async open(url: string): Promise<BareSocket> {
    const socket = new BareSocket(url);
    await once(socket.socket, 'open');
    return socket;
  }

  echo(text: string): Promise<string> {
    this.socket.send(text);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: 100 });

/** POSTs a body over a keep-alive connection; resolves with the response. */
export function postBody(url: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      { method: 'POST', agent, headers: { 'content-length': Buffer.byteLength(body) } },
      (incoming) => {
        let text = '';
        incoming.on('data', (data: Buffer) => (text += String(data)));
        incoming.on('end', () => resolve(text));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
