/**
 * One end of a chaos test: a client that publishes or joins, sends a stream of numbered messages and checks the peer's
 * messages. Pages receive `createEnd` as text, so the function must not reference anything outside itself except types.
 */
import type { Keypair, Rondevu, RondevuConnection, RondevuOptions } from '../../dist/src/index.js';
import type { EndOptions } from './ends.js';

export interface EndState {
  rondevu: Rondevu;
  connection: RondevuConnection | undefined;
  /** All connection objects created so far. */
  connections: RondevuConnection[];
  /** Events of the connection: name, time in ms, and an optional detail. */
  events: [name: string, at: number, detail?: string][];
  /** Next expected message number, and errors found in received messages. */
  next: number;
  wrong: string[];
  /** Bytes received. */
  bytes: number;
  /** Time of the last received message, from Date.now(). */
  lastAt: number;
  sent: number;
  /** Maximum number of messages to send until the next cut, so that some are in flight during each cut. */
  allowed: number;
  /** Number of sent messages, by outcome. */
  outcomes: Record<string, number>;
  lost: number;
  /** Sends numbered messages of up to `max` bytes; the seed determines their lengths. */
  stream(count: number, seed: number, max: number): Promise<void>;
  streaming: boolean;
}

export async function createEnd(
  Engine: typeof Rondevu,
  more: Partial<RondevuOptions>,
  { apiUrl, username, service, to, config = {}, keep = false, plain = false }: EndOptions,
): Promise<EndState> {
  // this test stores an extractable key in localStorage; the elements store keys in IndexedDB
  const kept = keep ? localStorage.getItem(username) : null;
  const rondevu = await Engine.connect({ apiUrl, username, ...more, ...(kept && { keypair: JSON.parse(kept) as Keypair }) });
  if (keep) localStorage.setItem(username, JSON.stringify(rondevu.getKeypair()));
  const HEAD = 8;
  const end: EndState = {
    rondevu,
    connection: undefined,
    connections: [],
    events: [],
    next: 0,
    wrong: [],
    bytes: 0,
    lastAt: 0,
    sent: 0,
    allowed: 0,
    outcomes: {},
    lost: 0,
    streaming: false,
    stream: async (count, seed, max) => {
      const connection = end.connection!;
      end.streaming = true;
      let state = seed >>> 0;
      const random = (): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32;
      };
      for (let i = 0; i < count; i++) {
        while (end.sent >= end.allowed) await new Promise((resolve) => setTimeout(resolve, 20));
        const length = Math.max(HEAD, Math.floor(max ** random()));
        const data = new Uint8Array(length).fill(end.sent % 251);
        new DataView(data.buffer).setUint32(0, end.sent);
        new DataView(data.buffer).setUint32(4, length);
        const handle = connection.send(data);
        void handle.delivered.then((outcome) => (end.outcomes[outcome] = (end.outcomes[outcome] ?? 0) + 1));
        end.sent++;
        // send only a few messages while the link is down; more would only fill the buffer
        let patience = 5;
        while (
          connection.bufferedAmount > 4_194_304 ||
          (connection.getState() !== 'connected' && i % 20 === 19 && patience > 0)
        ) {
          await new Promise((resolve) => setTimeout(resolve, 50));
          patience -= 0.05;
        }
        if (i % 8 === 7) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      end.streaming = false;
    },
  };
  const watch = (connection: RondevuConnection): void => {
    end.connections.push(connection);
    end.connection ??= connection;
    if (connection !== end.connection) return;
    for (const name of ['connected', 'disconnected', 'resumed', 'reset', 'closed', 'failed', 'reconnecting'] as const) {
      connection.on(name, (...args: unknown[]) => {
        const [detail] = args;
        end.events.push([name, performance.now(), detail instanceof Error ? detail.message : String(detail)]);
        if (name === 'reset') end.lost += (detail as unknown[]).length;
      });
    }
    if (plain) return;
    connection.on('message', (data) => {
      const bytes = new Uint8Array(data as ArrayBuffer);
      const view = new DataView(bytes.buffer);
      const number = view.getUint32(0);
      // a reopened page starts in the middle of the stream
      if (number !== end.next && !(keep && end.bytes === 0) && end.wrong.length < 10)
        end.wrong.push(`expected ${end.next}, got ${number}`);
      const whole = view.getUint32(4) === bytes.length && bytes.subarray(8).every((byte) => byte === number % 251);
      if (!whole && end.wrong.length < 10) end.wrong.push(`message ${number} was changed on its way`);
      end.next = number + 1;
      end.bytes += bytes.length;
      end.lastAt = Date.now();
    });
  };
  const connectionConfig = { maxBufferSize: 1_000_000, maxBufferAge: 0, maxReconnectAttempts: 0, ...config };
  if (service !== undefined) {
    rondevu.on('connection:opened', (_id, connection) => watch(connection as unknown as RondevuConnection));
    rondevu.on('connection:rotated', (from, into) => end.events.push(['rotated', performance.now(), `${from} ${into}`]));
    await (await rondevu.publishService({ service, maxOffers: 2, connectionConfig })).start();
  } else if (to !== undefined) {
    const connection = await rondevu.connectToService({ serviceFqn: to, connectionConfig, wait: 20_000 });
    watch(connection as unknown as RondevuConnection);
    await connection.opened;
  }
  return end;
}
