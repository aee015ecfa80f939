/**
 * The push socket: opens a session, carries calls and events, answers the server's heartbeat, and reconnects automatically. See
 * docs/protocol.md, "Push". This class does not interpret the events.
 */
import { ExponentialBackoff } from '../base/backoff.js';
import { Emitter } from '../base/emitter.js';
import { NetworkError, RondevuError } from '../errors.js';
import { PUSH_SUBPROTOCOL, type OpenSessionResult, type PushEvents } from '../protocol/rpc.js';
import { CALL_TIMEOUT } from './http-transport.js';
import type { RequestSigner } from './request-signer.js';
import { checkResult, parseFrame } from './server-messages.js';
import { ServerError } from './server-error.js';

/** How long the socket may be silent before it is considered dead, in ms; the server sends a ping every 15 s. */
const SILENCE = 40_000;

export interface PushSocketEvents {
  /** If `resumes` is true, the server then sends the missed events or `resync`. */
  open: [session: OpenSessionResult, resumes: boolean];
  /** `refused` is set if the server rejected the session itself; the socket then does not reconnect. */
  close: [refused: RondevuError | undefined];
  /** A listener that does not handle the event sets `handled.done` to false. */
  event: [name: keyof PushEvents, data: PushEvents[keyof PushEvents], handled: { done: boolean }];
}

interface Pending {
  method: string;
  params: unknown;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  done(): void;
}

export class PushSocket extends Emitter<PushSocketEvents> {
  readonly #url: string;
  readonly #WebSocket: typeof WebSocket;
  readonly #signer: RequestSigner;
  readonly #instance: string;
  readonly #pending = new Map<number, Pending>();
  readonly #backoff = new ExponentialBackoff({ base: 500, max: 15_000, jitter: 0.3 });
  #socket: WebSocket | undefined;
  #nextId = 1;
  /** Epoch of the session and sequence number of the last event received, for resuming. */
  #session: { epoch: string; seq: number } | undefined;
  #lastFrame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wanted = false;
  #suspended = false;
  #hasWarned = false;

  constructor(baseUrl: string, WebSocketClass: typeof WebSocket, signer: RequestSigner, instance: string) {
    super();
    this.#url = `${baseUrl.replace(/^http/, 'ws')}/ws`;
    this.#WebSocket = WebSocketClass;
    this.#signer = signer;
    this.#instance = instance;
  }

  /** Whether a session is open. */
  isOpen = false;

  /** Opens the socket, and reopens it whenever it closes, until `stop()` is called. */
  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }

  stop(): void {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Closes the socket until `retryNow()` is called, because browsers disconnect a frozen page without firing an event. */
  suspend(): void {
    this.#suspended = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Reconnects immediately instead of waiting for the backoff delay. */
  retryNow(): void {
    this.#suspended = false;
    if (!this.#wanted) return;
    if (this.#socket && performance.now() - this.#lastFrame > SILENCE) this.#drop();
    if (this.#socket) return;
    this.#backoff.reset();
    this.#connect();
  }

  /**
   * Makes a call over the open session.
   * @throws ServerError with the server's code, NetworkError if the socket closes before the reply arrives
   */
  async request(method: string, params: unknown, wait = 0, signal?: AbortSignal): Promise<unknown> {
    if (!this.isOpen) throw new NetworkError('the push socket is not open');
    return this.#ask(method, { method, params }, params, wait, signal);
  }

  #ask(method: string, frame: object, params: unknown, wait = 0, signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const id = this.#nextId++;
      const timer = setTimeout(
        () => fail(new NetworkError(`${method}: no reply within ${CALL_TIMEOUT + wait} ms`)),
        CALL_TIMEOUT + wait,
      );
      const onAbort = () => fail(signal!.reason);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(id);
      };
      const fail = (error: unknown) => (done(), reject(error));
      signal?.addEventListener('abort', onAbort);
      this.#pending.set(id, { method, params, resolve, reject, done });
      this.#send({ id, ...frame });
    });
  }

  #connect(): void {
    clearTimeout(this.#timer);
    let socket: WebSocket;
    try {
      socket = new this.#WebSocket(this.#url, PUSH_SUBPROTOCOL);
    } catch {
      return this.#later(); // a Content Security Policy may block the socket; polling continues
    }
    this.#socket = socket;
    this.#lastFrame = performance.now();
    socket.onopen = () => void this.#openSession(socket, true);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = () => socket === this.#socket && this.#closed();
    socket.onerror = () => undefined; // `close` follows
    this.#timer = setTimeout(() => this.#watch(), SILENCE);
  }

  async #openSession(socket: WebSocket, mayRetry: boolean): Promise<void> {
    try {
      const resume = this.#session;
      const frame = await this.#signer.sign('openSession', { instance: this.#instance, ...(resume && { resume }) });
      if (socket !== this.#socket) return;
      const session = (await this.#ask('openSession', frame, frame.params)) as OpenSessionResult;
      if (socket !== this.#socket) return;
      this.#backoff.reset();
      this.isOpen = true;
      this.#session = { epoch: session.epoch, seq: session.epoch === resume?.epoch ? resume.seq : session.seq };
      // after a resume, the server sends the missed events, or `resync` if they are no longer available
      this.emit('open', session, resume !== undefined && session.caps.includes('resume'));
    } catch (error) {
      if (socket !== this.#socket) return;
      // the server sent no reply, or a malformed reply
      if (error instanceof NetworkError) return this.#drop();
      const serverTime = error instanceof ServerError && mayRetry ? error.serverTime : undefined;
      if (serverTime !== undefined && this.#signer.setServerTime(serverTime)) return this.#openSession(socket, false);
      // retries after `unavailable` and `rate-limited` errors
      const passes = error instanceof RondevuError && /^(unavailable|rate-limited)$/.test(error.code);
      this.#wanted = passes;
      this.#drop(passes || !(error instanceof RondevuError) ? undefined : error);
    }
  }

  /** Must not throw, because the socket calls this method directly. */
  #receive(data: unknown): void {
    this.#lastFrame = performance.now();
    const frame = parseFrame(data);
    if (!frame) {
      if (!this.#hasWarned)
        console.warn(`rondevu: ${this.#url} sent a frame that is malformed or unknown; all such frames are ignored`);
      this.#hasWarned = true;
      return;
    }
    if ('event' in frame) {
      const { seq } = frame;
      if (this.#session) {
        // delivery is at-least-once: events received before the socket closed may be repeated
        if (seq <= this.#session.seq) return;
        this.#session.seq = seq;
      }
      const handled = { done: true };
      this.emit('event', frame.event, frame.data, handled);
      // acknowledges only answers that a listener handled; the joiner then receives `taken`
      if (frame.event === 'answer' && handled.done) this.#send({ ack: seq });
      return;
    }
    if ('ping' in frame) return this.#send({ pong: true });
    const pending = this.#pending.get(frame.id);
    if (!pending) return;
    const { method, params, resolve, reject, done } = pending;
    done();
    if ('error' in frame) return reject(new ServerError(method, { ...frame.error, error: frame.error?.message }));
    try {
      resolve(checkResult(method, params, frame.result));
    } catch (error) {
      reject(error);
    }
  }

  #watch(): void {
    const silence = performance.now() - this.#lastFrame;
    if (silence >= SILENCE) this.#drop();
    else this.#timer = setTimeout(() => this.#watch(), SILENCE - silence + 100);
  }

  /** Closes the socket without waiting for its close event, which may take minutes on a dead connection. */
  #drop(refused?: RondevuError): void {
    if (!this.#socket) return;
    this.#socket.close();
    this.#closed(refused);
  }

  #closed(refused?: RondevuError): void {
    this.#socket = undefined;
    this.isOpen = false;
    const error = refused ?? new NetworkError('the push socket closed before the reply came');
    for (const { reject, done } of [...this.#pending.values()]) {
      done();
      reject(error);
    }
    this.emit('close', refused);
    this.#later();
  }

  #later(): void {
    clearTimeout(this.#timer);
    if (this.#wanted && !this.#suspended) this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #send(frame: object): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }
}
