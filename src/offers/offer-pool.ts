/**
 * OfferPool: keeps N fresh offers of one service published, hands answered ones to the reception, and publishes a directed offer for
 * a connection that lost its peer.
 */
import { AsyncLock } from '../base/async-lock.js';
import { ExponentialBackoff } from '../base/backoff.js';
import { Emitter } from '../base/emitter.js';
import { WebRtcLink } from '../connection/webrtc-link.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import { RondevuError, ValidationError } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import { Offer, type MakeLink } from './offer.js';
import { Reception } from './reception.js';
import type { OfferPoolEvents, OfferPoolOptions } from './offer-pool-options.js';

/** How long a connection waits with a directed offer before it waits without one, in ms. */
const PARK_AFTER = 30_000;
/** How long refilling is postponed while a joiner connects, in ms. */
const REFILL_AFTER = 100;
/** With demand, at most this many times `maxOffers` are free at once. */
const DEMAND_FACTOR = 4;

/** Failures are emitted as `offer:failed`; the caller has nobody else to report them to. */
const told = (): void => undefined;

export class OfferPool extends Emitter<OfferPoolEvents> {
  /** `name:version@username`. */
  readonly fqn: string;
  /** Id of the service on the server: stable for this user and name, also after a restart. Undefined before it was published. */
  serviceId: string | undefined;
  readonly #port: PublisherPort;
  readonly #options: OfferPoolOptions;
  readonly #makeLink: (durable: boolean, ...own: Parameters<MakeLink>) => Promise<WebRtcLink>;
  readonly #free = new Set<Offer>();
  readonly #reception: Reception;
  readonly #proof: HandshakeProof;
  /** Directed offers, by the connection that waits for its peer. */
  readonly #directed = new Map<OffererConnection, Offer>();
  /** Timers after which a waiting connection gives up its offer. */
  readonly #parking = new Map<OffererConnection, ReturnType<typeof setTimeout>>();
  readonly #publishing = new AsyncLock();
  readonly #backoff = new ExponentialBackoff({ base: 1000, max: 30_000, jitter: 0.3 });
  #unsubscribe: (() => void) | undefined;
  #creating = 0;
  #demand = 0;
  /** A server that replaces offers (v0.5.4) lists an offer that is gone. */
  #isListingStale = false;
  /** When failed work is tried again, in ms; 0 if nothing failed. */
  #retryAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  /** The `start()` that waits until something is published. */
  #starting: { promise: Promise<void>; resolve(): void; reject(error: Error): void } | undefined;

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
    this.#reception = new Reception(options, port, proof, {
      opened: (connection) => this.emit('connection:opened', connection.getOfferId(), connection),
      rotated: (from, to, connection) => this.emit('connection:rotated', from, to, connection),
      closed: (connection, reason) => this.emit('connection:closed', connection, reason),
      failed: (offerId, error) => this.emit('offer:failed', offerId, error),
      changed: () => this.emit('changed'),
      isOpen: () => this.#started,
      needsOffer: (connection) => void this.#needsOffer(connection),
      waitsNoMore: (connection) => this.#park(connection),
      ended: () => this.#refill(),
    });
  }

  /** Free offers, as the server knows them. */
  get offers(): { offerId: string; sdp: string }[] {
    return [...this.#free].filter(({ id }) => id).map(({ id, sdp }) => ({ offerId: id, sdp }));
  }

  /** Connections that were opened and are not closed, whether or not their link is up. */
  get connections(): OffererConnection[] {
    return this.#reception.opened;
  }

  get isStarted(): boolean {
    return this.#started;
  }

  /**
   * Starts to accept joiners; resolves when the first offers are published. While the server cannot be reached, it keeps trying and
   * emits `offer:failed` with the reason.
   * @throws RondevuError if the server refuses the service; `closed` if `stop()` is called before anything was published
   */
  async start(): Promise<void> {
    if (this.#started) return this.#starting?.promise;
    this.#started = true;
    this.#unsubscribe ??= this.#port.subscribe({
      onAnswer: (answer) => void this.#onAnswer(answer),
      onDemand: ({ serviceFqn, waiting }) => {
        if (serviceFqn !== this.fqn) return;
        // the waiting joiners can get none of the offers counted as free: these are leased to others
        this.#demand = Math.max(0, this.#free.size + waiting - this.#options.maxOffers);
        this.#refill();
      },
      onReset: () => void this.#publish([...this.#free]).catch(told),
    });
    for (const connection of this.#reception.connections) void this.#needsOffer(connection);
    await this.#fill();
    // failed work is tried again; until then nothing is published
    if (!this.#retryAt || this.offers.length) return;
    // a listener of `offer:failed` may have stopped it
    if (!this.#started) throw this.#stoppedEarly();
    await this.#untilPublished();
  }

  #stoppedEarly(): RondevuError {
    return new RondevuError('closed', `${this.fqn} was stopped before it could be published`);
  }

  #untilPublished(): Promise<void> {
    let settle!: { resolve(): void; reject(error: Error): void };
    const promise = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
    this.#starting = { promise, ...settle };
    return promise.finally(() => (this.#starting = undefined));
  }

  /** Withdraws the offers; with `close`, also ends the connections. */
  async stop({ close = true }: { close?: boolean } = {}): Promise<void> {
    this.#started = false;
    this.#starting?.reject(this.#stoppedEarly());
    clearTimeout(this.#timer);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    const withdrawn = this.#withdrawAll();
    if (close)
      await Promise.all(
        [...this.#reception.connections].map((connection) => connection.close({ reason: 'the service was stopped' })),
      );
    await withdrawn;
  }

  /** Applies at once to free offers, and to new ones. */
  update(changes: Partial<Pick<OfferPoolOptions, 'maxOffers' | 'ttl' | 'maxConnections' | 'accept'>>): void {
    Object.assign(this.#options, changes);
    void this.#withdraw([...this.#free].slice(this.#target()));
    this.#refill();
  }

  /** Replaces all free offers, because the ICE servers or the network changed. */
  renewOffers(): void {
    if (this.#started) void this.#renew([...this.#free]).catch(told);
  }

  /** The page is being hidden, perhaps for good: withdraws the offers and closes the links; peers see a lost link. */
  suspend(): void {
    if (!this.#started) return;
    clearTimeout(this.#timer);
    void this.#withdrawAll();
    this.#started = false;
    for (const connection of this.#reception.connections) connection.dropLinkForNow('the page was hidden');
  }

  /** The page is back, or the network changed. */
  hint(): void {
    this.#started ||= this.#unsubscribe !== undefined;
    this.#refill();
    for (const connection of this.#reception.connections) connection.checkNow();
    for (const connection of this.#reception.connections) void this.#needsOffer(connection);
  }

  /** How many offers should be free. */
  #target(): number {
    const { maxOffers } = this.#options;
    return Math.min(maxOffers + this.#demand, maxOffers * DEMAND_FACTOR, this.#room());
  }

  /** Maximum number of free offers. */
  #room(): number {
    const { maxConnections, maxPeerConnections } = this.#options;
    // a connection that waits for its peer keeps its place; without directed offers, it needs a free offer to be found at
    const isCounted = (connection: OffererConnection) => this.#port.keepsDirected() || !connection.isRotating();
    const taken = [...this.#reception.connections].filter(isCounted).length;
    const elsewhere = WebRtcLink.live - this.#free.size - this.#creating;
    return Math.max(0, Math.min(maxConnections - taken - this.#reception.answering, maxPeerConnections - elsewhere));
  }

  #refill(): void {
    void this.#fill().catch(told);
  }

  /** @param replacing number of free offers that are about to be withdrawn */
  async #fill(replacing = 0): Promise<void> {
    const missing = this.#started ? this.#target() - (this.#free.size - replacing) - this.#creating : 0;
    // offers that could not be published are tried again with new ones, or when their retry is due
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
    // joiners arrived while it was made, or the service was stopped
    if (!this.#started) void this.#withdraw(offers);
    else if (!replacing) void this.#withdraw([...this.#free].slice(this.#room()));
    if (failure instanceof ValidationError) throw failure;
    if (failure) this.#retryAt = performance.now() + this.#backoff.next();
  }

  #unpublished(): Offer[] {
    return [...this.#free].filter(({ id }) => !id);
  }

  /** @param only user that the offer is directed to */
  #create(only?: string): Promise<Offer> {
    const { offerFactory, connectionConfig } = this.#options;
    return Offer.create((...own) => this.#makeLink(!offerFactory, ...own), {
      factory: offerFactory,
      durable: connectionConfig.bufferEnabled,
      only,
      seal: (sdp, caps) => this.#proof.seal(sdp, { role: 'offer', fqn: this.fqn, caps }),
    });
  }

  #creationFailed(failure: Error): void {
    const error =
      failure instanceof RondevuError
        ? failure
        : new RondevuError('unsupported', `an offer could not be made: ${failure.message}`, { cause: failure });
    error.willRetry = !(error instanceof ValidationError);
    if (!error.willRetry) this.#started = false;
    this.emit('offer:failed', '', error);
    // a factory of the wrong form will not change
    if (!error.willRetry) this.#failed(error);
  }

  async #publish(offers: Offer[]): Promise<void> {
    try {
      await this.#send(offers, (offer) => this.#free.has(offer) && !offer.id);
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

  #failed(error: RondevuError): void {
    this.#starting?.reject(error);
    this.emit('failed', error);
  }

  /** Publishes offers, if they are still wanted when it is their turn. */
  async #send(offers: Offer[], isWanted: (offer: Offer) => boolean): Promise<void> {
    await this.#publishing.run(async () => {
      let batch: Offer[];
      if (!this.#port.keepsOffers()) batch = await this.#replace();
      else {
        batch = offers.filter(isWanted);
        if (!batch.length || !this.#started) return;
        await this.#publishAll(batch);
      }
      // offers that were dropped in the meantime must not be handed out
      const gone = batch.filter((offer) => offer.link.isClosed).map(({ id }) => id);
      if (gone.length) await this.#port.withdraw(this.fqn, gone, this.#free.size === 0).catch(told);
    });
  }

  /**
   * Publishes to a server that keeps only the offers of the last call (v0.5.4), and drops answers with their offers. Leaves out
   * offers that are being renewed: that server hands out the oldest first.
   * @returns the offers of the first call if it shows that this server keeps offers
   */
  async #replace(): Promise<Offer[]> {
    await this.#port.fetchAnswers();
    do {
      const batch = [...this.#free].filter(({ renewAt }) => renewAt !== Infinity);
      if (!this.#started) return [];
      if (!batch.length) {
        if (this.#isListingStale) await this.#port.withdraw(this.fqn, [], true).catch(told);
        this.#isListingStale = false;
        return [];
      }
      // again in the same request: an answer between two requests would be lost
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
    this.serviceId = published.serviceId;
    this.emit('published', published.serviceId, published.expiresAt);
  }

  #published(offer: Offer, offerId: string): void {
    const first = !offer.id;
    offer.id = offerId;
    offer.renewAt = performance.now() + this.#options.ttl * this.#options.renewAt;
    if (offer.link.isClosed) return;
    // a server that replaces offers drops their candidates too
    if (first || !this.#port.keepsOffers()) offer.trickle((id, candidates) => this.#port.addCandidates(this.fqn, id, candidates));
    if (!first) return;
    this.#starting?.resolve();
    this.emit('offer:created', offerId, this.fqn);
    this.emit('changed');
  }

  /** One timer: renews old offers, and retries what could not be published. */
  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#started) return;
    const now = performance.now();
    const due = Math.min(this.#retryAt || Infinity, ...[...this.#free].map(({ renewAt }) => renewAt || Infinity));
    this.#timer = setTimeout(
      () => {
        this.#retryAt = 0;
        const old = [...this.#free].filter(({ renewAt }) => renewAt && renewAt <= performance.now());
        void (old.length ? this.#renew(old) : this.#fill()).catch(told);
      },
      Math.min(Math.max(due - now, 0), 2 ** 31 - 1),
    );
  }

  /** Publishes new offers before withdrawing the old ones, so that the service always has some; without new ones, the old ones stay. */
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
    const directed = [...this.#directed.values()];
    for (const connection of this.#parking.keys()) this.#forget(connection);
    return this.#withdraw([...this.#free, ...directed]);
  }

  async #withdraw(offers: Offer[]): Promise<void> {
    const ids = offers.map(({ id }) => id).filter(Boolean);
    this.#isListingStale ||= offers.some(({ isListed }) => isListed);
    for (const offer of offers) this.#discard(offer);
    if (!ids.length) return;
    const isLast = this.#free.size === 0;
    if (!isLast && !this.#port.keepsOffers()) return this.#isListingStale ? this.#publish([]) : undefined;
    // offers that cannot be withdrawn now end with the instance, or by their TTL
    await this.#port.withdraw(this.fqn, ids, isLast).then(() => (this.#isListingStale = false), told);
  }

  #discard(offer: Offer): void {
    this.#free.delete(offer);
    const { waiting } = offer;
    offer.waiting = undefined;
    waiting?.leaveOffer(offer.id);
    offer.link.close();
    this.emit('changed');
  }

  async #onAnswer(answer: AnswerInfo): Promise<void> {
    const find = () => [...this.#free, ...this.#directed.values()].find(({ id }) => id === answer.offerId);
    // a waiting joiner's answer may arrive before the reply with the offer's id: they use different transports
    if (!find() && this.#publishing.isLocked()) await this.#publishing.run(() => undefined);
    const offer = find();
    if (!offer) return this.#reception.repeated(answer);
    this.#free.delete(offer);
    if (offer.waiting) this.#forget(offer.waiting);
    // making peer connections is expensive: the current joiner comes first, unless others are waiting
    if (this.#free.size <= 1 || this.#demand) this.#refill();
    else setTimeout(() => this.#refill(), REFILL_AFTER);
    if (!(await this.#reception.receive(offer, answer))) this.#discard(offer);
  }

  /** A connection lost its peer: publishes an offer for this peer alone; after a while, the connection waits without one. */
  async #needsOffer(connection: OffererConnection): Promise<void> {
    const { peer } = connection;
    if (!this.#started || !connection.isRotating() || this.#parking.has(connection)) return;
    this.#refill();
    // an old server would give it to anybody; the peer can answer any other offer as well
    if (!peer || !this.#port.keepsDirected()) return;
    const parking = setTimeout(() => {
      this.#park(connection);
      // a full service has no other offer at which it could be found
      if (this.#reception.connections.size >= this.#options.maxConnections) void this.#needsOffer(connection);
    }, this.#parkAfter());
    this.#parking.set(connection, parking);
    // the peer may return, and leave again, while the offer is being made
    const isWanted = () => this.#started && this.#parking.get(connection) === parking && connection.isRotating();
    let offer: Offer | undefined;
    try {
      offer = await this.#create(peer.username);
      if (!isWanted()) return void this.#discard(offer);
      // its answer may arrive before the reply with its id
      offer.waiting = connection;
      this.#directed.set(connection, offer);
      await this.#send([offer], isWanted);
    } catch {
      // the other offers remain, and the next lost link tries again
    }
    if (!offer) return;
    if (offer.waiting !== connection) return; // it has been answered
    if (!offer.id || !isWanted()) return this.#park(connection);
    this.#reception.rebind(connection, offer);
  }

  /** An offer must not wait beyond its lifetime. */
  #parkAfter(): number {
    return Math.min(PARK_AFTER, this.#options.ttl * this.#options.renewAt);
  }

  /** Its directed offer is no longer bound to it. */
  #forget(connection: OffererConnection): void {
    clearTimeout(this.#parking.get(connection));
    this.#parking.delete(connection);
    this.#directed.delete(connection);
  }

  /** Removes the directed offer of a connection, if it has one. */
  #park(connection: OffererConnection): void {
    const offer = this.#directed.get(connection);
    this.#forget(connection);
    if (offer) void this.#withdraw([offer]);
  }
}
