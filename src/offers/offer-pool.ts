/**
 * OfferPool: keeps a service joinable, with free offers on the server and a connection for every answer that is accepted.
 */
import { AsyncLock } from '../base/async-lock.js';
import { ExponentialBackoff } from '../base/backoff.js';
import { checkOptions, withDefaults } from '../base/check-options.js';
import { Emitter } from '../base/emitter.js';
import { timerDelay } from '../base/timers.js';
import type { Writable } from '../base/writable.js';
import { WebRtcLink } from '../connection/webrtc-link.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import { asRondevuError, RondevuError, ValidationError } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { PublishOptions } from '../options.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import { AnswerRouter, type Examined } from './answer-router.js';
import { DirectedOffers } from './directed-offers.js';
import { Offer, type MakeLink } from './offer.js';
import type { OfferPoolEvents, OfferPoolOptions } from './offer-pool-options.js';
import { ServiceConnections } from './service-connections.js';

/** How long refilling is postponed while a joiner connects, in ms. */
const REFILL_AFTER = 100;
/** How long a connection keeps its directed offer before it waits without an offer, in ms. */
const PARK_AFTER = 30_000;
/** Maximum number of free offers while joiners are waiting, as a multiple of `maxOffers`. */
const DEMAND_FACTOR = 4;

/** Ignores a failure that was already emitted as `offer:failed`. */
const reported = (): void => undefined;

export class OfferPool extends Emitter<OfferPoolEvents> {
  /** `name:version@username`. */
  readonly fqn: string;
  /** Id of the service on the server: stable for this user and name, even after a restart. Undefined until published. */
  readonly serviceId: string | undefined;
  readonly #port: PublisherPort;
  readonly #options: OfferPoolOptions;
  readonly #makeLink: (durable: boolean, ...own: Parameters<MakeLink>) => Promise<WebRtcLink>;
  readonly #free = new Set<Offer>();
  readonly #directed = new DirectedOffers();
  readonly #connections: ServiceConnections;
  readonly #router: AnswerRouter;
  readonly #proof: HandshakeProof;
  readonly #publishing = new AsyncLock();
  readonly #backoff = new ExponentialBackoff({ base: 1000, max: 30_000, jitter: 0.3 });
  #unsubscribe: (() => void) | undefined;
  #creating = 0;
  /** Number of answers that are being examined. */
  #examining = 0;
  #demand = 0;
  /** Whether a server that replaces offers (v0.5.4) still lists an offer that was discarded. */
  #isListingStale = false;
  /** Time at which failed work is retried, in ms of `performance.now()`; 0 if nothing has failed. */
  #retryAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  /** The pending `start()` call, which waits until an offer is published. */
  #starting: { promise: Promise<void>; resolve(): void; reject(error: Error): void } | undefined;

  /** @internal */
  constructor(
    options: OfferPoolOptions,
    port: PublisherPort,
    proof: HandshakeProof,
    makeLink: (durable: boolean, ...own: Parameters<MakeLink>) => Promise<WebRtcLink>,
  ) {
    super();
    this.fqn = options.serviceFqn;
    this.#options = options;
    this.#port = port;
    this.#makeLink = makeLink;
    this.#proof = proof;
    this.#connections = new ServiceConnections(options, port, proof, {
      onState: (connection, isFirst) => {
        if (connection.isConnected()) this.#cancelDirected(connection);
        // before `connected`, so that a `connected` listener added in `connection:opened` is called
        if (isFirst) this.emit('connection:opened', connection.getOfferId(), connection);
        this.emit('changed');
      },
      onNeedsOffer: (connection) => this.#needsOffer(connection),
      onClosed: (connection, reason) => this.emit('connection:closed', connection, reason),
      onEnded: (connection) => {
        this.#cancelDirected(connection);
        this.emit('changed');
        this.#refill();
      },
      onFailed: (offerId, error) => this.emit('offer:failed', offerId, error),
    });
    this.#router = new AnswerRouter(options, proof, this.#connections.all);
  }

  /** Free offers that are published on the server. */
  get offers(): { offerId: string; sdp: string }[] {
    return [...this.#free].filter(({ id }) => id).map(({ id, sdp }) => ({ offerId: id, sdp }));
  }

  /** Connections that were opened and are not closed, whether or not their link is up. */
  get connections(): OffererConnection[] {
    return this.#connections.opened;
  }

  get isStarted(): boolean {
    return this.#started;
  }

  /**
   * Starts accepting joiners; resolves when the first offers are published. While the server cannot be reached, the pool keeps
   * retrying and emits `offer:failed` with the reason.
   * @throws RondevuError if the server refuses the service; `closed` if `stop()` is called before the first offers are published
   */
  async start(): Promise<void> {
    if (this.#started) return this.#starting?.promise;
    this.#started = true;
    let settle!: { resolve(): void; reject(error: Error): void };
    const promise = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
    promise.catch(reported);
    const starting = (this.#starting = { promise, ...settle });
    this.#unsubscribe ??= this.#port.subscribe({
      onAnswer: (answer) => void this.#onAnswer(answer),
      onDemand: ({ serviceFqn, waiting }) => {
        if (serviceFqn !== this.fqn) return;
        // waiting joiners cannot get any of the offers counted as free, because these offers are leased to other joiners
        this.#demand = Math.max(0, this.#free.size + waiting - this.#options.maxOffers);
        this.#refill();
      },
      onReset: () => void this.#publish([...this.#free, ...this.#directed.offers], () => true).catch(reported),
    });
    for (const connection of this.#connections.all) this.#needsOffer(connection);
    try {
      await this.#fill();
      // nothing is published until the failed work has been retried
      if (!this.#retryAt || this.offers.length) starting.resolve();
      await promise;
    } finally {
      if (this.#starting === starting) this.#starting = undefined;
    }
  }

  /** Withdraws the offers; also closes the connections, unless `close` is false. */
  async stop({ close = true }: { close?: boolean } = {}): Promise<void> {
    this.#started = false;
    this.#starting?.reject(new RondevuError('closed', `${this.fqn} was stopped before it could be published`));
    clearTimeout(this.#timer);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    const withdrawn = this.#withdrawAll();
    if (close)
      await Promise.all([...this.#connections.all].map((connection) => connection.close({ reason: 'the service was stopped' })));
    await withdrawn;
  }

  /**
   * Changes options. `maxOffers`, `maxConnections` and `accept` take effect immediately; `ttl` applies to offers published from
   * then on.
   * @throws ValidationError for an invalid option
   */
  update(changes: Pick<PublishOptions, 'maxOffers' | 'ttl' | 'maxConnections' | 'accept'>): void {
    checkOptions('update', changes, { number: 'maxOffers ttl maxConnections', function: 'accept' });
    Object.assign(this.#options, withDefaults(this.#options, changes as Partial<OfferPoolOptions>));
    void this.#withdraw([...this.#free].slice(this.#target()));
    this.#refill();
  }

  /** Replaces all free offers, because the ICE servers or the network changed. @internal */
  renewOffers(): void {
    if (this.#started) void this.#renew([...this.#free]).catch(reported);
  }

  /**
   * Called when the page is being hidden, perhaps permanently: withdraws the offers and closes the links; peers treat the links
   * as lost.
   * @internal
   */
  suspend(): void {
    if (!this.#started) return;
    clearTimeout(this.#timer);
    void this.#withdrawAll();
    this.#started = false;
    for (const connection of this.#connections.all) connection.dropLinkForNow('the page was hidden');
  }

  /** Called when the page is shown again or the network has changed. @internal */
  hint(): void {
    this.#started ||= this.#unsubscribe !== undefined;
    this.#refill();
    for (const connection of this.#connections.all) connection.checkNow();
    for (const connection of this.#connections.all) this.#needsOffer(connection);
  }

  get #isFull(): boolean {
    return this.#connections.all.size >= this.#options.maxConnections;
  }

  /** Target number of free offers. */
  #target(): number {
    const { maxOffers } = this.#options;
    return Math.min(maxOffers + this.#demand, maxOffers * DEMAND_FACTOR, this.#room());
  }

  /** Maximum number of free offers. */
  #room(): number {
    const { maxConnections, maxPeerConnections } = this.#options;
    // a connection that waits for its peer keeps its place; if the server has no directed offers, the peer needs a free offer
    const isCounted = (connection: OffererConnection) => this.#port.keepsDirected() || !connection.isRotating();
    const taken = [...this.#connections.all].filter(isCounted).length;
    const elsewhere = WebRtcLink.live - this.#free.size - this.#creating;
    return Math.max(0, Math.min(maxConnections - taken - this.#examining, maxPeerConnections - elsewhere));
  }

  #refill(): void {
    void this.#fill().catch(reported);
  }

  /** @param replacing number of free offers that are about to be withdrawn */
  async #fill(replacing = 0): Promise<void> {
    // a full service has no free offer that the peer of a waiting connection could answer
    if (this.#isFull && !this.#retryAt) for (const connection of this.#connections.all) this.#direct(connection);
    const missing = this.#started ? this.#target() - (this.#free.size - replacing) - this.#creating : 0;
    // offers that could not be published are retried together with new offers, or when their retry is due
    const isPublished = !this.#unpublished().length && !this.#isListingStale;
    if (missing <= 0 && (this.#retryAt || isPublished)) return this.#schedule();
    if (missing > 0) await this.#make(missing, replacing);
    await this.#publish(this.#unpublished());
    this.#schedule();
  }

  async #make(missing: number, replacing: number): Promise<void> {
    this.#demand = 0;
    this.#creating += missing;
    const created = await Promise.allSettled(Array.from({ length: missing }, () => this.#create()));
    this.#creating -= missing;
    const offers = created.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
    for (const offer of offers) this.#free.add(offer);
    const failure = created.find((result) => result.status === 'rejected')?.reason as Error | undefined;
    if (failure) this.#creationFailed(failure);
    // joiners may have arrived while the offers were being created, or the service may have been stopped
    if (!this.#started) void this.#withdraw(offers);
    else if (!replacing) void this.#withdraw([...this.#free].slice(this.#room()));
    if (failure instanceof ValidationError) throw failure;
    if (failure) this.#retryAt = performance.now() + this.#backoff.next();
  }

  #unpublished(): Offer[] {
    return [...this.#free].filter(({ id }) => !id);
  }

  /** @param only the user to whom the offer is directed */
  #create(only?: string): Promise<Offer> {
    const { offerFactory, connectionConfig } = this.#options;
    return Offer.create((...own) => this.#makeLink(!offerFactory, ...own), {
      factory: offerFactory,
      gatheringTimeout: connectionConfig.iceGatheringTimeout,
      durable: connectionConfig.bufferEnabled,
      only,
      seal: (sdp, caps) => this.#proof.seal(sdp, { role: 'offer', fqn: this.fqn, caps }),
    });
  }

  #creationFailed(failure: Error): void {
    const error =
      failure instanceof RondevuError
        ? failure
        : new RondevuError('unsupported', `cannot create an offer: ${failure.message}`, { cause: failure });
    error.willRetry = !(error instanceof ValidationError);
    if (!error.willRetry) this.#started = false;
    this.emit('offer:failed', '', error);
    // there is no retry: an invalid factory would fail every time
    if (!error.willRetry) this.#failed(error);
  }

  /** @param isWanted whether a given offer still has to be published; default: whether it has no id yet */
  async #publish(offers: Offer[], isWanted = ({ id }: Offer) => !id): Promise<void> {
    try {
      await this.#send(offers, (offer) => this.#isHeld(offer) && isWanted(offer));
      if (!this.#retryAt) this.#backoff.reset();
    } catch (cause) {
      const error = cause as RondevuError;
      error.willRetry = /^(unavailable|rate-limited|timeout|clock-skew)$/.test(error.code);
      if (!error.willRetry) this.#started = false;
      this.emit('offer:failed', offers[0]?.id ?? '', error);
      if (!error.willRetry) {
        this.#failed(error);
        for (const offer of this.#free) this.#discard(offer);
        throw error;
      }
      this.#retryAt = performance.now() + this.#backoff.next();
      this.#schedule();
    }
  }

  /** Whether the offer has been neither answered nor withdrawn. */
  #isHeld(offer: Offer): boolean {
    return this.#free.has(offer) || this.#directed.offers.includes(offer);
  }

  #failed(error: RondevuError): void {
    this.#starting?.reject(error);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.emit('failed', error);
  }

  /** Publishes offers after any earlier publication, except offers that are then no longer wanted. */
  async #send(offers: Offer[], isWanted: (offer: Offer) => boolean): Promise<void> {
    await this.#publishing.run(async () => {
      let batch: Offer[];
      if (!this.#port.keepsOffers()) batch = await this.#replace();
      else {
        batch = offers.filter(isWanted);
        if (!batch.length || !this.#started) return;
        await this.#publishAll(batch);
      }
      // offers that were discarded in the meantime must not be handed out
      const gone = batch.filter((offer) => offer.link.isClosed).map(({ id }) => id);
      if (gone.length) await this.#port.withdraw(this.fqn, gone, this.#free.size === 0).catch(reported);
    });
  }

  /**
   * Publishes all free offers to a server that keeps only the offers of the last call (v0.5.4) and drops answers together with
   * their offers. Omits offers that are being renewed, because such a server hands out the oldest offer first.
   * @returns the published offers if the first call shows that the server keeps offers; otherwise an empty array
   */
  async #replace(): Promise<Offer[]> {
    await this.#port.fetchAnswers();
    do {
      const batch = [...this.#free].filter(({ renewAt }) => renewAt !== Infinity);
      if (!this.#started) return [];
      if (!batch.length) {
        if (this.#isListingStale) await this.#port.withdraw(this.fqn, [], true).catch(reported);
        this.#isListingStale = false;
        return [];
      }
      // answers are fetched again in the same request, because an answer that arrives between two requests would be lost
      const answers = this.#port.fetchAnswers();
      await this.#publishAll(batch);
      await answers;
      if (this.#port.keepsOffers()) return batch;
      for (const offer of this.#free) offer.isListed = batch.includes(offer);
      this.#isListingStale = !batch.every((offer) => this.#free.has(offer));
    } while (this.#isListingStale);
    return [];
  }

  async #publishAll(batch: Offer[]): Promise<void> {
    const { ttl, hidden, metadata } = this.#options;
    const published = await this.#port.publish({
      serviceFqn: this.fqn,
      offers: batch.map(({ sdp, only }) => ({ sdp, ...(only !== undefined && { for: only }) })),
      ttl,
      ...(hidden && { hidden }),
      ...(metadata !== undefined && { metadata }),
    });
    batch.forEach((offer, index) => this.#published(offer, published.offers[index]!.offerId));
    (this as Writable<OfferPool>).serviceId = published.serviceId;
    this.emit('published', published.serviceId, published.expiresAt);
  }

  #published(offer: Offer, offerId: string): void {
    const first = !offer.id;
    offer.id = offerId;
    offer.renewAt = performance.now() + this.#options.ttl * this.#options.renewAt;
    if (offer.link.isClosed) return;
    // a server that has lost or replaced the offer has no candidates for it either
    offer.trickle((id, candidates) => this.#port.addCandidates(this.fqn, id, candidates));
    if (!first) return;
    this.#starting?.resolve();
    this.emit('offer:created', offerId, this.fqn);
    this.emit('changed');
  }

  /** Schedules, with a single timer, the renewal of old offers and the retry of failed publications. */
  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#started) return;
    const now = performance.now();
    const due = Math.min(this.#retryAt || Infinity, ...[...this.#free].map(({ renewAt }) => renewAt || Infinity));
    this.#timer = setTimeout(
      () => {
        this.#retryAt = 0;
        const old = [...this.#free].filter(({ renewAt }) => renewAt && renewAt <= performance.now());
        void (old.length ? this.#renew(old) : this.#fill()).catch(reported);
      },
      timerDelay(Math.max(due - now, 0)),
    );
  }

  /**
   * Publishes new offers before withdrawing the old ones, so that the service always has free offers; if no new offers can be
   * published, the old offers are kept.
   */
  async #renew(old: Offer[]): Promise<void> {
    for (const offer of old) offer.renewAt = Infinity;
    await this.#fill(old.length);
    if (this.#retryAt) {
      for (const offer of this.#unpublished()) this.#discard(offer);
      for (const offer of old) offer.renewAt = this.#retryAt;
    } else await this.#withdraw(old.filter((offer) => this.#free.has(offer)));
    this.#schedule();
  }

  #withdrawAll(): Promise<void> {
    return this.#withdraw([...this.#free, ...this.#directed.clear()]);
  }

  async #withdraw(offers: Offer[]): Promise<void> {
    const ids = offers.map(({ id }) => id).filter(Boolean);
    this.#isListingStale ||= offers.some(({ isListed }) => isListed);
    for (const offer of offers) this.#discard(offer);
    if (!ids.length) return;
    const isLast = this.#free.size === 0;
    if (!isLast && !this.#port.keepsOffers()) return this.#isListingStale ? this.#publish([]).catch(reported) : undefined;
    // offers that cannot be withdrawn now are removed when this client instance ends or their TTL expires
    await this.#port.withdraw(this.fqn, ids, isLast).then(() => (this.#isListingStale = false), reported);
  }

  #discard(offer: Offer): void {
    this.#free.delete(offer);
    for (const connection of this.#connections.all) connection.leaveOffer(offer.id);
    offer.link.close();
    this.emit('changed');
  }

  async #onAnswer(answer: AnswerInfo): Promise<void> {
    const find = () => [...this.#free, ...this.#directed.offers].find(({ id }) => id === answer.offerId);
    // a waiting joiner's answer may arrive before the reply with the offer's id, because their transports differ
    if (!find() && this.#publishing.isLocked()) await this.#publishing.run(() => undefined);
    const offer = find();
    if (!offer) return this.#connections.reportDuplicate(answer);
    this.#free.delete(offer);
    const waiting = this.#directed.take(offer);
    // creating peer connections is expensive, so the current joiner takes priority, unless others are waiting
    if (this.#free.size <= 1 || this.#demand) this.#refill();
    else setTimeout(() => this.#refill(), REFILL_AFTER);
    let connection: OffererConnection | undefined;
    try {
      const examined = await this.#examine(offer, answer);
      connection = this.#connectionFor(examined, offer, waiting);
      const isFramed = offer.durable && (examined.line?.caps.includes('durable') ?? false);
      if (connection) await this.#connections.takeAnswer(connection, answer, isFramed);
    } catch (error) {
      this.emit('offer:failed', answer.offerId, asRondevuError(error, `the answer of ${answer.answererId}`));
    }
    if (!connection) this.#discard(offer);
    if (waiting && waiting !== connection) this.#needsOffer(waiting);
    this.emit('changed');
  }

  async #examine(offer: Offer, answer: AnswerInfo): Promise<Examined> {
    this.#examining++;
    try {
      return await this.#router.examine(offer, answer);
    } finally {
      this.#examining--;
    }
  }

  /**
   * Returns the connection that an answer belongs to, bound to the answered offer; undefined if the answer is refused.
   * @param waiting the connection that waited with the offer, perhaps for a different peer
   */
  #connectionFor(examined: Examined, offer: Offer, waiting: OffererConnection | undefined): OffererConnection | undefined {
    const { peer, line } = examined;
    let verdict = this.#router.decide(examined, offer);
    if ('connection' in verdict && verdict.connection.isConnected()) {
      verdict.connection.supersede();
      // a listener may have closed the connection
      verdict = this.#router.decide(examined, offer);
    }
    // the service may have been stopped in the meantime
    if (!this.#started) return undefined;
    if (verdict.kind === 'refuse') {
      if (verdict.reason && line?.sid)
        void this.#port.signal({ to: peer.username, sid: line.sid, sdp: `refuse ${verdict.reason}` });
      return undefined;
    }
    const returning = verdict.kind === 'new' ? undefined : verdict.connection;
    if (waiting !== returning) waiting?.leaveOffer(offer.id);
    if (!returning) return this.#connections.open(offer, peer, line?.sid);
    this.#cancelDirected(returning);
    if (verdict.kind === 'rebind') this.#bind(returning, offer);
    returning.setPeer(peer, line?.sid);
    return returning;
  }

  /** Publishes an offer for the peer of a connection that has lost its link. */
  #needsOffer(connection: OffererConnection): void {
    if (connection.isRotating()) this.#refill();
    this.#direct(connection);
  }

  /** Publishes a directed offer, unless one already exists. The peer can also answer any free offer. */
  #direct(connection: OffererConnection): void {
    if (!this.#started || !connection.isRotating() || this.#directed.has(connection)) return;
    // an older server would give the offer to any joiner
    if (this.#port.keepsDirected()) void this.#publishDirected(connection);
  }

  /**
   * Never rejects. If the directed offer cannot be published, publishing is retried only when the service is full; otherwise the
   * peer can return through a free offer.
   */
  async #publishDirected(connection: OffererConnection): Promise<void> {
    const { ttl, renewAt } = this.#options;
    // an offer must not wait for an answer longer than its lifetime
    const waiting = this.#directed.add(connection, Math.min(PARK_AFTER, ttl * renewAt), () => {
      this.#cancelDirected(connection);
      this.#refill();
    });
    const isWanted = () => this.#directed.includes(waiting) && connection.isRotating();
    try {
      const offer = await this.#create(connection.peer.username);
      if (!isWanted()) return this.#discard(offer);
      // the answer may arrive before the server's reply with the offer id
      waiting.offer = offer;
      await this.#send([offer], isWanted);
      if (offer.id && isWanted()) return this.#bind(connection, offer);
    } catch {
      if (this.#isFull) this.#retryAt ||= performance.now() + this.#backoff.next();
      this.#schedule();
    }
    // there is nothing to cancel if the offer was answered or cancelled in the meantime
    if (this.#directed.includes(waiting)) this.#cancelDirected(connection);
  }

  /** Withdraws the offer of a connection, because its peer is back, will not return, or has not answered in time. */
  #cancelDirected(connection: OffererConnection): void {
    void this.#withdraw(this.#directed.remove(connection));
  }

  #bind(connection: OffererConnection, offer: Offer): void {
    const old = connection.getOfferId();
    connection.bind(offer.id, offer.link);
    this.emit('connection:rotated', old, offer.id, connection);
  }
}
