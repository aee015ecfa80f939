/** Leases free offers to joiners: one offer to one call, with a queue for the joiners that find none. */
import type { DisconnectSignal } from './caller.js';
import { pointsForNames, type Charge, type Discovery, type NameCache } from './discovery.js';
import { Heap } from './fair-queue.js';
import { Fairness, type Asker, type LeaseEnd } from './fairness.js';
import type { Joiner, Match, Query } from './joiner.js';
import type { Logger } from './log.js';
import { RpcError } from './rpc-error.js';
import type { FoundService, ServiceKey, Store } from './store.js';
import { WaitingRoom, type Line, type Waiter, type WaitingLimits } from './waiting-room.js';

/** How long an offer stays reserved for the joiner that got it, in ms. */
export const LEASE = 8000;

/**
 * Messages between servers that share a Redis: offers of a service became free, or the lease of an offer is over. `for` names the
 * users that some of the offers are directed to.
 */
export type Hint =
  | { kind: 'offers'; service?: ServiceKey; for?: string[] }
  | { kind: 'answered'; offerId: string; publicKey: string }
  | { kind: 'gone'; offerId: string; serviceFqn: string; publicKey: string };

interface Lease {
  joiner: Joiner;
  service: FoundService;
  timer: NodeJS.Timeout;
}

/** A service that is to be served. */
interface Changed {
  service: ServiceKey;
  /** Users that some of its offers may be directed to. */
  for: Set<string>;
  /** Whether offers arrived: if so, its publishers get `demand` at once with the number of joiners left. */
  hasOffers: boolean;
}

/** Leases after which the event loop gets a turn. */
const SLICE = 16;
/** Delay before joiners are served again after the store failed, in ms. */
const RETRY_AFTER = 1000;
/** Queues whose services one `look` reads. */
const LOOK_LINES = 100;
/** A publisher gets `demand` at most once in this time, in ms, not counting those after its own publications. */
const DEMAND_EVERY = 50;
/** Publishers that get `demand` for one joiner that finds no offer. */
const DEMAND_FAN_OUT = 8;
/** Joiners with the publisher's own name that are tried in one go: an instance cannot use its own offers. */
const OWN_TRIES = 4;
/** Number of services whose publisher's address is remembered. */
const KNOWN_PUBLISHERS = 20_000;

/**
 * When the offers of a service change, only the joiners that can use them are considered. Each of several servers has its own
 * waiting joiners and leases; the servers tell each other which services got offers.
 */
export class Matchmaker {
  readonly fairness = new Fairness();
  readonly #store: Store;
  readonly #discovery: Discovery;
  readonly #log: Logger;
  /** Tells the publishers of a service how many joiners wait for it. */
  readonly #onDemand: (service: FoundService, waiting: number) => void;
  readonly #tellOthers: (hint: Hint) => void;
  readonly #room: WaitingRoom;
  readonly #leases = new Map<string, Lease>();
  /** Services and queues to be served, in this order. */
  readonly #changed = new Map<string, Changed>();
  readonly #lines = new Set<Line>();
  #serving: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Services whose publishers just got `demand`, with the next demand to report, if any. */
  readonly #told = new Map<string, { timer: NodeJS.Timeout; next?: { service: FoundService; waiting: number } }>();
  /** The address that each service was last published from. */
  readonly #publishers = new Map<string, string>();
  /** Continues where the previous look ended. */
  #look: Iterator<Line> | undefined;
  #leased = 0;

  constructor(
    store: Store,
    discovery: Discovery,
    log: Logger,
    limits: WaitingLimits,
    onDemand: (service: FoundService, waiting: number) => void,
    tellOthers: (hint: Hint) => void = () => undefined,
  ) {
    this.#store = store;
    this.#discovery = discovery;
    this.#log = log;
    this.#room = new WaitingRoom(this.fairness, limits);
    this.#onDemand = onDemand;
    this.#tellOthers = tellOthers;
  }

  /** Number of waiting joiners. */
  get waiting(): number {
    return this.#room.size;
  }

  /**
   * Leases an offer to this call.
   * @param wait how long to wait for one, in ms; 0 to not wait
   * @param charge charges for a name that many services share, and for a discovery that examines many services without success
   * @throws RpcError `not-found` if no such service is live, `no-offer` if it has no free offer, `rate-limited` if the joiner
   *   leaves leases unanswered, already has too many waiting calls, or cannot pay
   */
  async find(query: Query, joiner: Joiner, wait: number, disconnectSignal: DisconnectSignal, charge: Charge): Promise<Match> {
    const fqns = await this.#discovery.find(query);
    // for a joiner that waits, they are read twice more: when it starts to wait, and when its time is over
    const points = pointsForNames(fqns) * (wait > 0 ? 3 : 1);
    if (points) await charge(points);
    const match = await this.#tryLease(query, fqns, joiner, charge);
    if (match) return match;
    if (wait <= 0) throw await this.#nothing(query, fqns, joiner);
    return this.#wait(query, joiner, wait, disconnectSignal());
  }

  /**
   * Offers of a service were published or became free on this server.
   * @param users that some of them are directed to
   */
  offersCame(service: ServiceKey, users: string[] = []): void {
    this.#change(service, users, true);
    const { serviceId, serviceFqn } = service;
    this.#tellOthers({ kind: 'offers', service: { serviceId, serviceFqn }, ...(users.length && { for: users }) });
  }

  /** A service was published from this address: answers from there to its offers improve nobody's rank. */
  published(serviceId: string, address: string): void {
    this.#publishers.delete(serviceId);
    if (this.#publishers.size >= KNOWN_PUBLISHERS) this.#publishers.delete(this.#publishers.keys().next().value!);
    this.#publishers.set(serviceId, address);
  }

  /** Serves joiners whose hint may have been lost: some queues with each call, all of them in turn. */
  look(): void {
    if (!this.#room.size) return;
    for (let count = 0; count < LOOK_LINES; count++) {
      this.#look ??= this.#room.lines();
      const { value, done } = this.#look.next() as IteratorResult<Line, undefined>;
      if (done) {
        this.#look = undefined;
        break;
      }
      this.#lines.add(value);
    }
    this.#serveAll();
  }

  /** Resolves when everybody who can be served has been served. */
  async idle(): Promise<void> {
    while (this.#serving) await this.#serving;
  }

  /** The lease of an offer is over because the holder of this key answered it. */
  answered(offerId: string, publicKey: string): void {
    if (!this.#answered(offerId, publicKey)) this.#tellOthers({ kind: 'answered', offerId, publicKey });
  }

  /** The publisher withdrew a leased offer; this does not count against the holder of the lease. */
  gone(offerId: string, serviceFqn: string, publicKey: string): void {
    const hint = { kind: 'gone', offerId, serviceFqn, publicKey } as const;
    if (!this.#leases.has(offerId)) this.#tellOthers(hint);
    else this.heard(hint);
  }

  /** Handles a message of another server. */
  heard(hint: Hint): void {
    if (hint.kind === 'offers') {
      // a server of an earlier version does not name the service
      if (hint.service) this.#change(hint.service, hint.for ?? [], true);
      else this.look();
    } else if (hint.kind === 'answered') this.#answered(hint.offerId, hint.publicKey);
    else {
      // otherwise a report about somebody else's lease, or another service, would excuse that lease
      const lease = this.#leases.get(hint.offerId);
      if (lease?.service.serviceFqn === hint.serviceFqn && lease.joiner.publicKey === hint.publicKey)
        this.#endLease(hint.offerId, 'excused');
    }
  }

  close(): void {
    for (const { timer } of [...this.#leases.values(), ...this.#told.values()]) clearTimeout(timer);
    clearTimeout(this.#retry);
    for (const waiter of [...this.#room.all()])
      waiter.reject(new RpcError('unavailable', 'The server is shutting down: try again'));
  }

  /** @param fqns of the services that match, best first */
  async #tryLease(query: Query, fqns: string[], joiner: Joiner, charge: Charge): Promise<Match | undefined> {
    if (!this.fairness.mayLease(joiner, Date.now())) return undefined;
    this.fairness.reserve(joiner);
    let match: Match | undefined;
    try {
      for await (const services of this.#discovery.offering(query, fqns, joiner, charge)) {
        for (const service of services) {
          match = await this.#lease(service, joiner);
          if (match) break;
        }
        if (match) break;
      }
    } finally {
      this.fairness.release(joiner);
      if (!match) this.#mayLeaseAgain(joiner);
    }
    return match;
  }

  async #lease(service: FoundService, joiner: Joiner): Promise<Match | undefined> {
    const now = Date.now();
    const offer = await this.#store.lease(service, joiner, now + LEASE, now);
    if (offer?.leaseUntil === now + LEASE) this.#startLease(offer.offerId, service, joiner);
    return offer && { service, offer };
  }

  #startLease(offerId: string, service: FoundService, joiner: Joiner): void {
    // the store's clock may be slightly ahead of the timer of the previous lease
    this.#endLease(offerId, 'unanswered');
    this.fairness.leased(joiner);
    const timer = setTimeout(() => {
      this.#endLease(offerId, 'unanswered');
      this.offersCame(service);
    }, LEASE + 1);
    this.#leases.set(offerId, { joiner, service, timer });
  }

  /** @returns whether this server gave the lease */
  #answered(offerId: string, publicKey: string): boolean {
    const lease = this.#leases.get(offerId);
    // an answer by somebody else does not count for the holder
    return this.#endLease(offerId, lease?.joiner.publicKey === publicKey ? 'answered' : 'excused');
  }

  /** @returns whether this server gave the lease */
  #endLease(offerId: string, end: LeaseEnd): boolean {
    const lease = this.#leases.get(offerId);
    if (!lease) return false;
    clearTimeout(lease.timer);
    this.#leases.delete(offerId);
    const { publicKey, serviceId } = lease.service;
    this.fairness.ended(lease.joiner, end, { publicKey, address: this.#publishers.get(serviceId) }, Date.now());
    this.#mayLeaseAgain(lease.joiner);
    return true;
  }

  #mayLeaseAgain(joiner: Joiner): void {
    const lines = this.#room.release(joiner, Date.now());
    for (const line of lines) this.#lines.add(line);
    if (lines.size) this.#serveAll();
  }

  /** @param fqns of the services that match, best first */
  async #nothing(query: Query, fqns: string[], joiner: Joiner): Promise<RpcError> {
    if (!this.fairness.mayLease(joiner, Date.now())) {
      return new RpcError(
        'rate-limited',
        'Too many offers leased by this key or address were not answered: wait, or answer the one you hold',
        { retryAfter: LEASE },
      );
    }
    const services = await this.#discovery.read(query, fqns.slice(0, DEMAND_FAN_OUT));
    if (services.length) {
      this.#demand(services, 1);
      return new RpcError('no-offer', `No available offers for ${services[0]!.serviceFqn}: all are leased, try again or wait`);
    }
    return new RpcError(
      'not-found',
      'target' in query && query.target.username === undefined ? 'No services found' : 'Service not found',
    );
  }

  #wait(query: Query, joiner: Joiner, wait: number, signal: AbortSignal): Promise<Match> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#room.delete(waiter);
      };
      const waiter: Waiter = {
        query,
        joiner,
        resolve: (match) => (leave(), resolve(match)),
        reject: (error) => (leave(), reject(error as Error)),
      };
      const onAbort = (): void => waiter.reject(new RpcError('closed', 'The joiner disconnected'));
      const onTimeout = async (): Promise<RpcError> => this.#nothing(query, await this.#discovery.find(query), joiner);
      const timer = setTimeout(() => void onTimeout().then(waiter.reject, waiter.reject), wait);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) return onAbort();
      try {
        this.#room.add(waiter, Date.now());
      } catch (error) {
        return waiter.reject(error);
      }
      void this.#tryOnceMore(waiter);
    });
  }

  /** Looks again, because an offer may have come before the joiner was queued; otherwise tells publishers of the demand. */
  async #tryOnceMore({ query, joiner }: Waiter): Promise<void> {
    try {
      const fqns = await this.#discovery.find(query);
      const services = await this.#discovery.firstOffering(query, fqns, joiner);
      for (const service of services) this.#change(service, [joiner.username], false);
      if (!services.length) this.#demand(await this.#discovery.read(query, fqns.slice(0, DEMAND_FAN_OUT)), 1);
    } catch (err) {
      this.#log.error({ err }, 'could not read services for a waiting joiner');
    }
  }

  #change(service: ServiceKey, users: string[], hasOffers: boolean): void {
    if (!this.#room.mayConcern(service)) return;
    const changed = this.#changed.get(service.serviceId) ?? { service, for: new Set(), hasOffers };
    for (const user of users) changed.for.add(user);
    changed.hasOffers ||= hasOffers;
    this.#changed.set(service.serviceId, changed);
    this.#serveAll();
  }

  #serveAll(): void {
    this.#serving ??= this.#serve()
      .catch((err: unknown) => {
        this.#log.error({ err }, 'could not serve waiting joiners');
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.look(), RETRY_AFTER);
      })
      .finally(() => {
        this.#serving = undefined;
        if (this.#lines.size || this.#changed.size) this.#serveAll();
      });
  }

  async #serve(): Promise<void> {
    const cache: NameCache = new Map();
    for (let wasLine = false; ;) {
      const [line] = this.#lines;
      const [changed] = this.#changed.values();
      // alternately, so that queues whose joiners may lease again do not delay services with new offers
      wasLine = line !== undefined && !(wasLine && changed);
      if (wasLine && line) {
        this.#lines.delete(line);
        await this.#lookFor(line, cache);
      } else if (changed) {
        this.#changed.delete(changed.service.serviceId);
        await this.#serveService(changed);
      } else return;
      await this.#pause();
    }
  }

  /** Looks for offers that may now be leased to the first joiner of a queue. */
  async #lookFor({ query, waiters }: Line, cache: NameCache): Promise<void> {
    const now = Date.now();
    const first = waiters.first(now)?.item;
    if (!first) return;
    const fqns = await this.#discovery.find(query, cache);
    for (const service of await this.#discovery.firstOffering(query, fqns, first.joiner)) this.#change(service, [], false);
  }

  /** Yields to the event loop. */
  async #pause(): Promise<void> {
    if (++this.#leased % SLICE === 0) await new Promise(setImmediate);
  }

  /** Hands the free offers of a service to its waiting joiners, then tells its publishers how many are left. */
  async #serveService({ service: key, for: users, hasOffers }: Changed): Promise<void> {
    const service = this.#room.mayConcern(key) ? await this.#store.getService(key.serviceId, Date.now()) : undefined;
    const lines = service ? this.#room.linesFor(service, service.hidden) : [];
    if (!service || !lines.length) return;
    const order = new Heap<Line>();
    for (const line of lines) order.push(line, -1);
    const own: [Line, Asker][] = [];
    for (;;) {
      const now = Date.now();
      const line = order.first(({ waiters }) => waiters.first(now)?.rank);
      const next = line?.waiters.first(now);
      if (!line || !next) break;
      const isOwner = next.item.joiner.username === service.username;
      if (!this.fairness.mayLease(next.asker, now)) this.#room.hold(line, next.asker);
      else if (!isOwner) {
        // if there is no offer for this joiner, there is none for the others
        if (!(await this.#serveWaiter(next.item, service))) break;
      } else if (!(await this.#serveOwner(line, next.asker, service))) {
        line.waiters.hold(next.asker);
        own.push([line, next.asker]);
      }
      await this.#pause();
    }
    for (const [line, asker] of own) line.waiters.release(asker, Date.now());
    for (const user of users) {
      const waiter = this.#room.ofUser(user, lines, Date.now());
      if (waiter) await this.#serveWaiter(waiter, service);
    }
    const waiting = this.#waitingFor(lines);
    if (!waiting) return;
    if (hasOffers) this.#onDemand(service, waiting);
    else this.#demand([service], waiting);
  }

  /** Other instances of the publisher may use its offers, the publishing one may not. @returns whether there was an offer */
  async #serveOwner({ waiters }: Line, asker: Asker, service: FoundService): Promise<boolean> {
    for (const waiter of waiters.of(asker).slice(0, OWN_TRIES)) if (await this.#serveWaiter(waiter, service)) return true;
    return false;
  }

  /** @returns whether there was an offer */
  async #serveWaiter(waiter: Waiter, service: FoundService): Promise<boolean> {
    this.fairness.reserve(waiter.joiner);
    try {
      const match = await this.#lease(service, waiter.joiner);
      // if the joiner left during the store's reply, its lease runs out, as with any joiner that leaves
      if (match && this.#room.has(waiter)) waiter.resolve(match);
      return match !== undefined;
    } finally {
      this.fairness.release(waiter.joiner);
    }
  }

  #waitingFor(lines: Line[]): number {
    return lines.reduce((sum, { waiters }) => sum + waiters.size, 0);
  }

  /** Sends `demand` to the publishers: at once, or up to DEMAND_EVERY later if they just got it. */
  #demand(services: FoundService[], waiting: number): void {
    for (const service of services.slice(0, DEMAND_FAN_OUT)) {
      const { serviceId } = service;
      const told = this.#told.get(serviceId);
      if (told) told.next = { service, waiting };
      else {
        this.#tellDemand(service, waiting);
        const timer = setTimeout(() => {
          const next = this.#told.get(serviceId)?.next;
          this.#told.delete(serviceId);
          if (next) this.#demand([next.service], next.waiting);
        }, DEMAND_EVERY);
        this.#told.set(serviceId, { timer });
      }
    }
  }

  #tellDemand(service: FoundService, least: number): void {
    const waiting = this.#room.mayConcern(service) ? this.#waitingFor(this.#room.linesFor(service, service.hidden)) : 0;
    this.#onDemand(service, Math.max(least, waiting));
  }
}
