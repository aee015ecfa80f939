/** Leases free offers to joiners, one offer per call, with a queue for joiners that find no free offer. */
import type { DisconnectSignal } from './caller.js';
import { pointsForNames, type Charge, type Discovery, type NameCache } from './discovery.js';
import { Heap } from './fair-queue.js';
import { Fairness, type Asker, type LeaseEnd } from './fairness.js';
import type { Joiner, Match, Query } from './joiner.js';
import type { Logger } from './log.js';
import { RpcError } from './rpc-error.js';
import type { FoundService, ServiceKey, Store } from './store.js';
import { WaitingRoom, type Queue, type Waiter, type WaitingLimits } from './waiting-room.js';

/** How long an offer stays reserved for the joiner that leased it, in ms. */
export const LEASE_DURATION = 8000;

/**
 * Messages between servers that share a Redis: offers of a service became free, or the lease of an offer has ended. `for` lists
 * the users to whom some of the offers are directed.
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

/** A service whose waiting joiners are to be served. */
interface Changed {
  service: ServiceKey;
  /** Users to whom some offers of the service may be directed. */
  for: Set<string>;
  /**
   * Whether new offers arrived; if so, the publishers of the service immediately get `demand` with the number of joiners still
   * waiting.
   */
  hasOffers: boolean;
}

/** Number of serving steps after which the matchmaker yields to the event loop. */
const STEPS_PER_TURN = 16;
/** Delay before joiners are served again after a store failure, in ms. */
const RETRY_AFTER = 1000;
/** Maximum number of queues that one `rescan` serves. */
const QUEUES_PER_RESCAN = 100;
/**
 * Minimum time between two `demand` events for a service, in ms, not counting events that follow a publication of the service.
 */
const DEMAND_INTERVAL = 50;
/** Maximum number of services whose publishers get `demand` when a joiner finds no offer. */
const DEMAND_FAN_OUT = 8;
/**
 * Maximum number of waiting calls with the publisher's own username that are tried in one pass: an instance cannot use its own
 * offers.
 */
const MAX_OWN_TRIES = 4;
/** Maximum number of services for which the publisher's address is remembered. */
const MAX_PUBLISHERS = 20_000;

/**
 * When the offers of a service change, only the joiners that can use them are considered. Each server has its own waiting
 * joiners and leases; servers that share a Redis notify each other of services that got offers.
 */
export class Matchmaker {
  readonly fairness = new Fairness();
  readonly #store: Store;
  readonly #discovery: Discovery;
  readonly #log: Logger;
  /** Reports to the publishers of a service how many joiners are waiting for it. */
  readonly #onDemand: (service: FoundService, waiting: number) => void;
  readonly #broadcast: (hint: Hint) => void;
  readonly #room: WaitingRoom;
  readonly #leases = new Map<string, Lease>();
  /** Services and queues to be served, in insertion order. */
  readonly #changed = new Map<string, Changed>();
  readonly #queues = new Set<Queue>();
  #serving: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Services whose publishers recently got `demand`, with the next demand to report, if there is one. */
  readonly #recentDemand = new Map<string, { timer: NodeJS.Timeout; next?: { service: FoundService; waiting: number } }>();
  /** Address from which each service was last published. */
  readonly #publishers = new Map<string, string>();
  /** Position at which the next rescan continues. */
  #rescanCursor: Iterator<Queue> | undefined;
  #steps = 0;

  constructor(
    store: Store,
    discovery: Discovery,
    log: Logger,
    limits: WaitingLimits,
    onDemand: (service: FoundService, waiting: number) => void,
    broadcast: (hint: Hint) => void = () => undefined,
  ) {
    this.#store = store;
    this.#discovery = discovery;
    this.#log = log;
    this.#room = new WaitingRoom(this.fairness, limits);
    this.#onDemand = onDemand;
    this.#broadcast = broadcast;
  }

  /** Number of waiting joiners. */
  get waiting(): number {
    return this.#room.size;
  }

  /**
   * Leases an offer to the joiner, or queues the joiner until an offer is free.
   * @param wait how long to wait for an offer, in ms; 0 to return immediately
   * @param charge charges for a name that many services share, and for a discovery that examines many services without success
   * @throws RpcError `not-found` if no such service is live, `no-offer` if the service has no free offer, `rate-limited` if the
   *   joiner has left too many leases unanswered, has too many waiting calls, or has no points left
   */
  async find(query: Query, joiner: Joiner, wait: number, disconnectSignal: DisconnectSignal, charge: Charge): Promise<Match> {
    const fqns = await this.#discovery.find(query);
    // for a joiner that waits, the names are read twice more: when the wait starts and when it ends without an offer
    const points = pointsForNames(fqns) * (wait > 0 ? 3 : 1);
    if (points) await charge(points);
    const match = await this.#tryLease(query, fqns, joiner, charge);
    if (match) return match;
    if (wait <= 0) throw await this.#noMatchError(query, fqns, joiner);
    return this.#wait(query, joiner, wait, disconnectSignal());
  }

  /**
   * Call this when offers of a service have been published or have become free on this server.
   * @param users users to whom some of the offers are directed
   */
  offersAdded(service: ServiceKey, users: string[] = []): void {
    this.#markChanged(service, users, true);
    const { serviceId, serviceFqn } = service;
    this.#broadcast({ kind: 'offers', service: { serviceId, serviceFqn }, ...(users.length && { for: users }) });
  }

  /**
   * Records the address from which a service was published: answers from that address to offers of the service do not improve
   * the rank of the address.
   */
  published(serviceId: string, address: string): void {
    this.#publishers.delete(serviceId);
    if (this.#publishers.size >= MAX_PUBLISHERS) this.#publishers.delete(this.#publishers.keys().next().value!);
    this.#publishers.set(serviceId, address);
  }

  /**
   * Serves waiting joiners in case a hint about new offers was lost. Each call serves at most QUEUES_PER_RESCAN queues,
   * continuing where the previous call stopped.
   */
  rescan(): void {
    if (!this.#room.size) return;
    for (let count = 0; count < QUEUES_PER_RESCAN; count++) {
      this.#rescanCursor ??= this.#room.queues();
      const { value, done } = this.#rescanCursor.next() as IteratorResult<Queue, undefined>;
      if (done) {
        this.#rescanCursor = undefined;
        break;
      }
      this.#queues.add(value);
    }
    this.#scheduleServing();
  }

  /** Resolves when all joiners that can be served have been served. */
  async idle(): Promise<void> {
    while (this.#serving) await this.#serving;
  }

  /** Ends the lease of an offer that the owner of a public key has answered, even if another server granted the lease. */
  offerAnswered(offerId: string, publicKey: string): void {
    if (!this.#endAnsweredLease(offerId, publicKey)) this.#broadcast({ kind: 'answered', offerId, publicKey });
  }

  /**
   * Ends the lease of an offer that was withdrawn before the owner of a public key answered it; the lease holder is excused.
   */
  offerWithdrawn(offerId: string, serviceFqn: string, publicKey: string): void {
    const hint = { kind: 'gone', offerId, serviceFqn, publicKey } as const;
    if (!this.#leases.has(offerId)) this.#broadcast(hint);
    else this.onHint(hint);
  }

  /** Handles a message from another server. */
  onHint(hint: Hint): void {
    if (hint.kind === 'offers') {
      // earlier versions of the server do not include the service in the hint
      if (hint.service) this.#markChanged(hint.service, hint.for ?? [], true);
      else this.rescan();
    } else if (hint.kind === 'answered') this.#endAnsweredLease(hint.offerId, hint.publicKey);
    else {
      // a hint about a different holder or a different service must not excuse this lease
      const lease = this.#leases.get(hint.offerId);
      if (lease?.service.serviceFqn === hint.serviceFqn && lease.joiner.publicKey === hint.publicKey)
        this.#endLease(hint.offerId, 'excused');
    }
  }

  close(): void {
    for (const { timer } of [...this.#leases.values(), ...this.#recentDemand.values()]) clearTimeout(timer);
    clearTimeout(this.#retry);
    for (const waiter of [...this.#room.all()])
      waiter.reject(new RpcError('unavailable', 'The server is shutting down: try again'));
  }

  /** @param fqns full names of the matching services, best first */
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
      if (!match) this.#releaseHeld(joiner);
    }
    return match;
  }

  async #lease(service: FoundService, joiner: Joiner): Promise<Match | undefined> {
    const now = Date.now();
    const offer = await this.#store.lease(service, joiner, now + LEASE_DURATION, now);
    if (offer?.leaseUntil === now + LEASE_DURATION) this.#startLease(offer.offerId, service, joiner);
    return offer && { service, offer };
  }

  #startLease(offerId: string, service: FoundService, joiner: Joiner): void {
    // the store may let the previous lease expire slightly before this server's timer for it fires
    this.#endLease(offerId, 'unanswered');
    this.fairness.startLease(joiner);
    const timer = setTimeout(() => {
      this.#endLease(offerId, 'unanswered');
      this.offersAdded(service);
    }, LEASE_DURATION + 1);
    this.#leases.set(offerId, { joiner, service, timer });
  }

  /** @returns whether this server granted the lease */
  #endAnsweredLease(offerId: string, publicKey: string): boolean {
    const lease = this.#leases.get(offerId);
    // an answer from a different joiner does not count for the lease holder
    return this.#endLease(offerId, lease?.joiner.publicKey === publicKey ? 'answered' : 'excused');
  }

  /** @returns whether this server granted the lease */
  #endLease(offerId: string, end: LeaseEnd): boolean {
    const lease = this.#leases.get(offerId);
    if (!lease) return false;
    clearTimeout(lease.timer);
    this.#leases.delete(offerId);
    const { publicKey, serviceId } = lease.service;
    this.fairness.endLease(lease.joiner, end, { publicKey, address: this.#publishers.get(serviceId) }, Date.now());
    this.#releaseHeld(lease.joiner);
    return true;
  }

  #releaseHeld(joiner: Joiner): void {
    const queues = this.#room.release(joiner, Date.now());
    for (const queue of queues) this.#queues.add(queue);
    if (queues.size) this.#scheduleServing();
  }

  /** @param fqns full names of the matching services, best first */
  async #noMatchError(query: Query, fqns: string[], joiner: Joiner): Promise<RpcError> {
    if (!this.fairness.mayLease(joiner, Date.now())) {
      return new RpcError(
        'rate-limited',
        'Too many offers leased by this key or address were not answered: wait, or answer the one you hold',
        { retryAfter: LEASE_DURATION },
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
      const onTimeout = async (): Promise<RpcError> => this.#noMatchError(query, await this.#discovery.find(query), joiner);
      const timer = setTimeout(() => void onTimeout().then(waiter.reject, waiter.reject), wait);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) return onAbort();
      try {
        this.#room.add(waiter, Date.now());
      } catch (error) {
        return waiter.reject(error);
      }
      void this.#recheck(waiter);
    });
  }

  /**
   * Searches again, because an offer may have arrived before the joiner was queued; if there is still no offer, sends `demand`
   * to the publishers.
   */
  async #recheck({ query, joiner }: Waiter): Promise<void> {
    try {
      const fqns = await this.#discovery.find(query);
      const services = await this.#discovery.firstOffering(query, fqns, joiner);
      for (const service of services) this.#markChanged(service, [joiner.username], false);
      if (!services.length) this.#demand(await this.#discovery.read(query, fqns.slice(0, DEMAND_FAN_OUT)), 1);
    } catch (err) {
      this.#log.error({ err }, 'could not read services for a waiting joiner');
    }
  }

  #markChanged(service: ServiceKey, users: string[], hasOffers: boolean): void {
    if (!this.#room.mayHaveWaiters(service)) return;
    const changed = this.#changed.get(service.serviceId) ?? { service, for: new Set(), hasOffers };
    for (const user of users) changed.for.add(user);
    changed.hasOffers ||= hasOffers;
    this.#changed.set(service.serviceId, changed);
    this.#scheduleServing();
  }

  #scheduleServing(): void {
    this.#serving ??= this.#serve()
      .catch((err: unknown) => {
        this.#log.error({ err }, 'could not serve waiting joiners');
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.rescan(), RETRY_AFTER);
      })
      .finally(() => {
        this.#serving = undefined;
        if (this.#queues.size || this.#changed.size) this.#scheduleServing();
      });
  }

  async #serve(): Promise<void> {
    const cache: NameCache = new Map();
    for (let servedQueue = false; ;) {
      const [queue] = this.#queues;
      const [changed] = this.#changed.values();
      // queues and services alternate, so that queues whose joiners may lease again do not delay new offers
      servedQueue = queue !== undefined && !(servedQueue && changed);
      if (servedQueue && queue) {
        this.#queues.delete(queue);
        await this.#rescanQueue(queue, cache);
      } else if (changed) {
        this.#changed.delete(changed.service.serviceId);
        await this.#serveService(changed);
      } else return;
      await this.#yield();
    }
  }

  /** Looks for offers that may now be leased to the first joiner of a queue. */
  async #rescanQueue({ query, waiters }: Queue, cache: NameCache): Promise<void> {
    const now = Date.now();
    const first = waiters.first(now)?.item;
    if (!first) return;
    const fqns = await this.#discovery.find(query, cache);
    for (const service of await this.#discovery.firstOffering(query, fqns, first.joiner)) this.#markChanged(service, [], false);
  }

  /** Yields to the event loop once in STEPS_PER_TURN calls. */
  async #yield(): Promise<void> {
    if (++this.#steps % STEPS_PER_TURN === 0) await new Promise(setImmediate);
  }

  /**
   * Hands the free offers of a service to its waiting joiners, then sends its publishers the number of joiners still waiting.
   */
  async #serveService({ service: key, for: users, hasOffers }: Changed): Promise<void> {
    const service = this.#room.mayHaveWaiters(key) ? await this.#store.getService(key.serviceId, Date.now()) : undefined;
    const queues = service ? this.#room.queuesFor(service, service.hidden) : [];
    if (!service || !queues.length) return;
    const order = new Heap<Queue>();
    for (const queue of queues) order.push(queue, -1);
    const own: [Queue, Asker][] = [];
    for (;;) {
      const now = Date.now();
      const queue = order.first(({ waiters }) => waiters.first(now)?.rank);
      const next = queue?.waiters.first(now);
      if (!queue || !next) break;
      const isOwner = next.item.joiner.username === service.username;
      if (!this.fairness.mayLease(next.asker, now)) this.#room.hold(queue, next.asker);
      else if (!isOwner) {
        // if there is no offer for this joiner, there is no offer for the other joiners
        if (!(await this.#serveWaiter(next.item, service))) break;
      } else if (!(await this.#serveOwner(queue, next.asker, service))) {
        queue.waiters.hold(next.asker);
        own.push([queue, next.asker]);
      }
      await this.#yield();
    }
    for (const [queue, asker] of own) queue.waiters.release(asker, Date.now());
    for (const user of users) {
      const waiter = this.#room.firstOfUser(user, queues, Date.now());
      if (waiter) await this.#serveWaiter(waiter, service);
    }
    const waiting = this.#countWaiting(queues);
    if (!waiting) return;
    if (hasOffers) this.#onDemand(service, waiting);
    else this.#demand([service], waiting);
  }

  /**
   * Serves other instances of the publishing user; the publishing instance itself cannot use its own offers.
   * @returns whether an offer was leased
   */
  async #serveOwner({ waiters }: Queue, asker: Asker, service: FoundService): Promise<boolean> {
    for (const waiter of waiters.of(asker).slice(0, MAX_OWN_TRIES)) if (await this.#serveWaiter(waiter, service)) return true;
    return false;
  }

  /** @returns whether an offer was leased */
  async #serveWaiter(waiter: Waiter, service: FoundService): Promise<boolean> {
    this.fairness.reserve(waiter.joiner);
    try {
      const match = await this.#lease(service, waiter.joiner);
      // if the joiner left while the store replied, the lease expires, as for any joiner that leaves
      if (match && this.#room.has(waiter)) waiter.resolve(match);
      return match !== undefined;
    } finally {
      this.fairness.release(waiter.joiner);
    }
  }

  #countWaiting(queues: Queue[]): number {
    return queues.reduce((sum, { waiters }) => sum + waiters.size, 0);
  }

  /** Sends `demand` to the publishers immediately, or up to DEMAND_INTERVAL later if they got `demand` recently. */
  #demand(services: FoundService[], waiting: number): void {
    for (const service of services.slice(0, DEMAND_FAN_OUT)) {
      const { serviceId } = service;
      const recent = this.#recentDemand.get(serviceId);
      if (recent) recent.next = { service, waiting };
      else {
        this.#sendDemand(service, waiting);
        const timer = setTimeout(() => {
          const next = this.#recentDemand.get(serviceId)?.next;
          this.#recentDemand.delete(serviceId);
          if (next) this.#demand([next.service], next.waiting);
        }, DEMAND_INTERVAL);
        this.#recentDemand.set(serviceId, { timer });
      }
    }
  }

  #sendDemand(service: FoundService, minimum: number): void {
    const waiting = this.#room.mayHaveWaiters(service) ? this.#countWaiting(this.#room.queuesFor(service, service.hidden)) : 0;
    this.#onDemand(service, Math.max(minimum, waiting));
  }
}
