/**
 * A push socket: its first frame opens a session; later frames are calls, acknowledgements and pongs. Monitors the heartbeat
 * and disconnects slow readers; see "Push" in docs/protocol.md.
 */
import type { WebSocket } from 'ws';
import { isAnonymousName, type ClientFrame, type OpenSessionResult, type ServerFrame } from 'rondevu-elements/protocol';
import type { Authenticator } from './auth.js';
import type { Caller } from './caller.js';
import { CLOSE, PAGE_LEFT } from './close-codes.js';
import type { Limits } from './limits.js';
import { MAX_BODY_VALUES, hasMoreValues } from './count-values.js';
import type { Dispatcher } from './dispatcher.js';
import {
  MAX_KEPT_EVENTS,
  MAX_SILENCE,
  type AnswerOrigin,
  type Ending,
  type Hub,
  type NumberedEvent,
  type Session,
} from './hub.js';
import type { FrameReceiver } from './incoming-frames.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { principalOf, usernameOf } from './principal.js';
import { NameLostError, RpcError } from './rpc-error.js';
import { MAX_SOCKET_WAIT, checkEnvelope, checkOpening } from './schemas.js';
import type { Tally } from './tally.js';
import type { Turn } from './turn.js';
import type { Reader, Unread } from './unread.js';

/** How long a socket may be open without a session, in ms. */
export const OPEN_TIMEOUT = 5000;
/** How long a ping may go unanswered, in ms. */
export const PONG_TIMEOUT = 3000;
/** Maximum number of unsent bytes per socket; above this limit, the reader is too slow and is disconnected. */
export const MAX_BUFFERED = 1_048_576;
/** Maximum number of concurrent calls per session, and of frames that may arrive before the session is open. */
export const MAX_CALLS = 512;
/** Number of acknowledgements, pings and pongs that together cost one point. */
export const SMALL_FRAMES_PER_POINT = 16;
/** Maximum size of a frame that is charged by SMALL_FRAMES_PER_POINT, in bytes. */
const MAX_SMALL_FRAME = 1024;
/** Size of a frame, in bytes, above which the socket is closed if the address has no points left. */
export const MAX_UNPAID_FRAME = 8192;
/** Maximum number of consecutive calls that may be refused with `rate-limited` before the socket is closed. */
export const MAX_REFUSED = 2 * MAX_CALLS;

/** How long a client that sends too much has to read the close reason before its socket is terminated, in ms. */
const REFUSAL_GRACE = 1000;

export interface SessionContext {
  hub: Hub;
  auth: Authenticator;
  dispatcher: Dispatcher;
  metrics: Metrics;
  log: Logger;
  limits: Limits;
  turn: Turn;
  caps: string[];
  /** Open sockets by key. */
  socketsOfKey: Tally;
  unread: Unread;
}

export class PushSession implements Session, Reader, FrameReceiver {
  principal = '';
  instance = '';
  readonly #socket: WebSocket;
  readonly #context: SessionContext;
  readonly #from: { address: string; host: string };
  /** Created for the first call that waits, because most sessions never have a waiting call. */
  #disconnect: AbortController | undefined;
  /** Answers whose joiner gets `taken` once the publisher has acknowledged them. */
  #unacknowledged: { seq: number; answer: AnswerOrigin }[] = [];
  #caller: Caller | undefined;
  /** Events that arrive before the reply to openSession has been sent. */
  #early: NumberedEvent[] | undefined = [];
  #isClosedByServer = false;
  /** Whether the socket has been closed; frames that arrive later are ignored. */
  #hasEnded = false;
  #releaseSlot: (() => void) | undefined;
  /** Resolves when openSession has been handled; later frames wait for it. */
  #opening: Promise<void> = Promise.resolve();
  #framesBeforeOpen = 0;
  /** Number of acknowledgements, pings and pongs that have not been charged yet. */
  #uncharged = 0;
  #calls = 0;
  /** Number of consecutive calls that were refused with `rate-limited`. */
  #refused = 0;
  /** Frames to be sent at the end of this turn of the event loop, and their total length. */
  #outgoing: string[] = [];
  #outgoingLength = 0;
  /** Time at which the last frame arrived or the socket was opened, on the monotonic clock, like `#pinged`. */
  #lastFrame = performance.now();
  #pinged = 0;

  constructor(socket: WebSocket, from: { address: string; host: string }, context: SessionContext) {
    this.#socket = socket;
    this.#from = from;
    this.#context = context;
    socket.on('message', (data, binary) => {
      // an error in a frame ends its socket, not the process
      this.#receive(data as Buffer, binary).catch((err: unknown) => {
        context.log.error({ err }, 'could not handle a frame');
        socket.terminate();
      });
    });
    // ws answers pings by itself
    for (const event of ['ping', 'pong'] as const)
      socket.on(event, (data: Buffer) => {
        if (this.#hasEnded) socket.pause();
        else void this.#chargeSmallFrame(data.length);
      });
    socket.on('close', (code) => this.#closed(code));
    socket.on('error', () => socket.terminate()); // emitted for a frame that is too large or malformed; `close` follows
  }

  get address(): string {
    return this.#from.address;
  }

  get isOpen(): boolean {
    return this.#caller !== undefined;
  }

  get unread(): number {
    return this.#socket.bufferedAmount + this.#outgoingLength;
  }

  /** Closes the socket of a client that sends too much. A client that does not read could delay the closing handshake. */
  refuse(reason: string, code: number = CLOSE.tooMuch): void {
    if (this.#hasEnded) return;
    this.#close(code, reason);
    setTimeout(() => this.#socket.terminate(), REFUSAL_GRACE).unref();
  }

  /** Terminates the socket of a slow reader. */
  cutOff(): void {
    const { metrics, log } = this.#context;
    metrics.slowReader();
    log.warn({ username: usernameOf(this.principal), address: this.address }, 'closed the socket of a slow reader');
    this.#socket.terminate();
  }

  deliver(event: NumberedEvent): void {
    if (this.#early) return void this.#early.push(event);
    const { seq, answer } = event;
    if (answer) {
      this.#unacknowledged.push({ seq, answer });
      if (this.#unacknowledged.length > MAX_KEPT_EVENTS) this.#unacknowledged.shift();
    }
    this.#sendText(`{"event":"${event.event}","data":${event.text},"seq":${seq}}`);
  }

  nameLost(): void {
    this.#close(CLOSE.nameLost, 'the username was given up or belongs to another key');
  }

  replaced(): void {
    this.#close(CLOSE.replaced, 'a newer socket of this instance was opened');
  }

  /** Closes the socket because the server is stopping. */
  close(): void {
    this.#isClosedByServer = true;
    this.#close(CLOSE.stopping, 'the server is shutting down');
  }

  /** Call this every second. */
  watch(): void {
    this.#context.unread.note(this);
    const silence = performance.now() - this.#lastFrame;
    if (!this.#caller) {
      if (silence >= OPEN_TIMEOUT) this.#close(CLOSE.noSession, 'no openSession within 5 s');
    } else if (silence >= MAX_SILENCE + PONG_TIMEOUT) {
      this.#close(CLOSE.silent, 'no reply to ping');
      this.#socket.terminate();
    } else if (silence >= MAX_SILENCE && this.#pinged < this.#lastFrame) {
      this.#pinged = performance.now();
      this.#send({ ping: true });
    }
  }

  async #receive(data: Buffer, binary: boolean): Promise<void> {
    if (this.#caller) this.#lastFrame = performance.now();
    // frames still buffered for a closed socket are ignored
    if (this.#hasEnded || this.#socket.readyState !== this.#socket.OPEN) return;
    // reading a large frame costs more than refusing it
    if (data.length > MAX_UNPAID_FRAME && !(await this.#hasPoints())) return;
    if (hasMoreValues(data, MAX_BODY_VALUES))
      return this.#close(CLOSE.tooLarge, `more than ${MAX_BODY_VALUES} values in a frame`);
    const frame = binary ? undefined : parseFrame(String(data));
    if (!frame) {
      this.#close(CLOSE.notJson, 'frames are JSON objects as text');
    } else if (this.#caller) {
      await this.#handle(frame, data.length);
    } else if (++this.#framesBeforeOpen > MAX_CALLS) {
      this.refuse(`more than ${MAX_CALLS} frames before the session is open`);
    } else {
      // frames are handled one by one until the session is open; later calls run concurrently
      let isCall = false;
      this.#opening = this.#opening.then(() => {
        isCall = this.#caller !== undefined;
        return isCall || this.#hasEnded ? undefined : this.#open(frame, data.length);
      });
      await this.#opening;
      if (isCall) await this.#handle(frame, data.length);
    }
  }

  async #handle(frame: Record<string, unknown>, bytes: number): Promise<void> {
    if (typeof frame['ack'] === 'number') {
      await this.#chargeSmallFrame(bytes);
      this.#acknowledged(frame['ack']);
    } else if (typeof frame['id'] === 'number' && typeof frame['method'] === 'string') {
      await this.#call(frame as ClientFrame & { id: number; method: string; params?: unknown }, bytes);
    } else if ('pong' in frame) {
      await this.#chargeSmallFrame(bytes);
    } else if (await this.#chargeBytes(bytes, 1)) {
      this.#send({
        id: typeof frame['id'] === 'number' ? frame['id'] : 0,
        error: { code: 'bad-request', message: 'a frame must be {id, method, params}, {ack} or {pong}' },
      });
    }
  }

  async #chargeSmallFrame(bytes: number): Promise<void> {
    this.#uncharged = (this.#uncharged + 1) % SMALL_FRAMES_PER_POINT;
    if (this.#uncharged === 0 || bytes > MAX_SMALL_FRAME) await this.#chargeBytes(bytes, 1);
  }

  /** Charges for a frame that is not a call. @returns false if no points are left; the socket is then closed */
  async #chargeBytes(bytes: number, minimum: number): Promise<boolean> {
    try {
      await this.#context.auth.chargeBytes(this.#from.address, bytes, minimum);
      return true;
    } catch {
      this.refuse('too many frames');
      return false;
    }
  }

  /** @returns whether the address has points left; if not, the socket is closed */
  async #hasPoints(): Promise<boolean> {
    try {
      await this.#context.auth.checkAddress(this.#from.address);
      return true;
    } catch {
      this.refuse('too many bytes');
      return false;
    }
  }

  async #open(frame: Record<string, unknown>, bytes: number): Promise<void> {
    const { auth, hub, limits, caps, socketsOfKey } = this.#context;
    const id = typeof frame['id'] === 'number' ? frame['id'] : 0;
    try {
      await auth.chargeBytes(this.#from.address, bytes);
      const call = checkEnvelope(frame);
      if (call.method !== 'openSession')
        throw new RpcError('unauthorized', `The first frame must be openSession, got ${call.method}`);
      const { instance, resume } = checkOpening(call.params);
      const caller = await auth.authenticate(call, this.#from.address, this.#from.host, Date.now());
      if (this.#socket.readyState !== this.#socket.OPEN) return;
      this.#releaseSlot = socketsOfKey.take(caller.publicKey);
      if (!this.#releaseSlot)
        throw new RpcError('rate-limited', `At most ${limits.maxSocketsPerKey} sockets per key`, { retryAfter: MAX_SILENCE });
      this.principal = principalOf(caller);
      this.instance = instance;
      const { epoch, seq } = await hub.opened(this, resume, Date.now());
      // the client may have disconnected or lost its name in the meantime, and `#closed` notifies the hub only of open sessions
      if (this.#hasEnded || this.#socket.readyState !== this.#socket.OPEN)
        return void (await hub.closed(this, this.#isClosedByServer ? 'closed-here' : 'broken'));
      this.#caller = caller;
      this.#lastFrame = performance.now();
      const { maxBodyBytes, maxOffers, maxCandidates } = limits;
      const ice = this.#context.turn.iceServersIfAvailable(caller, !isAnonymousName(caller.username), Date.now());
      const result: OpenSessionResult = {
        epoch,
        seq,
        serverTime: Date.now(),
        caps,
        limits: { maxFrameBytes: maxBodyBytes, maxOffers, maxCandidates },
        ...(ice && { iceServers: ice.iceServers, iceTtl: ice.ttl }),
      };
      this.#send({ id, result });
      const early = this.#early ?? [];
      this.#early = undefined;
      for (const event of early) this.deliver(event);
    } catch (error) {
      // the hub may have registered the session before something else failed
      this.#releaseSlot?.();
      if (this.instance) hub.closed(this, 'broken').catch(() => undefined);
      this.#sendError(id, error);
      if (!(error instanceof RpcError && error.code === 'clock-skew')) this.#close(CLOSE.noSession, 'openSession was refused');
    }
  }

  async #call({ id, method, params }: { id: number; method: string; params?: unknown }, bytes: number): Promise<void> {
    const { dispatcher, hub } = this.#context;
    if (this.#calls >= MAX_CALLS)
      return this.#sendError(id, new RpcError('rate-limited', `At most ${MAX_CALLS} calls at once on one socket`));
    this.#calls++;
    try {
      await hub.touch(this.principal, this.instance, this.#lastFrame);
      // the instance is taken from the session, so that nobody can impersonate another instance
      const own =
        params === undefined || (typeof params === 'object' && params !== null && !Array.isArray(params))
          ? { ...params, instance: this.instance }
          : params;
      const result = await dispatcher.dispatchInSession(method, own, bytes, this.#caller!, MAX_SOCKET_WAIT, () =>
        this.#disconnectSignal(),
      );
      this.#refused = 0;
      this.#sendText(`{"id":${JSON.stringify(id)},"result":${result}}`);
    } catch (error) {
      this.#sendError(id, error);
      // if the caller is out of points, a large frame closes the socket: parsing it takes time even before it is known to be a
      // call
      const isRefused = error instanceof RpcError && error.code === 'rate-limited';
      this.#refused = isRefused ? this.#refused + 1 : 0;
      if (isRefused && bytes > MAX_UNPAID_FRAME) this.refuse('too many bytes');
      else if (this.#refused > MAX_REFUSED) this.refuse('too many calls');
      if (error instanceof NameLostError) this.nameLost();
    } finally {
      this.#calls--;
    }
  }

  #disconnectSignal(): AbortSignal {
    this.#disconnect ??= new AbortController();
    if (this.#socket.readyState === this.#socket.CLOSED) this.#disconnect.abort();
    return this.#disconnect.signal;
  }

  #acknowledged(seq: number): void {
    const { hub } = this.#context;
    for (const { answer } of this.#unacknowledged.filter((entry) => entry.seq <= seq)) {
      hub
        .push(answer.answerer, answer.instance, 'taken', { offerId: answer.offerId })
        .catch((err: unknown) => this.#context.log.warn({ err }, 'could not notify a joiner that its answer was received'));
    }
    this.#unacknowledged = this.#unacknowledged.filter((entry) => entry.seq > seq);
  }

  #sendError(id: number, error: unknown): void {
    const { code, message, details } = this.#context.dispatcher.publicError(error);
    this.#send({ id, error: { code, message, ...details } });
  }

  /**
   * Sends a frame at the end of the current turn of the event loop, together with the frames of other sessions: most of the
   * cost of a reply is waking the process that reads it, and many such processes read several sockets.
   */
  #send(frame: ServerFrame): void {
    this.#sendText(JSON.stringify(frame));
  }

  #sendText(text: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    // replies of one turn may be large, and a fast reader that accepts them immediately is not a slow reader
    if (this.#outgoingLength > MAX_BUFFERED) this.#flush();
    if (this.#socket.bufferedAmount > MAX_BUFFERED) return this.cutOff();
    this.#outgoingLength += text.length;
    if (this.#outgoing.push(text) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const frames = this.#outgoing;
    // a new array is used because every idle socket would otherwise keep the memory of its emptied array
    this.#outgoing = [];
    this.#outgoingLength = 0;
    for (const text of frames) this.#socket.send(text);
    this.#context.unread.note(this);
  }

  #close(code: number, reason: string): void {
    this.#hasEnded = true;
    this.#flush();
    this.#socket.close(code, reason);
  }

  #closed(code: number): void {
    this.#hasEnded = true;
    this.#disconnect?.abort();
    this.#releaseSlot?.();
    this.#context.unread.forget(this);
    if (!this.#caller) return;
    const ending: Ending = this.#isClosedByServer ? 'closed-here' : code === PAGE_LEFT ? 'left' : 'broken';
    const { hub, log } = this.#context;
    hub.closed(this, ending).catch((err: unknown) => log.warn({ err }, 'could not store the end of a session'));
  }
}

function parseFrame(text: string): Record<string, unknown> | undefined {
  try {
    const frame: unknown = JSON.parse(text);
    return typeof frame === 'object' && frame !== null && !Array.isArray(frame) ? (frame as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
