/**
 * JoinAttempt: one attempt to join by answering one offer. Creates and sends the answer, then waits until the link opens or the
 * attempt fails. An attempt settles once; its timers are then stopped, and it has no further effect.
 */
import { ConnectionError, RondevuError } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { ServiceEntry } from '../protocol/rpc.js';
import type { SdpLine } from '../protocol/sdp-line.js';
import { splitCandidates } from '../protocol/sdp.js';
import type { SignalingPort, WatchHandlers } from '../signaling/signaling-port.js';
import type { ConnectionConfig } from './connection-config.js';
import type { ConnectionEvents } from './connection-events.js';
import { gathered, isStalled, trickle } from './negotiation.js';
import type { WebRtcLink } from './webrtc-link.js';

/** Maximum time to gather candidates before the answer is sent, in ms. */
const ANSWER_GATHERING = 300;
/** How long later candidates are collected into a batch, in ms; most links are up before the first batch is due. */
const TRICKLE = 150;
/** How long the host has to confirm an answer before another offer is requested, in ms; doubles with each unconfirmed answer. */
const CONFIRM_TIMEOUT = 4000;
/** Interval at which an answer is resent to a server that may lose answers, in ms. */
const REPEAT_INTERVAL = 2000;
/** Time after which a link without any local candidate is abandoned, in ms. */
const GATHERING_TIMEOUT = 3000;

/** The offer was lost to another joiner, or the host is full; the joiner retries immediately with the next offer. */
export class OfferLostError extends Error {
  /** Whether the host may have accepted the answer nevertheless. */
  readonly unconfirmed: boolean;

  constructor(unconfirmed = false) {
    super();
    this.unconfirmed = unconfirmed;
  }
}

/** The part of a connection that an attempt uses. */
export interface JoinAttemptHost {
  readonly config: ConnectionConfig;
  readonly port: SignalingPort;
  readonly proof: HandshakeProof;
  takeLink(): WebRtcLink;
  /** Makes the given link the current link of the connection. */
  useLink(link: WebRtcLink): void;
  /** Applies an event to the state machine of the connection. */
  reached(event: 'gather' | 'signal' | 'check', reason: string): void;
  /** Called when an offer has been answered. Returns whether this is the first answer of the connection. */
  answered(): boolean;
  emit<Name extends keyof ConnectionEvents>(event: Name, ...args: ConnectionEvents[Name]): void;
}

export interface JoinAttemptOptions {
  entry: ServiceEntry;
  /** The verified SDP line of the offer; undefined if the host is an older client. */
  offer: SdpLine | undefined;
  /** Session id. */
  sid: string;
  /** Number of earlier answers in this search that were not confirmed in time. */
  unconfirmed: number;
}

export class JoinAttempt {
  readonly #host: JoinAttemptHost;
  readonly #options: JoinAttemptOptions;
  #state: 'pending' | 'open' | 'failed' = 'pending';
  #settle!: { resolve(): void; reject(error: Error): void };
  #stopWatching: (() => void) | undefined;

  constructor(host: JoinAttemptHost, options: JoinAttemptOptions) {
    this.#host = host;
    this.#options = options;
  }

  /**
   * Resolves when the link is open.
   * @throws OfferLostError if the offer was lost; ConnectionError if the link did not come up; RondevuError if the server
   *   refuses the answer; any error passed to `fail`
   */
  run(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#answer().catch((error: Error) => this.fail(error));
    });
  }

  /** The link is open. */
  opened(): void {
    if (this.#end('open')) this.#settle.resolve();
  }

  fail(error: Error): void {
    if (this.#end('failed')) this.#settle.reject(error);
  }

  /** Ends the attempt. Returns false if the attempt has already ended. */
  #end(state: 'open' | 'failed'): boolean {
    if (this.#state !== 'pending') return false;
    this.#state = state;
    this.#stopWatching?.();
    return true;
  }

  async #answer(): Promise<void> {
    const host = this.#host;
    const { entry } = this.#options;
    const { sdp, candidates } = splitCandidates(entry.sdp);
    let link = await this.#prepare(sdp);
    if (link && isStalled(link)) link = await this.#prepare(sdp);
    if (!link) return;
    const sent = link.localCandidates.length;
    host.reached('signal', 'the answer is ready');
    const answer = await this.#send(link);
    if (answer === undefined) return;
    for (const candidate of [...candidates, ...(entry.candidates ?? [])]) void link.addRemoteCandidate(candidate);
    host.reached('check', 'the offer was answered');
    trickle(link, sent, TRICKLE, (found) => host.port.addCandidates(entry.serviceFqn, entry.offerId, found));
    host.answered();
    // the link may be open before the server's reply arrives
    if (this.#state === 'pending') this.#watch(link, answer);
  }

  /**
   * Creates the answer to an offer without using the offer's candidates yet; see `#send`. Returns undefined if the attempt has
   * ended.
   */
  async #prepare(sdp: string): Promise<WebRtcLink | undefined> {
    if (this.#state !== 'pending') return undefined;
    const host = this.#host;
    const { entry, offer } = this.#options;
    const link = host.takeLink();
    const { pc } = link;
    // the caller must be able to add listeners before the first event
    link.onOpening = () => host.answered();
    host.useLink(link);
    host.reached('gather', `answering ${entry.offerId}`);
    const isFramed = host.config.bufferEnabled && (offer?.caps.includes('durable') ?? false);
    try {
      await link.setRemote({ type: 'offer', sdp }, isFramed);
      await pc.setLocalDescription(await pc.createAnswer());
    } catch (cause) {
      throw new ConnectionError('timeout', `cannot answer the offer of ${entry.serviceFqn}: ${String(cause)}`, { cause });
    }
    await gathered(link, Math.min(ANSWER_GATHERING, host.config.iceGatheringTimeout), true);
    return this.#state === 'pending' ? link : undefined;
  }

  /**
   * Sends the answer. A joiner that contacts the host but then loses the offer makes the offer unusable, because Chromium
   * accepts the first DTLS ClientHello from any sender. The host's candidates are therefore used only after the answer has been
   * accepted.
   * @returns the answer as sent; undefined if the attempt failed in the meantime
   */
  async #send(link: WebRtcLink): Promise<string | undefined> {
    const { proof, port } = this.#host;
    const { entry, offer, sid } = this.#options;
    let answer = link.pc.localDescription!.sdp;
    // an older host does not understand the signed SDP line
    if (offer) {
      const caps = link.framed ? ['durable'] : [];
      const line = { role: 'answer', fqn: entry.serviceFqn, caps, sid, offerSig: offer.sig } as const;
      answer = (await proof.seal(answer, line)).sdp;
    }
    try {
      await port.answerOffer(entry, answer);
    } catch (error) {
      if (error instanceof RondevuError && /^(already-answered|offer-gone|not-found|unavailable)$/.test(error.code))
        throw new OfferLostError();
      throw error;
    }
    return this.#state === 'failed' ? undefined : answer;
  }

  /** Watches for the host's candidates and confirmation, and fails the attempt when it times out. */
  #watch(link: WebRtcLink, answer: string): void {
    const { port, config, emit } = this.#host;
    const { entry, unconfirmed } = this.#options;
    const timers = [
      setTimeout(() => {
        emit('connection:timeout');
        this.#linkFailed('timed out');
      }, config.connectionTimeout),
      setTimeout(() => {
        if (isStalled(link)) this.#linkFailed('no candidate was gathered');
      }, GATHERING_TIMEOUT),
    ];
    // after unconfirmed answers, the timeout is longer because this host may receive answers late
    const confirmTimeout = Math.min(CONFIRM_TIMEOUT * 2 ** unconfirmed, config.connectionTimeout);
    const confirmation = port.sendsTaken ? setTimeout(() => this.fail(new OfferLostError(true)), confirmTimeout) : undefined;
    const stopRepeating = port.keepsOffers() ? undefined : this.#repeat(answer);
    emit('ice:polling:started');
    const onCandidates: WatchHandlers['onCandidates'] = (candidates) => {
      for (const { candidate } of candidates) {
        emit('ice:candidate:remote', candidate);
        void link.addRemoteCandidate(candidate);
      }
    };
    const handlers = { onCandidates, onTaken: () => clearTimeout(confirmation) };
    const stop = port.watch(entry.offerId, entry.serviceFqn, true, handlers, config);
    this.#stopWatching = () => {
      for (const timer of [...timers, confirmation]) clearTimeout(timer);
      stopRepeating?.();
      stop();
      emit('ice:polling:stopped');
    };
  }

  /**
   * Resends the answer until the link is up: a server that replaces offers (v0.5.4) silently loses an answer that arrives while
   * the host is publishing. If the offer no longer exists, it was answered or renewed, and the link comes up soon or never.
   * @returns a function that stops resending the answer
   */
  #repeat(answer: string): () => void {
    let goneTimer: ReturnType<typeof setTimeout> | undefined;
    const repeating = setInterval(() => {
      this.#host.port.answerOffer(this.#options.entry, answer).catch((error: RondevuError) => {
        if (error.code !== 'not-found') return;
        clearInterval(repeating);
        goneTimer ??= setTimeout(() => this.fail(new OfferLostError(true)), CONFIRM_TIMEOUT);
      });
    }, REPEAT_INTERVAL);
    return () => (clearInterval(repeating), clearTimeout(goneTimer));
  }

  #linkFailed(reason: string): void {
    this.fail(new ConnectionError('timeout', `the link to ${this.#options.entry.serviceFqn} did not come up: ${reason}`));
  }
}
