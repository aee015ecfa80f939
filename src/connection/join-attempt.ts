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
  /** Whether the host may have accepted the answer without confirming it. */
  readonly unconfirmed: boolean;

  constructor(unconfirmed = false) {
    super();
    this.unconfirmed = unconfirmed;
  }
}

/** The part of a connection that its attempts share. */
export interface JoinContext {
  readonly config: ConnectionConfig;
  readonly port: SignalingPort;
  readonly proof: HandshakeProof;
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
  /**
   * Resolves when the link is open; rejects when the attempt has failed, with OfferLostError if the offer was lost, with
   * ConnectionError if the link did not come up, with RondevuError if the server refuses the answer, or with the error passed to
   * `fail`.
   */
  readonly ended: Promise<void>;
  readonly #context: JoinContext;
  readonly #options: JoinAttemptOptions;
  /** The offer; its candidates are used only after the answer has been accepted; see `send`. */
  readonly #offer: ReturnType<typeof splitCandidates>;
  #settle!: { resolve(): void; reject(error: Error): void };
  #isOpen = false;
  #failure: Error | undefined;
  /** The link that is being set up; set by `prepare`. */
  #link!: WebRtcLink;
  #answer = '';
  #stopWatching: (() => void) | undefined;

  constructor(context: JoinContext, options: JoinAttemptOptions) {
    this.#context = context;
    this.#options = options;
    this.#offer = splitCandidates(options.entry.sdp);
    this.ended = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ended.catch(() => undefined); // a failure is also reported by the steps of the attempt
  }

  get isPending(): boolean {
    return !this.#isOpen && !this.#failure;
  }

  /** Called when the link is open. */
  opened(): void {
    if (!this.isPending) return;
    this.#isOpen = true;
    this.#stopWatching?.();
    this.#settle.resolve();
  }

  fail(error: Error): void {
    if (!this.isPending) return;
    this.#failure = error;
    this.#stopWatching?.();
    this.#settle.reject(error);
  }

  /**
   * Creates the answer on a link, and gathers candidates.
   * @throws ConnectionError if the link does not accept the offer; the reason if the attempt has failed in the meantime
   */
  async prepare(link: WebRtcLink): Promise<void> {
    const { config } = this.#context;
    const { entry, offer } = this.#options;
    this.#throwIfFailed();
    this.#link = link;
    const { pc } = link;
    const isFramed = config.bufferEnabled && (offer?.caps.includes('durable') ?? false);
    try {
      await link.setRemote({ type: 'offer', sdp: this.#offer.sdp }, isFramed);
      await pc.setLocalDescription(await pc.createAnswer());
    } catch (cause) {
      throw new ConnectionError('timeout', `cannot answer the offer of ${entry.serviceFqn}: ${String(cause)}`, { cause });
    }
    await gathered(link, Math.min(ANSWER_GATHERING, config.iceGatheringTimeout), true);
    this.#throwIfFailed();
  }

  /**
   * Sends the answer. A joiner that contacts the host but then loses the offer makes the offer unusable, because Chromium
   * accepts the first DTLS ClientHello from any sender. The host's candidates are therefore used only after the answer has been
   * accepted.
   * @throws OfferLostError; RondevuError if the server refuses the answer; the reason if the attempt has failed in the meantime
   */
  async send(): Promise<void> {
    const { proof, port } = this.#context;
    const { entry, offer, sid } = this.#options;
    this.#throwIfFailed();
    const link = this.#link;
    const sent = link.localCandidates.length;
    this.#answer = link.pc.localDescription!.sdp;
    // an older host does not understand the signed SDP line
    if (offer) {
      const caps = link.framed ? ['durable'] : [];
      const line = { role: 'answer', fqn: entry.serviceFqn, caps, sid, offerSig: offer.sig } as const;
      this.#answer = (await proof.seal(this.#answer, line)).sdp;
      this.#throwIfFailed();
    }
    try {
      await port.answerOffer(entry, this.#answer);
    } catch (error) {
      if (error instanceof RondevuError && /^(already-answered|offer-gone|not-found|unavailable)$/.test(error.code))
        throw new OfferLostError();
      throw error;
    }
    this.#throwIfFailed();
    for (const candidate of [...this.#offer.candidates, ...(entry.candidates ?? [])]) void link.addRemoteCandidate(candidate);
    trickle(link, sent, TRICKLE, (found) => port.addCandidates(entry.serviceFqn, entry.offerId, found));
  }

  /**
   * Watches for the host's candidates and confirmation until the attempt ends, and fails the attempt when it times out.
   * @throws the reason if the attempt has failed already
   */
  watch(): void {
    const { port, config, emit } = this.#context;
    const { entry, unconfirmed } = this.#options;
    this.#throwIfFailed();
    const link = this.#link;
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
    const stopRepeating = port.keepsOffers() ? undefined : this.#repeat(this.#answer);
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
    emit('ice:polling:started'); // a listener may end the attempt
  }

  /**
   * Resends the answer until the link is up: a server that replaces offers (v0.5.4) silently loses an answer that arrives while
   * the host is publishing. If the offer no longer exists, it was answered or renewed, and the link comes up soon or never.
   * @returns a function that stops resending the answer
   */
  #repeat(answer: string): () => void {
    let goneTimer: ReturnType<typeof setTimeout> | undefined;
    const repeating = setInterval(() => {
      this.#context.port.answerOffer(this.#options.entry, answer).catch((error: RondevuError) => {
        if (error.code !== 'not-found') return;
        clearInterval(repeating);
        goneTimer ??= setTimeout(() => this.fail(new OfferLostError(true)), CONFIRM_TIMEOUT);
      });
    }, REPEAT_INTERVAL);
    return () => (clearInterval(repeating), clearTimeout(goneTimer));
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }

  #linkFailed(reason: string): void {
    this.fail(new ConnectionError('timeout', `the link to ${this.#options.entry.serviceFqn} did not come up: ${reason}`));
  }
}
