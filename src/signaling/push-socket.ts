/**
 * The push socket: opens a session, carries calls and events, answers the server's heartbeat, and comes back by itself.
 * docs/protocol.md, "Push". Knows nothing of what the events mean.
 */
import { ExponentialBackoff } from '../base/backoff.js';
import { Emitter } from '../base/emitter.js';
import { NetworkError, RondevuError } from '../errors.js';
import { PUSH_SUBPROTOCOL, type OpenSessionResult, type PushEvents } from '../protocol/rpc.js';
import { CALL_TIMEOUT } from './http-transport.js';
import type { RequestSigner } from './request-signer.js';
import { checkResult, parseFrame } from './server-messages.js';
import { ServerError } from './server-error.js';

/** Past this silence the socket is taken for dead: the server sends a ping every 15 s. In ms. */
const SILENCE = 40_000;

export interface PushSocketEvents {
  /** `resumes`: what was missed follows, or `resync`. */
  open: [session: OpenSessionResult, resumes: boolean];
  /** `refused` when the server said no to the session itself; it is not tried again then. */
  close: [refused: RondevuError | undefined];
  /** Who did not take it sets `handled.done` to false. */
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
  /** What to resume with. */
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

  /** Opens the socket, and again whenever it closes, until `stop`. */
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

  /** Lets go of the socket until `retryNow`, as a page that is put aside: the browser would cut it off without telling. */
  suspend(): void {
    this.#suspended = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Tries at once instead of when the backoff says. */
  retryNow(): void {
    this.#suspended = false;
    if (!this.#wanted) return;
    if (this.#socket && performance.now() - this.#lastFrame > SILENCE) this.#drop();
    if (this.#socket) return;
    this.#backoff.reset();
    this.#connect();
  }

  /**
   * A call over the open session.
   * @throws ServerError as the server says, NetworkError when the socket closes before the reply
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
      return this.#later(); // a Content Security Policy may forbid it; polling goes on
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
      // events follow for a client that resumes where the server can, `resync` where it cannot
      this.emit('open', session, resume !== undefined && session.caps.includes('resume'));
    } catch (error) {
      if (socket !== this.#socket) return;
      // no reply, or a malformed one
      if (error instanceof NetworkError) return this.#drop();
      const serverTime = error instanceof ServerError && mayRetry ? error.serverTime : undefined;
      if (serverTime !== undefined && this.#signer.setServerTime(serverTime)) return this.#openSession(socket, false);
      // a server in trouble, or one that has too many at once, is asked again
      const passes = error instanceof RondevuError && /^(unavailable|rate-limited)$/.test(error.code);
      this.#wanted = passes;
      this.#drop(passes || !(error instanceof RondevuError) ? undefined : error);
    }
  }

  /** Must not throw: it is called by the socket. */
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
        // at least once: what came before the socket broke may come again
        if (seq <= this.#session.seq) return;
        this.#session.seq = seq;
      }
      const handled = { done: true };
      this.emit('event', frame.event, frame.data, handled);
      // only what somebody has taken is acknowledged; the joiner hears `taken` after this
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

  /** Lets go of the socket at once; a dead one may take minutes to say that it closed. */
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
