/**
 * Copies bytes between two streams and a connection. Two connected pipes report to each other how many bytes were written and
 * where the input ended, so that a slow output pauses the peer's input and either direction can end first. A peer that is not a
 * pipe simply sends and receives bytes.
 */
import type { Readable, Writable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { ConnectionError, type EndCode, type RondevuConnection } from '../node/index.js';

/** Control messages that two pipes exchange as text; all other text is treated as data. */
type PipeMessage = { type: 'pipe' } | { type: 'pipe:written'; bytes: number } | { type: 'pipe:end' };

/** Maximum number of bytes sent but not yet acknowledged. */
const MAX_QUEUED = 4 << 20;
/** Maximum number of bytes sent but not yet written to the peer's output. */
const MAX_UNWRITTEN = 8 << 20;
/**
 * Maximum number of bytes received but not yet written; if a peer that ignores back-pressure exceeds it, the connection is
 * closed.
 */
const MAX_PENDING_OUTPUT = 4 * MAX_UNWRITTEN;
/** Number of written bytes after which `pipe:written` is sent. */
const REPORT_INTERVAL = 1 << 20;
/** How long to wait, once everything has been delivered, for the peer to identify itself as a pipe, in ms. */
const GREETING_TIMEOUT = 1000;
const POLL_INTERVAL = 10;

export function parsePipeMessage(data: string | ArrayBuffer): PipeMessage | undefined {
  if (typeof data !== 'string' || data.length > 100 || !data.startsWith('{"type":"pipe')) return undefined;
  try {
    const message = JSON.parse(data) as PipeMessage;
    return /^pipe(:written|:end)?$/.test(message.type) ? message : undefined;
  } catch {
    return undefined;
  }
}

/** Connection options that queue messages until a link is up, so that a pipe loses no data. */
export const PIPE_CONFIG = { maxBufferSize: 1_000_000, maxBufferAge: 0, maxReconnectAttempts: 0 };

/**
 * Makes V8 collect unused buffers early: a long transfer would otherwise retain tens of MB, and for a pipe, memory matters more
 * than speed (V8 reads this flag at run time; with werift, usage above idle drops from 64 MB to 29 MB).
 */
export const saveMemory = (): void => setFlagsFromString('--optimize-for-size');

export interface PipeOptions {
  /** Messages received before the pipe was created. */
  early?: (string | ArrayBuffer)[];
  /** Whether to end the output when the peer's input has ended. Default false. */
  endsOutput?: boolean;
}

export class Pipe {
  /** Number of bytes sent and received so far. */
  sent = 0;
  received = 0;
  readonly #connection: RondevuConnection;
  readonly #output: Writable;
  readonly #endsOutput: boolean;
  #input: Readable | undefined;
  /** Whether the peer has identified itself as a pipe. */
  #isPipe = false;
  #peerWritten = 0;
  #written = 0;
  #reported = 0;
  #peerEnded = false;
  /** Reason and code with which the connection was closed. */
  #closed: { reason: string; code: EndCode } | undefined;
  #failure: Error | undefined;
  #waiters: (() => void)[] = [];

  constructor(connection: RondevuConnection, output: Writable, { early = [], endsOutput = false }: PipeOptions = {}) {
    this.#connection = connection;
    this.#output = output;
    this.#endsOutput = endsOutput;
    connection.on('message', (data) => this.#receive(data));
    connection.on('connected', () => this.#changed());
    connection.on('closed', (reason, { code }) => {
      this.#closed = { reason, code };
      this.#changed();
    });
    connection.on('failed', (error) => {
      if (!error.willRetry) this.#fail(error);
    });
    connection.on('reset', () => {
      // identify as a pipe in the new session too, so that the peer treats the close that follows as a failure
      this.#sendControl({ type: 'pipe' });
      this.#fail(new ConnectionError('closed', 'the peer started another session during the transfer: the data is incomplete'));
    });
    if (connection.getState() === 'closed') this.#closed = { reason: 'it was already closed', code: 'closed' };
    output.on('error', (error) => this.#outputFailed(error));
    this.#sendControl({ type: 'pipe' });
    for (const data of early) this.#receive(data);
  }

  /**
   * Sends the input and writes received bytes until both inputs have ended, then closes the connection.
   * @throws ConnectionError if the connection ends before the transfer is complete; also rethrows errors from the streams
   */
  async run(input: Readable): Promise<void> {
    try {
      await this.#run(input);
    } catch (error) {
      // `discard` makes the transfer fail at the peer too, so that the next attempt starts from the beginning
      await this.#connection.close({ discard: true });
      throw error;
    }
  }

  async #run(input: Readable): Promise<void> {
    this.#input = input;
    let delivered: Promise<unknown> = Promise.resolve('delivered');
    try {
      for await (const chunk of input) {
        while (!this.#isOver && !this.#canSend) await this.#change();
        if (this.#isOver) break;
        delivered = this.#connection.send(chunk as Buffer).delivered;
        this.sent += (chunk as Buffer).length;
      }
    } catch (error) {
      // `#changed` destroys the input when the connection is over
      if (!this.#isOver) throw error;
    }
    let outcome: unknown;
    void delivered.then((settled) => {
      outcome = settled;
      this.#changed();
    });
    while (!this.#isOver && outcome === undefined) await this.#change();
    const end = performance.now() + GREETING_TIMEOUT;
    while (!this.#isOver && !this.#isPipe && performance.now() < end) await this.#change();
    if (this.#isPipe) this.#sendControl({ type: 'pipe:end' });
    while (!this.#isOver && this.#isPipe && !this.#peerEnded) await this.#change();
    while (!this.#failure && this.#written < this.received) await this.#change();
    if (this.#failure) throw this.#failure;
    if (this.#closed) this.#checkEnd(this.#closed, outcome);
    await this.#connection.close();
  }

  /**
   * Throws unless the peer closed the connection after the transfer was complete. A peer that is not a pipe does not have to
   * report the end of its input.
   */
  #checkEnd({ reason, code }: { reason: string; code: EndCode }, outcome: unknown): void {
    const isDone = this.#isPipe ? this.#peerEnded : outcome === 'delivered' || outcome === 'unknown';
    if (isDone && code === 'closed-by-peer') return;
    throw new ConnectionError('closed', `the connection ended before the transfer was complete: ${reason}`);
  }

  get #isOver(): boolean {
    return this.#closed !== undefined || this.#failure !== undefined;
  }

  /** Whether the next chunk may be sent. */
  get #canSend(): boolean {
    if (!this.#connection.isConnected() || this.#connection.bufferedAmount > MAX_QUEUED) return false;
    return !this.#isPipe || this.sent - this.#peerWritten < MAX_UNWRITTEN;
  }

  #receive(data: string | ArrayBuffer): void {
    const message = parsePipeMessage(data);
    if (message) {
      this.#isPipe = true;
      if (message.type === 'pipe:written') this.#peerWritten = message.bytes;
      else if (message.type === 'pipe:end') this.#peerEnded = true;
      return this.#changed();
    }
    const bytes = typeof data === 'string' ? Buffer.from(data) : Buffer.from(data);
    this.received += bytes.length;
    if (this.received - this.#written > MAX_PENDING_OUTPUT)
      return this.#fail(
        new ConnectionError('queue-full', 'the peer sends faster than the output is written and ignores back-pressure'),
      );
    this.#output.write(bytes, (error) => {
      if (error) this.#outputFailed(error);
      this.#written += bytes.length;
      if (this.#written - this.#reported < REPORT_INTERVAL && this.#written < this.received) return;
      this.#reported = this.#written;
      if (this.#isPipe) this.#sendControl({ type: 'pipe:written', bytes: this.#written });
      this.#changed();
    });
  }

  #sendControl(message: PipeMessage): void {
    if (this.#isOver) return;
    try {
      this.#connection.send(JSON.stringify(message));
    } catch (error) {
      // the connection has closed in the meantime; the `closed` handler reports it
      if (!(error instanceof ConnectionError)) throw error;
    }
  }

  /** Output errors are ignored if `endsOutput` is set, because a program does not have to read all of its input. */
  #outputFailed(error: Error): void {
    if (!this.#endsOutput) this.#fail(error);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#changed();
  }

  #changed(): void {
    if (this.#isOver) this.#input?.destroy();
    if ((this.#isOver || this.#peerEnded) && this.#endsOutput) this.#output.end();
    for (const resume of this.#waiters.splice(0)) resume();
  }

  /** Resolves at the next change, or after POLL_INTERVAL, because no event reports a decrease of `bufferedAmount`. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_INTERVAL);
      this.#waiters.push(() => (clearTimeout(timer), resolve()));
    });
  }
}
