/**
 * OffererConnection: the host's connection. The host cannot contact the joiner: when the link is lost, the connection is bound
 * to a new offer from the pool and waits for the joiner to answer. The pool decides which connection an answer belongs to.
 */
import type { Writable } from '../base/writable.js';
import { ConnectionError } from '../errors.js';
import { RondevuConnection, type LinkRuntime } from './connection.js';
import type { ConnectionConfig } from './connection-config.js';
import type { Peer } from './connection-events.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import { WebRtcLink } from './webrtc-link.js';
import type { SignalingPort } from '../signaling/signaling-port.js';

/** Callbacks from a connection to its pool. @internal */
export interface OffererHooks {
  /** Called when the connection has lost its peer and needs a new offer. */
  needsOffer(connection: OffererConnection): void;
  ended(connection: OffererConnection): void;
}

export class OffererConnection extends RondevuConnection {
  /** The pool creates a connection when an answer arrives, and sets the peer before it emits `connection:opened`. */
  declare readonly peer: Peer;
  /** @internal */
  protected override readonly isOfferer = true;
  readonly #hooks: OffererHooks;
  #offerId: string;
  /** The answer to the current offer; undefined until an answer has been processed. */
  #answer: string | undefined;
  #timeout: ReturnType<typeof setTimeout> | undefined;
  #peerGone: ReturnType<typeof setTimeout> | undefined;
  /** Offer and answer of the last link that was up; the link may still recover. */
  #established: { offerId: string; answer: string | undefined } = { offerId: '', answer: undefined };

  /** @internal */
  constructor(
    { offerId, serviceFqn, link }: { offerId: string; serviceFqn: string; link: WebRtcLink },
    config: ConnectionConfig,
    port: Pick<SignalingPort, 'signal'>,
    proof: HandshakeProof,
    hooks: OffererHooks,
    runtime: LinkRuntime,
    sid?: string,
  ) {
    super(serviceFqn, config, port, proof, runtime, sid);
    this.#offerId = offerId;
    this.#hooks = hooks;
    this.useLink(link);
    this.apply('signal', 'the offer was published');
  }

  getOfferId(): string {
    return this.#offerId;
  }

  /** Whether the connection has lost its peer and is waiting for the peer to answer a new offer. */
  isRotating(): boolean {
    return this.getState() === 'reconnecting';
  }

  /**
   * Processes the answer to the current offer. Emits `answer:duplicate` if the answer was already processed.
   * @param framed whether both peers use frames
   * @throws ConnectionError `already-answered` for a second answer that differs from the first; DOMException if the answer does
   *   not match the offer
   */
  async processAnswer(sdp: string, answererId: string, framed = false): Promise<void> {
    if (this.reportDuplicate(sdp)) return;
    if (this.#answer !== undefined) {
      throw new ConnectionError(
        'already-answered',
        `offer ${this.#offerId} was already answered; ${answererId} sent another answer`,
      );
    }
    const link = this.#webRtcLink;
    if (!link) throw new ConnectionError('offer-gone', `offer ${this.#offerId} no longer has a peer connection`);
    this.#answer = sdp;
    (this as Writable<RondevuConnection>).peer ??= { username: answererId, verified: false, pinned: false };
    clearTimeout(this.#timeout);
    this.#timeout = setTimeout(() => {
      this.emit('connection:timeout');
      if (link === this.link && !this.apply('lost', 'timed out')) this.linkFailed('timed out');
    }, this.config.connectionTimeout);
    try {
      await link.setRemote({ type: 'answer', sdp }, framed);
    } catch (cause) {
      if (link === this.link) this.linkFailed('the answer does not match the offer');
      throw cause;
    }
    if (link !== this.link) return;
    this.apply('check', 'the answer is in place');
    this.emit('answer:processed', this.#offerId, answererId);
  }

  /** Emits `answer:duplicate` and returns true if this answer was already processed. @internal */
  reportDuplicate(sdp: string): boolean {
    return this.#answer === sdp && (this.emit('answer:duplicate', this.#offerId), true);
  }

  get #webRtcLink(): WebRtcLink | undefined {
    return this.link instanceof WebRtcLink ? this.link : undefined;
  }

  /** Adds an ICE candidate from the peer. @internal */
  async addCandidate(candidate: RTCIceCandidateInit): Promise<void> {
    this.emit('ice:candidate:remote', candidate);
    await this.#webRtcLink?.addRemoteCandidate(candidate);
  }

  /** Binds the connection to a new offer; its listeners and buffered messages are kept. */
  rebindToOffer(newOfferId: string, pc: RTCPeerConnection, dc?: RTCDataChannel): void {
    const link = new WebRtcLink(pc);
    if (dc) link.useRaw(dc);
    this.bind(newOfferId, link);
  }

  /** Same as `rebindToOffer`, but takes an existing link. @internal */
  bind(newOfferId: string, link: WebRtcLink): void {
    if (this.getState() === 'closed')
      throw new ConnectionError('closed', `a closed connection cannot be bound to offer ${newOfferId}`);
    this.#offerId = newOfferId;
    this.#answer = undefined;
    clearTimeout(this.#timeout);
    if (link !== this.link) this.useLink(link);
  }

  /** Releases the link of an offer that another joiner answered or that is being renewed. @internal */
  leaveOffer(offerId: string): void {
    if (offerId === this.#offerId && this.#answer === undefined) this.releaseLink();
  }

  /**
   * Sets the peer before its answer is processed. A different `sid` starts a new session, because the peer's page was reloaded.
   * @internal
   */
  setPeer(peer: Peer, sid?: string): void {
    (this as Writable<RondevuConnection>).peer = peer;
    if (sid !== undefined && sid !== this.sessionId) this.renewSession(sid);
  }

  /** Replaces a link that still seems alive, because the peer has returned on another link. @internal */
  supersede(): void {
    this.apply('lost', 'the peer returned on another link');
  }

  /** @internal */
  protected override recover(reason: string): void {
    // a joiner whose first link fails retries on its own, as a new connection
    if (!this.wasConnected) return void this.close({ reason, code: this.failureCode });
    clearTimeout(this.#timeout);
    this.attempt = 1;
    this.apply('retry', reason);
    if (!this.isRotating()) return; // a listener may have closed the connection
    if (this.config.sessionTtl < 2 ** 31)
      this.#peerGone = setTimeout(() => void this.close({ reason: 'peer-gone', code: 'peer-gone' }), this.config.sessionTtl);
    this.#hooks.needsOffer(this);
  }

  /** @internal */
  protected override linkFailed(reason: string): void {
    if (!this.wasConnected) return void this.close({ reason, code: this.failureCode });
    if (this.#answer === undefined) {
      this.releaseLink()?.close();
      return this.#hooks.needsOffer(this);
    }
    const error = new ConnectionError(this.failureCode, `the link to ${this.peer?.username} did not come up: ${reason}`);
    const { maxReconnectAttempts } = this.config;
    error.willRetry = !maxReconnectAttempts || this.attempt < maxReconnectAttempts;
    const { link } = this;
    for (const event of ['reconnect:failed', 'failed'] as const) {
      this.emit(event, error);
      if (link !== this.link) return; // a listener may have closed the connection or bound it to another offer
    }
    this.#answer = undefined;
    this.releaseLink()?.close();
    if (!error.willRetry) {
      this.emit('reconnect:exhausted', this.attempt);
      return void this.close({ reason: `gave up after ${this.attempt} attempts`, code: this.failureCode });
    }
    this.attempt++;
    this.#hooks.needsOffer(this);
  }

  /** @internal */
  protected override abandonAttempt(): void {
    // an unanswered offer stays published, but no longer belongs to this connection
    if (this.#answer === undefined) this.releaseLink();
    clearTimeout(this.#timeout);
    ({ offerId: this.#offerId, answer: this.#answer } = this.#established);
  }

  /** @internal */
  protected override linkOpened(): void {
    this.#established = { offerId: this.#offerId, answer: this.#answer };
    this.attempt = 0;
    clearTimeout(this.#timeout);
    clearTimeout(this.#peerGone);
  }

  /** @internal */
  protected override cleanUp(): void {
    clearTimeout(this.#timeout);
    clearTimeout(this.#peerGone);
    this.#hooks.ended(this);
  }
}
