/**
 * OfferPool: keeps N fresh offers of one service published, hands answered ones to connections, and gives a connection that
 * lost its peer another offer to wait at. It decides whose answer an answer is; the buffer of a connection belongs to its
 * peer and reaches nobody else.
 */
import { AsyncLock } from '../base/async-lock.js';
import { ExponentialBackoff } from '../base/backoff.js';
import { Emitter } from '../base/emitter.js';
import type { Peer } from '../connection/connection-events.js';
import { Link } from '../connection/link.js';
import { OffererConnection } from '../connection/offerer-connection.js';
import { RondevuError, ValidationError } from '../errors.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import { Offer } from './offer.js';
import type { OfferPoolEvents, OfferPoolOptions } from './offer-pool-options.js';

/** How long a peer of a connection that looks alive has to answer when the same user comes again, in ms. */
const PROBE = 500;
/** How long a connection waits at an offer of its own before it only waits, in ms. */
const PARK_AFTER = 30_000;
/** How long refilling gives way to the joiner at hand, in ms. */
const REFILL_AFTER = 100;
/** An offer is renewed after this share of its life. */
const RENEW_AT = 0.8;
/** On demand, at most this many times maxOffers are free at once. */
const DEMAND_FACTOR = 4;

/** Failures are told as `offer:failed`; who started the work in passing has nobody else to tell. */
const told = (): void => undefined;

export class OfferPool extends Emitter<OfferPoolEvents> {
  /** `name:version@username`. */
  readonly fqn: string;
  readonly #port: PublisherPort;
  readonly #options: OfferPoolOptions;
  readonly #makeLink: (durable: boolean) => Link;
  readonly #free = new Set<Offer>();
  readonly #connections = new Set<OffererConnection>();
  readonly #opened = new Set<OffererConnection>();
  readonly #watches = new Map<OffererConnection, () => void>();
  readonly #parking = new Map<OffererConnection, ReturnType<typeof setTimeout>>();
  readonly #publishing = new AsyncLock();
  readonly #backoff = new ExponentialBackoff({ base: 1000, max: 30_000, jitter: 0.3 });
  #unsubscribe: (() => void) | undefined;
  #creating = 0;
  #demand = 0;
  /** Answers that were taken and have no connection yet. */
  #answering = 0;
  /** When what failed is tried again, in ms; 0 for nothing failed. */
  #retryAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #started = false;
  /** The connection whose offer is about to be chosen, so that it is not given another one meanwhile. */
  #claiming: OffererConnection | undefined;

  constructor(options: OfferPoolOptions, port: PublisherPort, makeLink: (durable: boolean) => Link) {
    super();
    this.fqn = options.serviceFqn;
    this.#options = options;
    this.#port = port;
    this.#makeLink = makeLink;
  }

  /** Free offers, as the server knows them. */
  get offers(): { offerId: string; sdp: string }[] {
    return [...this.#free].filter(({ id }) => id).map(({ id, sdp }) => ({ offerId: id, sdp }));
  }

  /** Connections that were opened and are not closed, whether their link is up or not. */
  get connections(): OffererConnection[] {
    return [...this.#opened];
  }

  get isStarted(): boolean {
    return this.#started;
  }

  /**
   * Begins to accept; resolves when the first offers are published.
   * @throws RondevuError when the server refuses the service itself; a server that cannot be reached is tried again
   */
  async start(): Promise<void> {
    if (this.#started) return;
    this.#started = true;
    this.#unsubscribe ??= this.#port.subscribe({
      onAnswer: (answer) => void this.#onAnswer(answer),
      onDemand: ({ serviceFqn, waiting }) => {
        if (serviceFqn !== this.fqn) return;
        // who waits could be given none of those that we count as free: they are held for others
        this.#demand = Math.max(0, this.#free.size + waiting - this.#options.maxOffers);
        this.#refill();
      },
      onReset: () => void this.#publish([...this.#free]).catch(told),
    });
    for (const connection of this.#connections) this.#needsOffer(connection);
    await this.#fill();
  }

  /** Withdraws the offers; with `close` ends the connections too. */
  async stop({ close = true }: { close?: boolean } = {}): Promise<void> {
    this.#started = false;
    clearTimeout(this.#timer);
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    const withdrawn = this.#withdraw([...this.#free]);
    if (close)
      await Promise.all([...this.#connections].map((connection) => connection.close({ reason: 'the service was stopped' })));
    await withdrawn;
  }

  /** Applies at once to what is free, and to new offers. */
  update(changes: Partial<Pick<OfferPoolOptions, 'maxOffers' | 'ttl' | 'maxConnections' | 'accept'>>): void {
    Object.assign(this.#options, changes);
    void this.#withdraw([...this.#free].slice(this.#options.maxOffers));
    this.#refill();
  }

  /** The page is being hidden, perhaps for good: offers are withdrawn and links let go; peers take it as a blip. */
  suspend(): void {
    if (!this.#started) return;
    clearTimeout(this.#timer);
    void this.#withdraw([...this.#free]);
    this.#started = false;
    for (const connection of this.#connections) connection.dropLinkForNow('the page was hidden');
  }

  /** The page is back, or the network is another. */
  hint(): void {
    this.#started ||= this.#unsubscribe !== undefined;
    this.#refill();
    for (const connection of this.#connections) connection.checkNow();
  }

  /** How many offers should be free. */
  #target(): number {
    const { maxOffers, maxConnections, maxPeerConnections } = this.#options;
    const wanted = Math.min(maxOffers + this.#demand, maxOffers * DEMAND_FACTOR);
    // one that waits for its peer needs an offer to be found at, so it does not count
    const live = [...this.#connections].filter((connection) => !connection.isRotating()).length;
    const elsewhere = Link.live - this.#free.size - this.#creating;
    return Math.max(0, Math.min(wanted, maxConnections - live - this.#answering, maxPeerConnections - elsewhere));
  }

  #refill(): void {
    void this.#fill().catch(told);
  }

  /** @param replacing how many of the free offers are about to go */
  async #fill(replacing = 0): Promise<void> {
    const missing = this.#started ? this.#target() - (this.#free.size - replacing) - this.#creating : 0;
    if (missing <= 0) return this.#schedule();
    this.#demand = 0;
    this.#creating += missing;
    const { offerFactory } = this.#options;
    const create = () => Offer.create(() => this.#makeLink(!offerFactory), offerFactory);
    const created = await Promise.allSettled(Array.from({ length: missing }, create));
    this.#creating -= missing;
    const offers = created.filter((result) => result.status === 'fulfilled').map(({ value }) => value);
    for (const offer of offers) this.#free.add(offer);
    const failure = created.find((result) => result.status === 'rejected')?.reason as Error | undefined;
    if (failure) this.#creationFailed(failure);
    if (!this.#started) void this.#withdraw(offers);
    if (failure instanceof ValidationError) throw failure;
    if (failure) this.#retryAt = Date.now() + this.#backoff.next();
    await this.#publish(offers);
    this.#schedule();
  }

  #creationFailed(failure: Error): void {
    const error =
      failure instanceof RondevuError
        ? failure
        : new RondevuError('unsupported', `an offer could not be made: ${failure.message}`, { cause: failure });
    error.willRetry = !(error instanceof ValidationError);
    this.emit('offer:failed', '', error);
    // a factory of the wrong form stays one
    if (!error.willRetry) this.#started = false;
  }

  async #publish(offers: Offer[]): Promise<void> {
    const live = () => offers.filter((offer) => this.#free.has(offer));
    try {
      await this.#publishing.run(async () => {
        // an old server keeps only what the last call brought, and drops answers with their offers
        if (!this.#port.keepsOffers()) await this.#port.fetchAnswers();
        const batch = this.#port.keepsOffers() ? live() : [...this.#free];
        if (!batch.length || !this.#started) return;
        const { ttl, hidden, metadata } = this.#options;
        const sdps = batch.map(({ sdp }) => ({ sdp }));
        const published = await this.#port.publish({
          serviceFqn: this.fqn,
          offers: sdps,
          ttl,
          ...(hidden && { hidden }),
          ...(metadata !== undefined && { metadata }),
        });
        batch.forEach((offer, index) => this.#published(offer, published[index]!.offerId));
        // nobody may be handed what went meanwhile
        const gone = batch.filter((offer) => offer.link.isClosed).map(({ id }) => id);
        if (gone.length) await this.#port.withdraw(this.fqn, gone, this.#free.size === 0).catch(told);
      });
      if (!this.#retryAt) this.#backoff.reset();
    } catch (cause) {
      const error = cause as RondevuError;
      error.willRetry = /^(unavailable|rate-limited|timeout|clock-skew)$/.test(error.code);
      this.emit('offer:failed', offers[0]?.id ?? '', error);
      if (!error.willRetry) {
        this.#started = false;
        for (const offer of this.#free) this.#discard(offer);
        throw error;
      }
      this.#retryAt = Date.now() + this.#backoff.next();
      this.#schedule();
    }
  }

  #published(offer: Offer, offerId: string): void {
    const first = !offer.id;
    offer.id = offerId;
    offer.renewAt = Date.now() + this.#options.ttl * RENEW_AT;
    if (!this.#free.has(offer)) return;
    if (first) {
      offer.trickle((id, candidates) => this.#port.addCandidates(this.fqn, id, candidates));
      this.emit('offer:created', offerId, this.fqn);
      this.emit('changed');
    }
    this.#placeWaiting();
  }

  /** One timer: renewal of what gets old, another try of what could not be published. */
  #schedule(): void {
    clearTimeout(this.#timer);
    if (!this.#started) return;
    const now = Date.now();
    const due = Math.min(this.#retryAt || Infinity, ...[...this.#free].map(({ renewAt }) => renewAt || Infinity));
    this.#timer = setTimeout(
      () => {
        this.#retryAt = 0;
        const old = [...this.#free].filter(({ renewAt }) => renewAt && renewAt <= Date.now());
        const unpublished = [...this.#free].filter(({ id }) => !id);
        if (old.length) void this.#renew(old).catch(told);
        else
          void this.#publish(unpublished)
            .then(() => this.#fill())
            .catch(told);
      },
      Math.min(Math.max(due - now, 0), 2 ** 31 - 1),
    );
  }

  /** New offers first, then the old ones go, so that the service is never without any. */
  async #renew(old: Offer[]): Promise<void> {
    for (const offer of old) offer.renewAt = Infinity;
    await this.#fill(old.length);
    await this.#withdraw(old.filter((offer) => this.#free.has(offer)));
    this.#schedule();
  }

  async #withdraw(offers: Offer[]): Promise<void> {
    const ids = offers.map(({ id }) => id).filter(Boolean);
    for (const offer of offers) this.#discard(offer);
    if (!ids.length) return;
    // what cannot be withdrawn now dies with the instance, or by its TTL
    await this.#port.withdraw(this.fqn, ids, this.#free.size === 0).catch(() => undefined);
  }

  #discard(offer: Offer): void {
    this.#free.delete(offer);
    const { waiting } = offer;
    offer.waiting = undefined;
    waiting?.leaveOffer();
    offer.link.close();
    this.emit('changed');
    if (waiting) this.#needsOffer(waiting);
  }

  async #onAnswer(answer: AnswerInfo): Promise<void> {
    const find = () => [...this.#free].find(({ id }) => id === answer.offerId);
    // a joiner in line may answer before the reply that tells us the offer's id is here: the two take different roads
    if (!find() && this.#publishing.isLocked()) await this.#publishing.run(() => undefined);
    const offer = find();
    if (!offer) {
      // pushed and polled, or sent twice
      const known = [...this.#connections].find((connection) => connection.getOfferId() === answer.offerId);
      await known?.processAnswer(answer.sdp, answer.answererId).catch(() => undefined);
      return;
    }
    this.#free.delete(offer);
    this.#answering++;
    // making peer connections keeps the page busy: the joiner at hand comes first, unless others are at the door
    if (this.#free.size <= 1 || this.#demand) this.#refill();
    else setTimeout(() => this.#refill(), REFILL_AFTER);
    const peer: Peer = { username: answer.answererId, publicKey: answer.answererKey, verified: false, pinned: false };
    const connection = (await this.#accepts(peer)) ? await this.#claim(offer, peer) : undefined;
    this.#answering--;
    if (!connection) return this.#discard(offer);
    this.#watches.get(connection)?.();
    this.#watches.set(
      connection,
      this.#port.watch(answer.offerId, this.fqn, false, {
        onCandidates: (candidates) => {
          for (const { candidate } of candidates) void connection.addCandidate(candidate);
        },
      }),
    );
    try {
      await connection.processAnswer(answer.sdp, answer.answererId);
    } catch (cause) {
      this.emit(
        'offer:failed',
        answer.offerId,
        new RondevuError('bad-request', `the answer of ${peer.username} does not fit: ${String(cause)}`, { cause }),
      );
    }
    this.emit('changed');
  }

  async #accepts(peer: Peer): Promise<boolean> {
    const { accept, maxConnections } = this.#options;
    if (this.#connections.size >= maxConnections && !this.#of(peer).length) return false;
    try {
      return accept ? await accept(peer) : true;
    } catch (error) {
      console.error('rondevu: accept threw, the joiner is turned away', error);
      return false;
    }
  }

  #of({ username, publicKey }: Peer): OffererConnection[] {
    return [...this.#connections].filter(
      ({ peer }) =>
        peer?.username === username && (publicKey === undefined || peer.publicKey === undefined || peer.publicKey === publicKey),
    );
  }

  /** Whose answer this is: a connection's of the same user that is down, if there is exactly one, else a new one's. */
  async #claim(offer: Offer, peer: Peer): Promise<OffererConnection> {
    const same = this.#of(peer);
    let down = same.filter((connection) => connection.isRotating());
    if (!down.length && same.length) {
      // a page that was killed and opened again is back before its old link is known to be dead
      const dead = await Promise.all(
        same.map(async (connection) => connection.isConnected() && !(await connection.probe(PROBE))),
      );
      down = same.filter((connection, index) => dead[index] && connection.getState() !== 'closed');
    }
    const [returning] = down;
    const stranger = offer.waiting;
    offer.waiting = undefined;
    if (down.length !== 1 || !returning) {
      stranger?.leaveOffer();
      const connection = this.#open(offer, peer);
      if (stranger) this.#needsOffer(stranger);
      return connection;
    }
    this.#claiming = returning;
    if (!returning.isRotating()) returning.supersede();
    this.#claiming = undefined;
    // with an answer under way it waits nowhere, and must not be placed at the next offer that is published
    this.#leave(returning);
    if (stranger !== returning) {
      stranger?.leaveOffer();
      this.#rebind(returning, offer);
      if (stranger) this.#needsOffer(stranger);
    }
    return returning;
  }

  #open(offer: Offer, peer: Peer): OffererConnection {
    const connection = new OffererConnection(offer.id, this.fqn, offer.link, this.#options.connectionConfig, {
      needsOffer: (waiting) => this.#needsOffer(waiting),
      ended: (ended) => this.#ended(ended),
    });
    connection.setPeer(peer);
    this.#connections.add(connection);
    connection.once('connected', () => {
      this.#opened.add(connection);
      this.emit('connection:opened', connection.getOfferId(), connection);
    });
    connection.on('connected', () => {
      this.#watches.get(connection)?.();
      this.#leave(connection);
    });
    connection.on('state:changed', () => this.emit('changed'));
    connection.on('closed', (reason) => this.emit('connection:closed', connection, reason));
    connection.on('reconnect:exhausted', (attempts) => {
      this.emit(
        'offer:failed',
        connection.getOfferId(),
        new RondevuError('timeout', `${peer.username} could not be reached in ${attempts} attempts`),
      );
    });
    return connection;
  }

  #ended(connection: OffererConnection): void {
    this.#connections.delete(connection);
    this.#opened.delete(connection);
    this.#watches.get(connection)?.();
    this.#watches.delete(connection);
    clearTimeout(this.#parking.get(connection));
    this.#parking.delete(connection);
    this.#leave(connection);
    this.emit('changed');
    this.#refill();
  }

  /** A connection lost its peer: it waits at a free offer where nobody waits yet, at the next one that comes, or only in memory. */
  #needsOffer(connection: OffererConnection): void {
    if (!this.#started || connection === this.#claiming || !connection.isRotating()) return;
    if (!this.#parking.has(connection)) {
      this.#parking.set(
        connection,
        setTimeout(() => this.#leave(connection), PARK_AFTER),
      );
    }
    this.#placeWaiting();
    this.#refill();
  }

  #placeWaiting(): void {
    const placed = new Set([...this.#free].map(({ waiting }) => waiting));
    const waiting = [...this.#parking.keys()].filter((connection) => connection.isRotating() && !placed.has(connection));
    for (const offer of [...this.#free].reverse()) {
      if (!waiting.length) return;
      if (offer.waiting || !offer.id) continue;
      const connection = waiting.shift()!;
      offer.waiting = connection;
      this.#rebind(connection, offer);
    }
  }

  #rebind(connection: OffererConnection, offer: Offer): void {
    const old = connection.getOfferId();
    connection.bind(offer.id, offer.link);
    this.emit('connection:rotated', old, offer.id, connection);
  }

  /** Parks a connection: the offer it waited at is anybody's again. */
  #leave(connection: OffererConnection): void {
    clearTimeout(this.#parking.get(connection));
    this.#parking.delete(connection);
    for (const offer of this.#free) {
      if (offer.waiting !== connection) continue;
      offer.waiting = undefined;
      connection.leaveOffer();
    }
  }
}
