/**
 * AnswererConnection: the joiner's side. It asks for an offer and answers it, and again whenever the link is lost, as long as its
 * limits allow. One loop does both.
 */
import { ExponentialBackoff } from '../base/backoff.js';
import { randomId } from '../base/bytes.js';
import { ConnectionError, RondevuError } from '../errors.js';
import type { ServiceEntry } from '../protocol/rpc.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import { IdentityChangedError } from '../identity/pins.js';
import type { SdpLine } from '../protocol/sdp-line.js';
import { parseServiceName } from '../protocol/service-name.js';
import { splitCandidates } from '../protocol/sdp.js';
import { RondevuConnection, type Talk } from './connection.js';
import type { ConnectionConfig } from './connection-config.js';
import type { Link } from './link.js';
import { gathered, isStalled, trickle } from './negotiation.js';
import type { SignalingPort } from '../signaling/signaling-port.js';

/** How long an answer waits for candidates before it is sent, in ms. */
const ANSWER_GATHERING = 300;
/** How long later candidates are collected, in ms: most links are up before the first of them would be sent. */
const TRICKLE = 150;
/** How long the host has to confirm an answer before another offer is requested, in ms; doubles with each unconfirmed answer. */
const TAKEN_WITHIN = 4000;
/** Interval at which an answer is repeated on a server that may lose it, in ms. */
const ANSWER_AGAIN = 2000;
/** A link without any candidate after this time is given up, in ms. */
const GATHERS_WITHIN = 3000;
/** How long a spare link is kept while other links of the page may be gathering, in ms: see isStalled. */
const SPARE_FOR = 5000;
/** Offers lost to other joiners in a row before the next request is delayed. */
const RACES = 5;

/** How long an unconfirmed answer may still lead to a link, in ms: hosts that poll do so every 5 s. */
const DOUBTFUL_FOR = 10_000;

/** The offer was lost to another joiner: retry at once with the next one. */
class LostRace extends Error {
  /** Whether the answer may have been accepted all the same. */
  readonly isDoubtful: boolean;

  constructor(isDoubtful = false) {
    super();
    this.isDoubtful = isDoubtful;
  }
}

export class AnswererConnection extends RondevuConnection {
  /** Resolves when an offer was found and answered for the first time; rejects if none was found. */
  readonly found: Promise<void>;
  protected override readonly isOfferer = false;
  readonly #port: SignalingPort;
  readonly #makeLink: () => Link;
  readonly #backoff: ExponentialBackoff;
  readonly #pin: string | undefined;
  /** Id to look the service up by: a hidden service has only its id. */
  readonly #id: string | undefined;
  /** Name for discovering another provider after the first one is gone. */
  readonly #anyone: string | undefined;
  #offerId = '';
  /** Answers of this search that the host did not confirm in time. */
  #unconfirmed = 0;
  #loop: AbortController | undefined;
  /** A link that is ready for the next offer. */
  #spare: Link | undefined;
  #spareTimer: ReturnType<typeof setTimeout> | undefined;
  /** Settles the current attempt. */
  #settle: { opened(): void; failed(error: Error): void } | undefined;
  /** Ends the pause between two attempts. */
  #wake: (() => void) | undefined;
  #suspended = false;
  #isBegun = false;
  #wait = 0;
  #stopWatching: (() => void) | undefined;
  #isFound = false;
  #resolveFound!: () => void;
  #rejectFound!: (error: unknown) => void;

  /**
   * @param target name or id of the service
   * @param makeLink makes a link with the negotiated channel for messages
   * @param pin expected key fingerprint, from the address
   * @param failover whether another provider may take over; has an effect only without a username in the name
   */
  constructor(
    target: string,
    config: ConnectionConfig,
    port: SignalingPort,
    makeLink: () => Link,
    proof: HandshakeProof,
    talk: Talk,
    { pin, failover = false }: { pin?: string | undefined; failover?: boolean } = {},
  ) {
    super(target, config, port, proof, talk);
    if (!target.includes(':')) this.#id = target;
    else if (failover && parseServiceName(target).username === undefined) this.#anyone = target;
    this.#pin = pin;
    this.#port = port;
    this.#makeLink = makeLink;
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
    this.#isBegun = true;
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
    this.#wake?.();
    const state = this.getState();
    if (this.#isLooking() || state === 'connected' || state === 'closed') return;
    if (state === 'disconnected' || state === 'failed') this.recover('tried again');
    else if (state === 'reconnecting') void this.#run(this.config.sessionTtl, true);
    else void this.#run(this.#wait, false);
  }

  /** Something changed outside: checks the link at once. */
  hint(): void {
    if (!this.#isBegun) return;
    if (this.#suspended || this.getState() !== 'connected') this.connect();
    else this.checkNow();
  }

  /** Closes the link until the next hint, because the page is being hidden or frozen. */
  suspend(): void {
    this.#suspended = true;
    this.#loop?.abort(new RondevuError('closed', 'suspended'));
    this.#dropSpare();
    this.dropLinkForNow('the page was hidden');
  }

  protected override recover(reason: string): void {
    if (this.#suspended) return;
    if (this.#isLooking()) this.linkFailed(reason);
    else this.attempt = 1;
    this.apply('retry', reason);
    if (this.getState() === 'reconnecting' && !this.#isLooking())
      void this.#run(this.isReturning ? this.config.sessionTtl : this.#wait, true);
  }

  protected override linkFailed(reason: string): void {
    const text = `the link to ${this.serviceFqn} did not come up: ${reason}`;
    const code = this.failureCode;
    this.#settle?.failed(code === 'unverified' ? new RondevuError(code, text) : new ConnectionError(code, text));
  }

  /** The host refuses this joiner, or restarts ICE. */
  override receiveSignal(text: string): void {
    const code = /^refuse (service-full|forbidden)$/.exec(text)?.[1] as 'service-full' | 'forbidden' | undefined;
    if (!code || !this.#settle || this.link?.isOpen) return super.receiveSignal(text);
    const error = [code, `${this.serviceFqn} ${code === 'forbidden' ? 'refused the connection' : 'is full'}`] as const;
    // the server could forge this: it ends no session, and a joiner that waits for a place goes on waiting
    if (this.isReturning) this.#settle.failed(new ConnectionError(...error));
    else this.#settle.failed(code === 'service-full' && this.#wait > 0 ? new LostRace() : new RondevuError(...error));
  }

  protected override abandonAttempt(): void {
    this.#loop?.abort(new RondevuError('closed', 'the link came back'));
    this.#loop = undefined;
    this.#dropSpare();
  }

  protected override linkOpened(): void {
    // the link may be up before the server's reply to the answer is in
    this.apply('check', 'the offer was answered');
    this.#tellFound();
    if (this.#settle) this.#settle.opened();
    // a link that seemed lost to another joiner came up after all
    else this.abandonAttempt();
  }

  /** Returns whether it was not reported before. */
  #tellFound(): boolean {
    const isFirst = !this.#isFound;
    this.#isFound = true;
    this.#resolveFound();
    return isFirst;
  }

  protected override cleanUp(): void {
    this.#loop?.abort(new RondevuError('closed', 'the connection was closed'));
    this.#rejectFound(new ConnectionError('closed', 'the connection was closed before an offer was found'));
    this.#dropSpare();
    this.#stopWatching?.();
  }

  /** Attempts, until a link is up, the limits are reached, or somebody ends it. */
  async #run(wait: number, again: boolean): Promise<void> {
    const loop = (this.#loop = new AbortController());
    const { signal } = loop;
    const { maxReconnectAttempts: maxAttempts } = this.config;
    this.#backoff.reset();
    this.attempt = again ? 1 : 0;
    this.#unconfirmed = 0;
    let races = 0;
    try {
      for (;;) {
        try {
          if (this.attempt > 0) await this.#pause(this.attempt > 1 ? this.#backoff.next() : 0, maxAttempts, signal);
          for (;;) {
            signal.throwIfAborted();
            const finding = this.#find(wait, signal);
            // made while the server looks, so that its candidates are there when the offer is
            this.#spare ??= this.#makeLink();
            const entry = await finding;
            try {
              await this.#connectTo(entry, signal);
              return;
            } catch (error) {
              if (!(error instanceof LostRace)) throw error;
              // the answer was not confirmed, but its link may still come up
              if (error.isDoubtful) {
                wait = Math.max(wait, DOUBTFUL_FOR);
                this.#unconfirmed++;
              }
              if (++races % RACES === 0) await this.#pause(this.#backoff.next(), maxAttempts, signal);
            }
          }
        } catch (error) {
          if (signal.aborted) throw error;
          this.#attemptFailed(this.#asAttempt(error), maxAttempts);
        }
      }
    } catch (error) {
      // a listener of the failure may have started again
      if (this.#loop === loop) this.#loop = undefined;
      if (!signal.aborted) this.#giveUp(error as Error);
    } finally {
      if (this.#loop === loop) this.#loop = undefined;
    }
  }

  /** Returns errors that end one attempt but not the search. @throws all others */
  #asAttempt(error: unknown): ConnectionError {
    if (error instanceof ConnectionError) return error;
    // a server that forges a handshake can keep two peers apart, but must not end their connection
    const forged = error instanceof RondevuError && /^(unverified|identity-)/.test(error.code);
    if (forged && this.isReturning) return new ConnectionError(error.code, error.message, { cause: error });
    throw error;
  }

  /** Reports a failed attempt. @throws the error if it was the last attempt */
  #attemptFailed(error: ConnectionError, maxAttempts: number): void {
    this.releaseLink()?.close();
    this.#stopWatching?.();
    error.willRetry = this.config.reconnectEnabled && (!maxAttempts || this.attempt < maxAttempts);
    if (this.attempt > 0) this.emit('reconnect:failed', error);
    if (!error.willRetry) {
      if (this.attempt > 0) this.emit('reconnect:exhausted', this.attempt);
      throw error;
    }
    this.emit('failed', error);
    this.attempt++;
    // the first link did not come up: from here on it is a normal reconnect
    this.apply('lost', error.message);
    this.apply('retry', error.message);
  }

  #dropSpare(): void {
    clearTimeout(this.#spareTimer);
    this.#spare?.close();
    this.#spare = undefined;
  }

  #giveUp(error: Error): void {
    this.#dropSpare();
    this.#rejectFound(error);
    // after a link was up, the reason is that the peer is gone; otherwise the last error
    const isCause = error instanceof RondevuError && (!this.isReturning || /^(unverified|identity-)/.test(error.code));
    this.reason = isCause ? error : undefined;
    const gone = error instanceof RondevuError && /^(not-found|no-offer)$/.test(error.code) && this.isReturning;
    if (gone) void this.close({ reason: 'peer-gone' });
    else this.apply('give-up', error.message);
  }

  async #pause(delay: number, maxAttempts: number, signal: AbortSignal): Promise<void> {
    const { attempt } = this;
    this.emit('reconnect:scheduled', { attempt, delay, maxAttempts });
    signal.throwIfAborted(); // a listener may have closed the connection
    await new Promise<void>((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#wake = undefined;
      };
      const onAbort = () => (end(), reject(signal.reason));
      this.#wake = () => (end(), resolve());
      const timer = setTimeout(this.#wake, delay);
      signal.addEventListener('abort', onAbort);
    });
    this.emit('reconnect:attempting', attempt);
  }

  async #find(wait: number, signal: AbortSignal): Promise<ServiceEntry> {
    const onWaiting = (reason: RondevuError) => {
      clearTimeout(this.#spareTimer);
      this.#spareTimer = setTimeout(() => this.#dropSpare(), SPARE_FOR);
      if (/^(not-found|no-offer)$/.test(reason.code)) return void this.emit('waiting');
      // an unreachable server is not the same as an absent peer
      reason.willRetry = true;
      this.emit('failed', reason);
    };
    return this.#findAnyone(wait, onWaiting, signal);
  }

  /** Looks for the previous peer; if it is gone, with `failover`, for any other. */
  async #findAnyone(wait: number, onWaiting: (reason: RondevuError) => void, signal: AbortSignal): Promise<ServiceEntry> {
    if (!this.#anyone || !this.isReturning) return this.#port.findOffer(this.#id ?? this.serviceFqn, wait, onWaiting, signal);
    try {
      return await this.#port.findOffer(this.serviceFqn, 0, onWaiting, signal);
    } catch (error) {
      if (!(error instanceof RondevuError) || !/^(not-found|no-offer)$/.test(error.code)) throw error;
      return this.#port.findOffer(this.#anyone, wait, onWaiting, signal);
    }
  }

  async #connectTo(entry: ServiceEntry, signal: AbortSignal): Promise<void> {
    this.#offerId = entry.offerId;
    let settle = this.#settle;
    const opened = new Promise<void>((resolve, reject) => (this.#settle = settle = { opened: resolve, failed: reject }));
    opened.catch(() => undefined); // awaited below, or moot
    const onAbort = () => settle!.failed(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
    try {
      const { serviceFqn: fqn, username, publicKey: key } = entry;
      const { peer, line } = await this.proof.open(entry.sdp, { role: 'offer', fqn, username, key, pin: this.#pin });
      signal.throwIfAborted();
      const isOther = this.#anyone !== undefined && this.isReturning && peer.username !== this.peer?.username;
      const known = this.isReturning && !isOther ? this.peer : undefined;
      // buffered messages are for the previous peer; another key only if the user trusts it
      if (known?.verified && known.publicKey !== peer.publicKey && !peer.pinned)
        throw new IdentityChangedError(username, known.publicKey!, peer.publicKey ?? 'none');
      if (known?.verified && !peer.verified)
        throw new RondevuError('unverified', `${username} shows no proof, and it did before`);
      // from now on, the connection is for this peer's service, even if found by discovery
      this.serviceFqn = fqn;
      this.peer = peer;
      if (isOther) this.renewSession(randomId(16), true);
      const { sdp, candidates } = splitCandidates(entry.sdp);
      let link = this.#spare ?? this.#makeLink();
      this.#spare = undefined;
      clearTimeout(this.#spareTimer);
      await this.#prepare(link, sdp, line);
      signal.throwIfAborted();
      if (isStalled(link)) await this.#prepare((link = this.#makeLink()), sdp, line);
      signal.throwIfAborted();
      const answer = await this.#answer(link, entry, candidates, line);
      signal.throwIfAborted();
      this.#tellFound();
      await this.#untilOpen(link, entry, answer, opened);
      // the link may have opened and closed before the reply to our answer: nobody else would retry
      if (link !== this.link && !this.isConnected())
        throw new ConnectionError('timeout', `the link to ${this.serviceFqn} was lost as soon as it was up`);
    } finally {
      // an attempt that was given up may end after the next one began
      if (this.#settle === settle) this.#settle = undefined;
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Makes the answer to an offer without its candidates: see #answer. */
  async #prepare(link: Link, sdp: string, line: SdpLine | undefined): Promise<void> {
    const { pc } = link;
    // the caller must be able to add listeners before the first event
    link.onOpening = () => this.#tellFound();
    this.useLink(link);
    this.apply('gather', `answering ${this.#offerId}`);
    try {
      await link.setRemote({ type: 'offer', sdp }, this.#speaksFrames(line));
      await pc.setLocalDescription(await pc.createAnswer());
    } catch (cause) {
      throw new ConnectionError('timeout', `the offer of ${this.serviceFqn} cannot be answered: ${String(cause)}`, { cause });
    }
    await gathered(link, ANSWER_GATHERING, true);
  }

  /**
   * Sends the answer. A joiner that contacts the host and then does not get the offer spoils it: Chromium remembers the first DTLS
   * hello, whoever sent it. So the host's candidates are used only after the answer was accepted.
   * @returns the answer as it was sent
   */
  async #answer(link: Link, entry: ServiceEntry, candidates: RTCIceCandidateInit[], offer: SdpLine | undefined): Promise<string> {
    const { pc } = link;
    let answer: string;
    const caps = link.framed ? ['durable'] : [];
    const line = { role: 'answer' as const, fqn: entry.serviceFqn, caps, sid: this.sessionId };
    const sent = link.localCandidates.length;
    this.apply('signal', 'the answer is ready');
    try {
      const { sdp } = pc.localDescription!;
      // an old host cannot use the SDP line
      answer = offer ? (await this.proof.seal(sdp, { ...line, offerSig: offer.sig })).sdp : sdp;
      await this.#port.answerOffer(entry, answer);
    } catch (error) {
      if (error instanceof RondevuError && /^(already-answered|offer-gone|not-found|unavailable)$/.test(error.code))
        throw new LostRace();
      throw error;
    }
    for (const candidate of [...candidates, ...(entry.candidates ?? [])]) void link.addRemoteCandidate(candidate);
    this.apply('check', 'the offer was answered');
    trickle(link, sent, TRICKLE, (candidates) => this.#port.addCandidates(entry.serviceFqn, entry.offerId, candidates));
    return answer;
  }

  /**
   * Answers again until the link is up: on a server that replaces offers (v0.5.4) an answer is lost without notice when the host
   * publishes at the same moment. An offer that is gone was answered or renewed; the link comes up soon or never.
   * @returns function that stops it
   */
  #answerAgain(entry: ServiceEntry, answer: string): () => void {
    let gone: ReturnType<typeof setTimeout> | undefined;
    const again = setInterval(() => {
      this.#port.answerOffer(entry, answer).catch((error: RondevuError) => {
        if (error.code !== 'not-found') return;
        clearInterval(again);
        gone ??= setTimeout(() => this.#settle?.failed(new LostRace(true)), TAKEN_WITHIN);
      });
    }, ANSWER_AGAIN);
    return () => (clearInterval(again), clearTimeout(gone));
  }

  #speaksFrames(line: SdpLine | undefined): boolean {
    return this.config.bufferEnabled && (line?.caps.includes('durable') ?? false);
  }

  async #untilOpen(link: Link, entry: ServiceEntry, answer: string, opened: Promise<void>): Promise<void> {
    const fail = (reason: string) => {
      if (link === this.link) this.linkFailed(reason);
    };
    const timeout = setTimeout(() => {
      this.emit('connection:timeout');
      fail('the time was up');
    }, this.config.connectionTimeout);
    // this host may get answers later than others
    const takenWithin = Math.min(TAKEN_WITHIN * 2 ** this.#unconfirmed, this.config.connectionTimeout);
    const taken = this.#port.tellsTaken ? setTimeout(() => this.#settle?.failed(new LostRace(true)), takenWithin) : undefined;
    const stalled = setTimeout(() => {
      if (isStalled(link)) fail('no candidate was gathered');
    }, GATHERS_WITHIN);
    const answering = this.#port.keepsOffers() ? undefined : this.#answerAgain(entry, answer);
    this.#stopWatching?.();
    this.emit('ice:polling:started');
    const stop = this.#port.watch(entry.offerId, entry.serviceFqn, true, {
      onCandidates: (candidates) => {
        for (const { candidate } of candidates) {
          this.emit('ice:candidate:remote', candidate);
          void link.addRemoteCandidate(candidate);
        }
      },
      onTaken: () => clearTimeout(taken),
    });
    const stopWatching = (this.#stopWatching = () => {
      clearTimeout(timeout);
      clearTimeout(taken);
      clearTimeout(stalled);
      answering?.();
      stop();
      this.#stopWatching = undefined;
      this.emit('ice:polling:stopped');
    });
    try {
      await opened;
    } finally {
      if (this.#stopWatching === stopWatching) stopWatching();
    }
  }
}
