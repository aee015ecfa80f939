/**
 * AnswererConnection: the joiner's connection. Searches for an offer and answers it, does so again whenever the link is lost,
 * and decides when to stop trying.
 */
import { ExponentialBackoff } from '../base/backoff.js';
import { randomId } from '../base/bytes.js';
import { sleep } from '../base/timers.js';
import type { Writable } from '../base/writable.js';
import { ConnectionError, RondevuError } from '../errors.js';
import type { ServiceEntry } from '../protocol/rpc.js';
import type { HandshakeProof, Peer } from '../identity/handshake-proof.js';
import { IdentityChangedError } from '../identity/pins.js';
import type { SignalingPort } from '../signaling/signaling-port.js';
import { RondevuConnection, type LinkRuntime } from './connection.js';
import type { ConnectionConfig } from './connection-config.js';
import { JoinAttempt, OfferLostError, type JoinAttemptHost } from './join-attempt.js';
import { isAbsence, OfferSearch } from './offer-search.js';
import type { WebRtcLink } from './webrtc-link.js';

/** Number of offers lost in a row to other joiners before the next request is delayed. */
const LOST_BEFORE_PAUSE = 5;
/** How long an unconfirmed answer may still lead to a link, in ms: hosts that poll do so every 5 s. */
const UNCONFIRMED_WAIT = 10_000;

export class AnswererConnection extends RondevuConnection {
  /** Resolves when an offer was found and answered for the first time; rejects if none was found. */
  readonly found: Promise<void>;
  /** @internal */
  protected override readonly isOfferer = false;
  readonly #search: OfferSearch;
  readonly #attemptHost: JoinAttemptHost;
  readonly #backoff: ExponentialBackoff;
  readonly #pin: string | undefined;
  #offerId = '';
  #loop: AbortController | undefined;
  #attempt: JoinAttempt | undefined;
  /** Number of answers in this search that the host did not confirm in time. */
  #unconfirmed = 0;
  /** Ends the pause between two attempts. */
  #endPause: (() => void) | undefined;
  #suspended = false;
  #isStarted = false;
  #wait = 0;
  #isFound = false;
  #resolveFound!: () => void;
  #rejectFound!: (error: unknown) => void;

  /**
   * @param target name or id of the service
   * @param makeLink makes a link with the negotiated channel for messages
   * @param pin expected key fingerprint, from the address
   * @param failover whether another provider may take over; has an effect only without a username in the name
   * @internal
   */
  constructor(
    target: string,
    config: ConnectionConfig,
    port: SignalingPort,
    makeLink: () => WebRtcLink,
    proof: HandshakeProof,
    runtime: LinkRuntime,
    { pin, failover = false }: { pin?: string | undefined; failover?: boolean } = {},
  ) {
    super(target, config, port, proof, runtime);
    this.#pin = pin;
    this.#search = new OfferSearch(target, failover, port, makeLink);
    this.#attemptHost = {
      config,
      port,
      proof,
      takeLink: () => this.#search.takeLink(),
      useLink: (link) => this.useLink(link),
      reached: (event, reason) => this.apply(event, reason),
      answered: () => this.#reportFound(),
      emit: this.emit.bind(this) as JoinAttemptHost['emit'],
    };
    this.#backoff = new ExponentialBackoff({
      base: config.reconnectBackoffBase,
      max: config.reconnectBackoffMax,
      jitter: config.reconnectJitter,
    });
    this.found = new Promise((resolve, reject) => {
      this.#resolveFound = resolve;
      this.#rejectFound = reject;
    });
    this.found.catch(() => undefined); // `opened` and the state report it too
  }

  getOfferId(): string {
    return this.#offerId;
  }

  /** Starts looking for an offer. @param wait how long to wait for one, in ms */
  start(wait: number): void {
    this.#isStarted = true;
    this.#wait = wait;
    if (!this.#isLooking()) void this.#run(wait, false);
  }

  #isLooking(): boolean {
    return this.#loop !== undefined && !this.#loop.signal.aborted;
  }

  /** Tries again after `failed`; skips the pause before the next attempt. */
  connect(): void {
    this.#suspended = false;
    this.#backoff.reset();
    this.#endPause?.();
    const state = this.getState();
    if (this.#isLooking() || state === 'connected' || state === 'closed') return;
    if (state === 'disconnected' || state === 'failed') this.recover('tried again');
    else if (state === 'reconnecting') void this.#run(this.config.sessionTtl, true);
    else void this.#run(this.#wait, false);
  }

  /** The network or the page changed: checks the link at once. @internal */
  hint(): void {
    if (!this.#isStarted) return;
    if (this.#suspended || this.getState() !== 'connected') this.connect();
    else this.checkNow();
  }

  /** Closes the link until the next hint, because the page is being hidden or frozen. @internal */
  suspend(): void {
    this.#suspended = true;
    this.#loop?.abort(new RondevuError('closed', 'suspended'));
    this.#search.dropSpare();
    this.dropLinkForNow('the page was hidden');
  }

  /** @internal */
  protected override recover(reason: string): void {
    if (this.#suspended) return;
    if (this.#isLooking()) this.linkFailed(reason);
    else this.attempt = 1;
    this.apply('retry', reason);
    if (this.getState() === 'reconnecting' && !this.#isLooking())
      void this.#run(this.wasConnected ? this.config.sessionTtl : this.#wait, true);
  }

  /** @internal */
  protected override linkFailed(reason: string): void {
    const text = `the link to ${this.serviceFqn} did not come up: ${reason}`;
    const code = this.failureCode;
    this.#attempt?.fail(code === 'unverified' ? new RondevuError(code, text) : new ConnectionError(code, text));
  }

  /** The host refuses this joiner, or restarts ICE. @internal */
  override receiveSignal(text: string): void {
    const code = /^refuse (service-full|forbidden)$/.exec(text)?.[1] as 'service-full' | 'forbidden' | undefined;
    if (!code || !this.#attempt || this.link?.isOpen) return super.receiveSignal(text);
    const error = [code, `${this.serviceFqn} ${code === 'forbidden' ? 'refused the connection' : 'is full'}`] as const;
    // the server could forge this, so it ends no session, and a joiner that is waiting for a place keeps waiting
    if (this.wasConnected) this.#attempt.fail(new ConnectionError(...error));
    else this.#attempt.fail(code === 'service-full' && this.#wait > 0 ? new OfferLostError() : new RondevuError(...error));
  }

  /** @internal */
  protected override abandonAttempt(): void {
    this.#loop?.abort(new RondevuError('closed', 'the link recovered'));
    this.#loop = undefined;
    this.#search.dropSpare();
  }

  /** @internal */
  protected override linkOpened(): void {
    // the link may be up before the server's reply to the answer arrives
    this.apply('check', 'the offer was answered');
    this.#reportFound();
    if (this.#attempt) this.#attempt.opened();
    // a link whose offer seemed lost to another joiner came up after all
    else this.abandonAttempt();
  }

  /** Reports that an offer was found, unless that was reported before. Returns whether this was the first report. */
  #reportFound(): boolean {
    const isFirst = !this.#isFound;
    this.#isFound = true;
    this.#resolveFound();
    return isFirst;
  }

  /** @internal */
  protected override cleanUp(): void {
    this.#loop?.abort(new RondevuError('closed', 'the connection was closed'));
    this.#rejectFound(new ConnectionError('closed', 'the connection was closed before an offer was found'));
    this.#search.dropSpare();
  }

  /**
   * Tries to join until a link is up, a limit is reached, or the search is aborted.
   * @param wait how long to wait for an offer, in ms
   * @param isRetry whether the connection lost its link, or its first link did not come up
   */
  async #run(wait: number, isRetry: boolean): Promise<void> {
    const loop = (this.#loop = new AbortController());
    const { signal } = loop;
    this.#backoff.reset();
    this.attempt = isRetry ? 1 : 0;
    this.#unconfirmed = 0;
    let lost = 0;
    try {
      if (isRetry) await this.#pause(0, signal);
      for (;;) {
        try {
          await this.#join(wait, signal);
          return;
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof OfferLostError)) {
            this.#attemptFailed(this.#asAttemptError(error));
            await this.#pause(this.attempt > 1 ? this.#backoff.next() : 0, signal);
            continue;
          }
          // the answer was not confirmed, but its link may still come up
          if (error.unconfirmed) {
            wait = Math.max(wait, UNCONFIRMED_WAIT);
            this.#unconfirmed++;
          }
          if (++lost % LOST_BEFORE_PAUSE === 0) await this.#pause(this.#backoff.next(), signal);
        }
      }
    } catch (error) {
      // a listener for the failure may have started a new search
      if (this.#loop === loop) this.#loop = undefined;
      if (signal.aborted) return;
      loop.abort(error); // ends a search that is still in progress
      this.#giveUp(error as Error);
    } finally {
      if (this.#loop === loop) this.#loop = undefined;
    }
  }

  /** Returns errors that end one attempt but not the search. @throws all others */
  #asAttemptError(error: unknown): ConnectionError {
    if (error instanceof ConnectionError) return error;
    // a server that forges a handshake can keep two peers apart, but must not end their connection
    const forged = error instanceof RondevuError && /^(unverified|identity-)/.test(error.code);
    if (forged && this.wasConnected) return new ConnectionError(error.code, error.message, { cause: error });
    throw error;
  }

  /** Reports a failed attempt. @throws the error if it was the last attempt */
  #attemptFailed(error: ConnectionError): void {
    this.releaseLink()?.close();
    const { maxReconnectAttempts: max, reconnectEnabled } = this.config;
    error.willRetry = reconnectEnabled && (!max || this.attempt < max);
    if (this.attempt > 0) this.emit('reconnect:failed', error);
    if (!error.willRetry) {
      if (this.attempt > 0) this.emit('reconnect:exhausted', this.attempt);
      throw error;
    }
    this.emit('failed', error);
    this.attempt++;
    // the first link did not come up: from here on it is a normal reconnect
    this.apply('lost', error.message, error.code);
    this.apply('retry', error.message);
  }

  #giveUp(error: Error): void {
    this.#search.dropSpare();
    this.#rejectFound(error);
    // after a link was up, the reason is that the peer is gone; otherwise the last error
    const isCause = error instanceof RondevuError && (!this.wasConnected || /^(unverified|identity-)/.test(error.code));
    this.reason = isCause ? error : undefined;
    if (this.wasConnected && isAbsence(error)) void this.close({ reason: 'peer-gone', code: 'peer-gone' });
    else this.apply('give-up', error.message);
  }

  async #pause(delay: number, signal: AbortSignal): Promise<void> {
    const { attempt } = this;
    this.emit('reconnect:scheduled', { attempt, delay, maxAttempts: this.config.maxReconnectAttempts });
    signal.throwIfAborted(); // a listener may have closed the connection
    await sleep(delay, signal, (wake) => (this.#endPause = wake));
    this.emit('reconnect:attempting', attempt);
  }

  #waiting(reason: RondevuError): void {
    if (isAbsence(reason)) return void this.emit('waiting');
    // an unreachable server is not the same as an absent peer
    reason.willRetry = true;
    this.emit('failed', reason);
  }

  /** Finds an offer and answers it. Resolves when the link is up. */
  async #join(wait: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const last = { fqn: this.serviceFqn, hadLink: this.wasConnected };
    const entry = await this.#search.find(last, wait, (reason) => this.#waiting(reason), signal);
    this.#offerId = entry.offerId;
    const { serviceFqn: fqn, username, publicKey: key } = entry;
    const { peer, line } = await this.proof.open(entry.sdp, { role: 'offer', fqn, username, key, pin: this.#pin });
    signal.throwIfAborted();
    this.#usePeer(entry, peer);
    const options = { entry, offer: line, sid: this.sessionId, unconfirmed: this.#unconfirmed };
    const attempt = (this.#attempt = new JoinAttempt(this.#attemptHost, options));
    const onAbort = () => attempt.fail(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
    try {
      await attempt.run();
    } finally {
      if (this.#attempt === attempt) this.#attempt = undefined;
      signal.removeEventListener('abort', onAbort);
    }
    // nobody else would retry a link that was lost as soon as it was up
    if (!this.isConnected()) throw new ConnectionError('timeout', `the link to ${this.serviceFqn} was lost as soon as it was up`);
  }

  /** Makes this peer the peer of the connection. @throws RondevuError if it is not the peer that the connection had before */
  #usePeer({ serviceFqn, username }: ServiceEntry, peer: Peer): void {
    const isOther = this.#search.hasFailover && this.wasConnected && peer.username !== this.peer?.username;
    const known = this.wasConnected && !isOther ? this.peer : undefined;
    // buffered messages are for the previous peer: a different key is accepted only if the user trusts it
    if (known?.verified && known.publicKey !== peer.publicKey && !peer.pinned)
      throw new IdentityChangedError(username, known.publicKey!, peer.publicKey ?? 'none');
    if (known?.verified && !peer.verified) throw new RondevuError('unverified', `${username} sent no proof, unlike before`);
    (this as Writable<RondevuConnection>).serviceFqn = serviceFqn;
    (this as Writable<RondevuConnection>).peer = peer;
    if (isOther) this.renewSession(randomId(16), true);
  }
}
