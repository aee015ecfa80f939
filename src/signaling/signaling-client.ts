/**
 * SignalingClient: the engine's interface to the signaling server. Opens the push socket with the first call, polls if no
 * socket is open, emits each event once, and hides the differences between old and new servers.
 */
import { randomId } from '../base/bytes.js';
import { Emitter } from '../base/emitter.js';
import { sleep } from '../base/timers.js';
import { NetworkError, RondevuError } from '../errors.js';
import type {
  AnswerInfo,
  CandidateInfo,
  IceServersResult,
  PublishParams,
  PublishResult,
  PushEvents,
  RpcMethod,
  RpcParams,
  RpcResult,
  ServiceEntry,
  SignalParams,
  WireCandidate,
} from '../protocol/rpc.js';
import { PushSocket } from './push-socket.js';
import type { CallOptions, RpcClient } from './rpc-client.js';
import type { PublisherPort, PollingOptions, WatchHandlers } from './signaling-port.js';

/**
 * How the signaling server is reached: `idle` before the first call and after `close()`, `connecting` while the push socket
 * opens, `push` over the socket, `polling` over HTTP. `offline`: the server cannot be reached (error code `unavailable`) or
 * refused the session (any other code); the state remains until the server answers.
 */
export type SignalingState = 'idle' | 'connecting' | 'push' | 'polling' | 'offline';

export interface SignalingEvents {
  answer: [answer: AnswerInfo];
  demand: [demand: PushEvents['demand']];
  /** A signal from the peer of a session. */
  signal: [signal: PushEvents['signal']];
  /** `offline` always has an `error`; the event is emitted again when the error changes. */
  state: [state: SignalingState, error?: RondevuError];
  /** The server may have lost this client's state, so services must be published again. */
  reset: [];
  /** Emitted when a reply contains ICE servers. */
  ice: [served: Pick<IceServersResult, 'iceServers' | 'ttl'>];
}

/** Polling intervals in ms: the minimum, the interval after activity, and the maximum while idle. */
const POLL_MIN = 50;
const POLL_BUSY = 250;
const POLL_IDLE = 5000;
/** Maximum `wait` of one call, over the push socket and over HTTP respectively, in ms. */
const WAIT_PUSH = 60_000;
const WAIT_HTTP = 20_000;
/** A server that replies to a queued call sooner than this, in ms, is called less often, because it ignores `wait`. */
const MIN_QUEUED = 1000;
/** How far the server's clock may be ahead of the local estimate, in ms; v0.5.4 servers tolerate this difference. */
const MAX_CLOCK_SKEW = 300_000;
/** How long a joiner waits for the push socket before it is queued over HTTP, in ms. */
const SOCKET_TIMEOUT = 3000;

interface Handshake extends WatchHandlers {
  offerId: string;
  serviceFqn: string;
  answering: boolean;
  since: number;
  /** Polling interval for the candidates of this handshake, in ms, and the time at which polling ends. */
  interval: number;
  pollUntil: number;
}

export class SignalingClient extends Emitter<SignalingEvents> implements PublisherPort {
  readonly api: RpcClient;
  /** Id that distinguishes this client from other clients of the same user. */
  readonly instance = randomId(12);
  state: SignalingState = 'idle';
  /** Reason why the state is `offline`; undefined in every other state. */
  error: RondevuError | undefined;
  /** Capabilities of the server; undefined before the first reply, empty for v0.5.4. */
  caps: ReadonlySet<string> | undefined;
  readonly #socket: PushSocket | undefined;
  /** Current handshakes; with an old server, candidates must be requested for each handshake. */
  readonly #handshakes = new Set<Handshake>();
  #since = 0;
  #pollTimer: ReturnType<typeof setTimeout> | undefined;
  #pollDelay = POLL_BUSY;
  #opened = false;
  /** Whether the server refused the session; the `offline` state then ends only with a successful call. */
  #isRefused = false;
  /** Whether the last poll received no reply. */
  #failed = false;
  #closed = false;

  constructor(api: RpcClient, WebSocketClass: typeof WebSocket | undefined) {
    super();
    this.api = api;
    api.onCaps = (caps) => this.#onCaps(caps);
    if (!WebSocketClass) return;
    this.#socket = new PushSocket(api.baseUrl, WebSocketClass, api.signer, this.instance);
    api.socket = this.#socket;
    this.#socket.on('open', ({ caps, iceServers, iceTtl }, resumes) => {
      this.#emitIce(iceServers, iceTtl);
      this.caps = new Set(caps);
      this.#setState('push');
      // offers may have been published over HTTP before the socket opened, or events may have been missed while it was closed
      if (!resumes) this.#resync();
      this.#opened = true;
    });
    this.#socket.on('close', (refused) => {
      this.#isRefused = refused !== undefined;
      if (refused) return this.#setState('offline', refused);
      // a socket that fails to connect does not show whether the server is reachable, but a poll does
      if (this.state === 'connecting' && this.caps) return void this.#pollOn();
      if (this.state === 'push') this.#setState('connecting');
      this.#schedulePoll(POLL_BUSY);
    });
    this.#socket.on('event', (name, data, handled) => this.#onPush(name, data, handled));
  }

  /** Whether the server has a capability beyond v0.5.4; false until known. */
  can(cap: string): boolean {
    return this.caps?.has(cap) ?? false;
  }

  /** Makes a call; the first call also opens the push socket. */
  async call<M extends RpcMethod>(method: M, params: RpcParams<M>, options?: CallOptions): Promise<RpcResult<M>> {
    if (this.#closed) throw new RondevuError('closed', `${method}: this client was closed`);
    const result = this.api.call(method, params, options);
    if (this.state === 'idle') {
      this.#setState('connecting');
      this.#socket?.start();
    }
    try {
      const reply = await result;
      if (this.state === 'offline') this.#setState('polling');
      return reply;
    } catch (error) {
      if (error instanceof NetworkError && !this.#socket?.isOpen) this.#setState('offline', error);
      throw error;
    }
  }

  /**
   * Gets a service with an offer that is leased to this call. Waits in the server's queue, or retries if the server has no
   * queue.
   * @param target name or id of the service
   * @param wait how long to wait, in ms; Infinity for no limit
   * @param onWaiting called when the search continues after a failure, and again when the failure changes: `not-found` or
   *   `no-offer` if no host is available, `unavailable` if the server cannot be reached, `rate-limited` if it refuses the call
   *   for now
   * @throws RondevuError `not-found` or `no-offer` when the wait is over; the signal's abort reason if it is aborted
   */
  async findOffer(
    target: string,
    wait: number,
    onWaiting: (reason: RondevuError) => void,
    signal: AbortSignal,
  ): Promise<ServiceEntry> {
    const end = performance.now() + wait;
    let reportedKind: string | undefined;
    for (let asked = 0; ; asked++) {
      // browsers allow few simultaneous HTTP requests, and a waiting request delays the others
      if (asked > 0 && this.can('push') && this.state === 'connecting') await this.#socketSettled(signal);
      const start = performance.now();
      const left = Math.max(0, end - start);
      // joins the queue only after the server has reported that no host is available: a queued call is answered late
      const queueTime =
        reportedKind === 'absent' && this.can('wait') ? Math.min(left, this.#socket?.isOpen ? WAIT_PUSH : WAIT_HTTP) : 0;
      try {
        const params = { instance: this.instance, ...(queueTime > 0 && { wait: Math.round(queueTime) }) };
        const options = { urgent: true, signal };
        const entry = (await (target.includes(':')
          ? this.call('getService', { serviceFqn: target, ...params }, options)
          : this.call('getServiceById', { serviceId: target, ...params }, options))) as ServiceEntry;
        this.#emitIce(entry.iceServers, entry.iceTtl);
        return entry;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RondevuError) || performance.now() >= end) throw error;
        const isAbsent = /^(not-found|no-offer)$/.test(error.code);
        if (!isAbsent && !/^(unavailable|rate-limited)$/.test(error.code)) throw error;
        const kind = isAbsent ? 'absent' : error.code;
        if (kind !== reportedKind) onWaiting(error);
        reportedKind = kind;
        // the queue already delays the reply; without a queue, or if the server ignores `wait`, pause 1 s, 2 s … 5 s
        const ignoresWait = queueTime > 0 && performance.now() < start + MIN_QUEUED;
        const pause =
          this.can('wait') && isAbsent && !ignoresWait ? 0 : Math.min(1000 * (asked + 1), 5000, end - performance.now());
        await sleep(pause, signal);
      }
    }
  }

  /** Resolves when the push socket is open or is not expected to open soon. */
  async #socketSettled(signal: AbortSignal): Promise<void> {
    const end = performance.now() + SOCKET_TIMEOUT;
    while (this.state === 'connecting' && performance.now() < end) await sleep(20, signal);
  }

  #emitIce(iceServers: IceServersResult['iceServers'] | undefined, ttl = 0): void {
    if (iceServers) this.emit('ice', { iceServers, ttl });
  }

  /** Resolves to undefined if the server has no ICE servers or cannot be reached. Never rejects. */
  async fetchIceServers(): Promise<IceServersResult | undefined> {
    // every server supports `poll`, and its reply reveals the capabilities of the server
    if (!this.caps) await this.#poll(0);
    if (!this.can('ice')) return undefined;
    return this.call('getIceServers', {}, { urgent: true }).catch(() => undefined);
  }

  answerOffer({ serviceFqn, offerId }: ServiceEntry, sdp: string) {
    return this.call('answerOffer', { serviceFqn, offerId, sdp, instance: this.instance }, { urgent: true });
  }

  addCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]) {
    return this.call('addIceCandidates', { serviceFqn, offerId, candidates, instance: this.instance });
  }

  async signal(params: SignalParams): Promise<void> {
    if (this.can('signal')) await this.call('signal', params).catch(() => undefined);
  }

  publish(params: PublishParams): Promise<PublishResult> {
    return this.call('publishService', { ...params, instance: this.instance }, { urgent: true });
  }

  /** An old server cannot withdraw offers; it can only delete the service. */
  async withdraw(serviceFqn: string, offerIds: string[], last: boolean): Promise<void> {
    if (this.can('withdraw')) await this.call('withdrawOffers', { serviceFqn, offerIds }, { keepalive: true });
    else if (last) await this.call('deleteService', { serviceFqn }, { keepalive: true });
  }

  fetchAnswers(): Promise<unknown> {
    // before the first call, there are no offers that could have been answered
    return this.caps ? this.#poll(this.#since) : Promise.resolve();
  }

  keepsDirected(): boolean {
    return this.can('directed');
  }

  keepsOffers(): boolean {
    return this.can('instances');
  }

  get sendsTaken(): boolean {
    return this.state === 'push';
  }

  /** Polls for the candidates of a handshake while it is watched; an old server requires a separate call. */
  watch(
    offerId: string,
    serviceFqn: string,
    answering: boolean,
    handlers: WatchHandlers,
    { icePollingInterval, icePollingTimeout }: PollingOptions,
  ): () => void {
    const interval = Math.max(POLL_MIN, icePollingInterval);
    const pollUntil = performance.now() + icePollingTimeout;
    const handshake = { offerId, serviceFqn, answering, since: 0, interval, pollUntil, ...handlers };
    this.#handshakes.add(handshake);
    this.#schedulePoll(POLL_BUSY);
    return () => this.#handshakes.delete(handshake);
  }

  subscribe({ onAnswer, onDemand, onReset }: Parameters<PublisherPort['subscribe']>[0]): () => void {
    this.on('answer', onAnswer).on('demand', onDemand).on('reset', onReset);
    this.#schedulePoll(POLL_BUSY);
    return () => void this.off('answer', onAnswer).off('demand', onDemand).off('reset', onReset);
  }

  /** Closes the socket until `hint()` is called, because the page is being frozen. */
  suspend(): void {
    this.#socket?.suspend();
  }

  /** Reacts to an external change: reconnects immediately and polls soon instead of waiting for a timer. */
  hint(): void {
    this.#socket?.retryNow();
    this.#schedulePoll(POLL_BUSY);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#pollTimer);
    this.#socket?.stop();
    this.api.close();
    this.#setState('idle');
  }

  #onCaps(caps: string[]): void {
    this.caps = new Set(caps);
    if (this.state === 'offline' && !this.#isRefused) this.#setState(this.#socket && this.can('push') ? 'connecting' : 'polling');
    // an old server has no push socket
    if (!this.can('push')) {
      this.#socket?.stop();
      this.#setState('polling');
    }
  }

  #resync(): void {
    void this.#poll(0);
    if (this.#opened) this.emit('reset');
  }

  #onPush<E extends keyof PushEvents>(name: E, data: PushEvents[E], handled: { done: boolean }): void {
    const { offerId, candidates } = data as PushEvents['candidates'];
    if (name === 'candidates') this.#emitCandidates(offerId, candidates);
    else if (name === 'taken') this.#notify(offerId, ({ onTaken }) => onTaken?.());
    else if (name === 'resync') this.#resync();
    else if (name === 'signal') this.emit('signal', data as PushEvents['signal']);
    else if (name === 'answer' || name === 'demand') handled.done = this.emit(name, data as never);
  }

  #notify(offerId: string, notify: (handshake: Handshake) => void): void {
    for (const handshake of this.#handshakes) if (handshake.offerId === offerId) notify(handshake);
  }

  #emitCandidates(offerId: string, candidates: CandidateInfo[]): void {
    // an old server also returns the publisher's own candidates
    const foreign = this.can('instances') ? candidates : candidates.filter(({ username }) => username !== this.api.username);
    if (foreign.length) this.#notify(offerId, ({ onCandidates }) => onCandidates(foreign));
  }

  /** Returns the handshakes whose candidates are being polled. */
  #polled(): Handshake[] {
    return [...this.#handshakes].filter(({ pollUntil }) => performance.now() < pollUntil);
  }

  #schedulePoll(delay: number): void {
    if (this.#closed || this.#socket?.isOpen || !(this.listenerCount('answer') || this.#polled().length)) return;
    clearTimeout(this.#pollTimer);
    this.#pollDelay = delay;
    this.#pollTimer = setTimeout(() => void this.#pollOn(), delay);
  }

  async #pollOn(): Promise<void> {
    if (this.#socket?.isOpen) return;
    const found = await this.#poll(this.#since);
    if (found !== undefined && this.caps && !this.#socket?.isOpen) this.#setState('polling');
    // the server may have withdrawn the offers of this client in the meantime
    if (found !== undefined && this.#failed) this.emit('reset');
    this.#failed = found === undefined;
    const intervals = found === undefined ? [] : this.#polled().map(({ interval }) => interval);
    this.#schedulePoll(found ? POLL_BUSY : Math.min(this.#pollDelay * 1.5, POLL_IDLE, ...intervals));
  }

  /** Polls once; returns whether anything was received, or undefined if the server did not answer. */
  async #poll(since: number): Promise<boolean | undefined> {
    try {
      const { answers, iceCandidates } = await this.call('poll', { since, instance: this.instance });
      for (const answer of answers) {
        this.#since = this.#later(this.#since, answer.answeredAt);
        this.emit('answer', answer);
      }
      for (const [offerId, candidates] of Object.entries(iceCandidates)) this.#emitCandidates(offerId, candidates);
      let found = answers.length > 0 || Object.keys(iceCandidates).length > 0;
      if (this.caps && !this.can('instances')) found = (await this.#askOldServer()) || found;
      return found;
    } catch {
      return undefined; // the state reports the error; the next poll or the socket tries again
    }
  }

  /** Requests candidates with separate calls, because the `poll` of an old server returns none to the answering side. */
  async #askOldServer(): Promise<boolean> {
    let found = false;
    for (const handshake of this.#polled()) {
      if (!handshake.answering) continue;
      const { serviceFqn, offerId, since } = handshake;
      const { candidates } = await this.call('getIceCandidates', { serviceFqn, offerId, since });
      for (const { createdAt } of candidates) handshake.since = this.#later(handshake.since, createdAt);
      if (candidates.length) handshake.onCandidates(candidates);
      found ||= candidates.length > 0;
    }
    return found;
  }

  /** Returns the later time, limited so that a server clock that was briefly ahead does not hide later events. */
  #later(since: number, time: number): number {
    return Math.max(since, Math.min(time, this.api.signer.serverNow() + MAX_CLOCK_SKEW));
  }

  #setState(state: SignalingState, error?: RondevuError): void {
    if (state === this.state && error?.message === this.error?.message) return;
    this.state = state;
    this.error = error;
    this.emit('state', state, error);
  }
}
