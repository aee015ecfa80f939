/**
 * AnswererConnection: the joiner's connection, which joins its service again whenever the link is lost, until it gives up.
 */
import { ExponentialBackoff } from '../base/backoff.js';
import { randomId } from '../base/bytes.js';
import { RateLimit } from '../base/rate-limit.js';
import { sleep } from '../base/timers.js';
import type { Writable } from '../base/writable.js';
import { ConnectionError, RondevuError } from '../errors.js';
import type { ServiceEntry } from '../protocol/rpc.js';
import type { HandshakeProof, Peer } from '../identity/handshake-proof.js';
import { IdentityChangedError } from '../identity/pins.js';
import type { SignalingPort } from '../signaling/signaling-port.js';
import { RondevuConnection, type LinkRuntime } from './connection.js';
import type { ConnectionConfig } from './connection-config.js';
import { JoinAttempt, OfferLostError, type JoinContext } from './join-attempt.js';
import { isStalled } from './negotiation.js';
import { isAbsence, OfferSearch } from './offer-search.js';
import type { WebRtcLink } from './webrtc-link.js';

/** Number of consecutive offers lost to other joiners before the next request is delayed. */
const LOST_BEFORE_PAUSE = 5;
/** How long an unconfirmed answer may still result in a link, in ms; polling hosts fetch answers every 5 s. */
const UNCONFIRMED_WAIT = 10_000;
/** Number of links lost in a short time that are replaced immediately; any more are replaced at 1 per second. */
const QUICK_RETRIES = 60;

export class AnswererConnection extends RondevuConnection {
  /** Resolves when the first offer has been found and answered; rejects if no offer is found. */
  readonly found: Promise<void>;
  /** @internal */
  protected override readonly isOfferer = false;
  readonly #search: OfferSearch;
  readonly #context: JoinContext;
  readonly #backoff: ExponentialBackoff;
  readonly #quickRetries = new RateLimit(QUICK_RETRIES, 1);
  readonly #pin: string | undefined;
  #offerId = '';
  #loop: AbortController | undefined;
  #attempt: JoinAttempt | undefined;
  /** Number of answers that the host did not confirm in time during this search. */
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
   * @param makeLink creates a link with the negotiated message channel
   * @param pin expected key fingerprint, from the address
   * @param failover whether another provider may take over; takes effect only for a service name without a username
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
    this.#context = { config, port, proof, emit: this.emit.bind(this) as JoinContext['emit'] };
    this.#backoff = new ExponentialBackoff({
      base: config.reconnectBackoffBase,
      max: config.reconnectBackoffMax,
      jitter: config.reconnectJitter,
    });
    this.found = new Promise((resolve, reject) => {
      this.#resolveFound = resolve;
      this.#rejectFound = reject;
    });
    this.found.catch(() => undefined); // `opened` and the state also report the failure
  }

  getOfferId(): string {
    return this.#offerId;
  }

  /** Starts looking for an offer. @param wait how long to wait for an offer, in ms */
  start(wait: number): void {
    if (this.getState() === 'closed') return;
    this.#isStarted = true;
    this.#wait = wait;
    if (!this.#isLooking()) void this.#run(wait, false);
  }

  #isLooking(): boolean {
    return this.#loop !== undefined && !this.#loop.signal.aborted;
  }

  /** Retries after `failed`, and skips any delay before the next attempt. */
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

  /** Called after a network change or page event: checks the link immediately. @internal */
  hint(): void {
    if (!this.#isStarted) return;
    if (this.#suspended || this.getState() !== 'connected') this.connect();
    else this.checkNow();
  }

  /** Called when the page is being hidden or frozen: closes the link until the next call to `hint`. @internal */
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

  /** Handles a signal from the host: a refusal, or part of an ICE restart. @internal */
  override receiveSignal(text: string): void {
    const code = /^refuse (service-full|forbidden)$/.exec(text)?.[1] as 'service-full' | 'forbidden' | undefined;
    if (!code || !this.#attempt || this.link?.isOpen) return super.receiveSignal(text);
    const error = [code, `${this.serviceFqn} ${code === 'forbidden' ? 'refused the connection' : 'is full'}`] as const;
    // the server could forge a refusal, so it must not end a session; a joiner that waits for a free place keeps waiting
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
    // the link may open before the server's reply to the answer arrives
    this.apply('check', 'the offer was answered');
    this.#reportFound();
    if (this.#attempt) this.#attempt.opened();
    // the offer seemed lost to another joiner, but the link opened after all
    else this.abandonAttempt();
  }

  /** Resolves `found` and returns whether this was the first call. */
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
   * @param isRetry whether an earlier link was lost or the first link failed
   */
  async #run(wait: number, isRetry: boolean): Promise<void> {
    const loop = (this.#loop = new AbortController());
    const { signal } = loop;
    // a peer may close each link as soon as it is up
    const isQuick = this.#quickRetries.take();
    if (isQuick) this.#backoff.reset();
    this.attempt = isRetry ? 1 : 0;
    this.#unconfirmed = 0;
    let lost = 0;
    try {
      if (isRetry) await this.#pause(isQuick ? 0 : this.#backoff.next(), signal);
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
          // the host did not confirm the answer, but the link may still open
          if (error.unconfirmed) {
            wait = Math.max(wait, UNCONFIRMED_WAIT);
            this.#unconfirmed++;
          }
          if (++lost % LOST_BEFORE_PAUSE === 0) await this.#pause(this.#backoff.next(), signal);
        }
      }
    } catch (error) {
      // an event listener may have started a new search
      if (this.#loop === loop) this.#loop = undefined;
      if (signal.aborted) return;
      loop.abort(error); // aborts the offer search if it is still in progress
      this.#giveUp(error as Error);
    } finally {
      if (this.#loop === loop) this.#loop = undefined;
    }
  }

  /** Returns the error if it ends only the current attempt. @throws the error if it ends the whole search */
  #asAttemptError(error: unknown): ConnectionError {
    if (error instanceof ConnectionError) return error;
    // a server that forges handshakes can prevent two peers from reconnecting, but must not be able to end their connection
    const forged = error instanceof RondevuError && /^(unverified|identity-)/.test(error.code);
    if (forged && this.wasConnected) return new ConnectionError(error.code, error.message, { cause: error });
    throw error;
  }

  /** Reports a failed attempt. @throws the error if no further attempt is allowed */
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
    // every attempt after the first is treated as a reconnect, even if no link has been up yet
    this.apply('lost', error.message, error.code);
    this.apply('retry', error.message);
  }

  #giveUp(error: Error): void {
    this.#search.dropSpare();
    this.#rejectFound(error);
    // once a link has been up, only an identity error is kept as the reason; any other error is reported as `peer-gone`
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
    // an unreachable server does not mean that the peer is absent
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
    const attempt = (this.#attempt = new JoinAttempt(this.#context, options));
    const onAbort = () => attempt.fail(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
    try {
      this.#answer(attempt).catch((error: Error) => attempt.fail(error));
      await attempt.ended;
    } finally {
      if (this.#attempt === attempt) this.#attempt = undefined;
      signal.removeEventListener('abort', onAbort);
    }
    // without this error, a link lost immediately after opening would not be replaced
    if (!this.isConnected()) throw new ConnectionError('timeout', `the link to ${this.serviceFqn} was lost as soon as it was up`);
  }

  /** Carries out the steps of an attempt. @throws the reason if the attempt fails */
  async #answer(attempt: JoinAttempt): Promise<void> {
    if (isStalled(await this.#prepare(attempt))) await this.#prepare(attempt);
    this.apply('signal', 'the answer is ready');
    await attempt.send();
    // the link may be open before the server's reply arrives
    if (!attempt.isPending) return;
    this.apply('check', 'the offer was answered');
    this.#reportFound();
    attempt.watch();
  }

  async #prepare(attempt: JoinAttempt): Promise<WebRtcLink> {
    const link = this.#search.takeLink();
    // the caller must be able to add listeners before the first event
    link.onOpening = () => this.#reportFound();
    this.useLink(link);
    this.apply('gather', `answering ${this.#offerId}`);
    await attempt.prepare(link);
    return link;
  }

  /** Sets the peer of the connection. @throws RondevuError if the identity of the peer has changed */
  #usePeer({ serviceFqn, username }: ServiceEntry, peer: Peer): void {
    const isOther = this.#search.hasFailover && this.wasConnected && peer.username !== this.peer?.username;
    const known = this.wasConnected && !isOther ? this.peer : undefined;
    // buffered messages are meant for the previous peer: a different key is accepted only if the user has pinned it
    if (known?.verified && known.publicKey !== peer.publicKey && !peer.pinned)
      throw new IdentityChangedError(username, known.publicKey!, peer.publicKey ?? 'none');
    if (known?.verified && !peer.verified) throw new RondevuError('unverified', `${username} sent no proof, unlike before`);
    (this as Writable<RondevuConnection>).serviceFqn = serviceFqn;
    (this as Writable<RondevuConnection>).peer = peer;
    if (isOther) this.renewSession(randomId(16), true);
  }
}
