/**
 * Bytes between two streams and a connection. Two of these tell each other how much was written and where the input ended, so that a slow
 * output holds the other side's input back, and one direction may end before the other. To any other peer it is bytes, as they come.
 */
import type { Readable, Writable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { ConnectionError, type RondevuConnection } from '../node/index.js';

/** What the two say to each other, as text; everything else that is text is taken as bytes. */
type Word = { type: 'pipe' } | { type: 'pipe:written'; bytes: number } | { type: 'pipe:end' };

/** Bytes under way that nobody has said to have arrived. */
const MOST_QUEUED = 4 << 20;
/** Bytes that the other side has not written. */
const MOST_UNWRITTEN = 8 << 20;
/** And past this many from one that does not wait the connection is closed. */
const MOST_KEPT = 4 * MOST_UNWRITTEN;
/** How often is told what was written, in bytes. */
const TELL_EVERY = 1 << 20;
/** How long the other side may take to say that it is one of these, once it has all, in ms. */
const GREETING_WITHIN = 1000;
const LOOK_EVERY = 10;
/** As connections give it. */
const CLOSED_BY_PEER = 'closed by the peer';

export function wordOf(data: string | ArrayBuffer): Word | undefined {
  if (typeof data !== 'string' || data.length > 100 || !data.startsWith('{"type":"pipe')) return undefined;
  try {
    const word = JSON.parse(data) as Word;
    return /^pipe(:written|:end)?$/.test(word.type) ? word : undefined;
  } catch {
    return undefined;
  }
}

/** What keeps messages until there is a link: a pipe waits for the link, and loses nothing that it sent. */
export const PIPE_CONFIG = { maxBufferSize: 1_000_000, maxBufferAge: 0, maxReconnectAttempts: 0 };

/**
 * Has used buffers collected before many have gathered: of a long transfer V8 would else keep tens of MB, which matter more here than its
 * speed (V8 reads this flag as it runs; with werift 64 MB above idle become 29).
 */
export const saveMemory = (): void => setFlagsFromString('--optimize-for-size');

export interface PipeOptions {
  /** Messages that came before the pipe was made. */
  early?: (string | ArrayBuffer)[];
  /** Whether the output ends where the other side's input did. Default false. */
  endsOutput?: boolean;
}

export class Pipe {
  /** Bytes so far. */
  sent = 0;
  received = 0;
  readonly #connection: RondevuConnection;
  readonly #output: Writable;
  readonly #endsOutput: boolean;
  #input: Readable | undefined;
  /** The other side is one of these. */
  #isPipe = false;
  #theyWrote = 0;
  #written = 0;
  #told = 0;
  #theyEnded = false;
  /** Why the connection is over. */
  #closed: string | undefined;
  #failure: Error | undefined;
  #wakes: (() => void)[] = [];

  constructor(connection: RondevuConnection, output: Writable, { early = [], endsOutput = false }: PipeOptions = {}) {
    this.#connection = connection;
    this.#output = output;
    this.#endsOutput = endsOutput;
    connection.on('message', (data) => this.#take(data));
    connection.on('connected', () => this.#changed());
    connection.on('closed', (reason) => {
      this.#closed = reason;
      this.#changed();
    });
    connection.on('failed', (error) => {
      if (!error.willRetry) this.#fail(error);
    });
    connection.on('reset', () => {
      // so that it knows that an end now is no good one
      this.#say({ type: 'pipe' });
      this.#fail(new ConnectionError('closed', 'the other side began anew: what was under way is not whole'));
    });
    if (connection.getState() === 'closed') this.#closed = 'it was closed before';
    output.on('error', (error) => this.#outputFailed(error));
    this.#say({ type: 'pipe' });
    for (const data of early) this.#take(data);
  }

  /**
   * Sends the input to its end, and writes what comes until the other side has ended too; then the connection is closed.
   * @throws ConnectionError when the connection ended before that; what the streams throw
   */
  async run(input: Readable): Promise<void> {
    try {
      await this.#run(input);
    } catch (error) {
      // so that the other side knows too, and another attempt begins at the beginning
      await this.#connection.close({ discard: true });
      throw error;
    }
  }

  async #run(input: Readable): Promise<void> {
    this.#input = input;
    let delivered: Promise<unknown> = Promise.resolve('delivered');
    try {
      for await (const chunk of input) {
        while (!this.#isOver && !this.#mayGo) await this.#change();
        if (this.#isOver) break;
        delivered = this.#connection.send(chunk as Buffer).delivered;
        this.sent += (chunk as Buffer).length;
      }
    } catch (error) {
      // it was destroyed, because there is nobody to send to
      if (!this.#isOver) throw error;
    }
    let outcome: unknown;
    void delivered.then((settled) => {
      outcome = settled;
      this.#changed();
    });
    while (!this.#isOver && outcome === undefined) await this.#change();
    const end = performance.now() + GREETING_WITHIN;
    while (!this.#isOver && !this.#isPipe && performance.now() < end) await this.#change();
    if (this.#isPipe) this.#say({ type: 'pipe:end' });
    while (!this.#isOver && this.#isPipe && !this.#theyEnded) await this.#change();
    while (!this.#failure && this.#written < this.received) await this.#change();
    if (this.#failure) throw this.#failure;
    if (this.#closed !== undefined) this.#checkEnd(this.#closed, outcome);
    await this.#connection.close();
  }

  /** Whether the other side closed the connection when all was done. A peer that is none of these may close when it likes. */
  #checkEnd(reason: string, outcome: unknown): void {
    const isDone = this.#isPipe ? this.#theyEnded : outcome === 'delivered' || outcome === 'unknown';
    if (isDone && reason === CLOSED_BY_PEER) return;
    throw new ConnectionError('closed', `the connection ended before everything was through: ${reason}`);
  }

  get #isOver(): boolean {
    return this.#closed !== undefined || this.#failure !== undefined;
  }

  /** Whether the next chunk may go. */
  get #mayGo(): boolean {
    if (!this.#connection.isConnected() || this.#connection.bufferedAmount > MOST_QUEUED) return false;
    return !this.#isPipe || this.sent - this.#theyWrote < MOST_UNWRITTEN;
  }

  #take(data: string | ArrayBuffer): void {
    const word = wordOf(data);
    if (word) {
      this.#isPipe = true;
      if (word.type === 'pipe:written') this.#theyWrote = word.bytes;
      else if (word.type === 'pipe:end') this.#theyEnded = true;
      return this.#changed();
    }
    const bytes = typeof data === 'string' ? Buffer.from(data) : Buffer.from(data);
    this.received += bytes.length;
    if (this.received - this.#written > MOST_KEPT)
      return this.#fail(new ConnectionError('queue-full', 'the other side sends more than can be written, and does not wait'));
    this.#output.write(bytes, (error) => {
      if (error) this.#outputFailed(error);
      this.#written += bytes.length;
      if (this.#written - this.#told < TELL_EVERY && this.#written < this.received) return;
      this.#told = this.#written;
      if (this.#isPipe) this.#say({ type: 'pipe:written', bytes: this.#written });
      this.#changed();
    });
  }

  #say(word: Word): void {
    if (this.#isOver) return;
    try {
      this.#connection.send(JSON.stringify(word));
    } catch (error) {
      // closed in this moment, and told by `closed`
      if (!(error instanceof ConnectionError)) throw error;
    }
  }

  /** A program need not read all that it is given; what is left then goes nowhere. */
  #outputFailed(error: Error): void {
    if (!this.#endsOutput) this.#fail(error);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#changed();
  }

  #changed(): void {
    if (this.#isOver) this.#input?.destroy();
    if ((this.#isOver || this.#theyEnded) && this.#endsOutput) this.#output.end();
    for (const wake of this.#wakes.splice(0)) wake();
  }

  /** What is under way gets less without a word, so that is looked at now and then. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LOOK_EVERY);
      this.#wakes.push(() => (clearTimeout(timer), resolve()));
    });
  }
}
