/**
 * Hands free offers to joiners: finds the services that fit, leases one offer to one call, and lets joiners that find none wait
 * until an offer comes, the wait is over, or the joiner goes. Only the joiners that can use a service are looked at when its
 * offers change. Knows nothing of sockets or signatures. Each of several servers has waiting joiners of its own and the leases
 * it gave; they tell each other of which service offers came.
 */
import type { Gone } from './dispatcher.js';
import { compareVersions, isCompatible, type ServiceName } from 'rondevu-elements/protocol';
import { Heap } from './fair-queue.js';
import { Fairness, type Asker, type LeaseEnd } from './fairness.js';
import type { Logger } from './log.js';
import { RpcError } from './rpc-error.js';
import type { OfferRow, ServiceKey, ServiceRow, Store } from './store.js';
import { WaitingRoom, type Line, type Waiter, type WaitingLimits } from './waiting-room.js';

/** How long an offer stays reserved for the joiner that got it, in ms. */
export const LEASE = 8000;

/** What a joiner asks for: a service by name, or one by id. */
export type Query = { target: ServiceName } | { serviceId: string };

export interface Joiner extends Asker {
  username: string;
  instance?: string | undefined;
}

export interface Match {
  service: ServiceRow;
  offer: OfferRow;
}

/**
 * What servers of one Redis tell each other: offers of a service came free, or the lease of an offer is over. `for` names the
 * users for whom some of the offers are meant.
 */
export type Hint =
  | { kind: 'offers'; service?: ServiceKey; for?: string[] }
  | { kind: 'answered'; offerId: string; publicKey: string }
  | { kind: 'gone'; offerId: string; serviceFqn: string; publicKey: string };

interface Lease {
  joiner: Joiner;
  service: ServiceRow;
  timer: NodeJS.Timeout;
}

/** A service that is to be served. */
interface Changed {
  service: ServiceKey;
  /** Users for whom alone some of its offers may be meant. */
  for: Set<string>;
  /** Whether offers came: its publishers hear at once how many joiners are left. */
  hasOffers: boolean;
}

/** Leases after which the event loop gets a turn. */
const SLICE = 16;
/** Delay before joiners are served again after the store failed, in ms. */
const RETRY_AFTER = 1000;
/** Services of one name that a discovery tries, chosen at random if there are more. */
export const MAX_DISCOVERED = 100;
/** Lines that one `look` reads the services of. */
const LOOK_LINES = 200;
/** A publisher gets `demand` at most once in this time, in ms, not counting those after its own publications. */
const DEMAND_EVERY = 50;
/** Publishers that get `demand` for one joiner that finds no offer. */
const DEMAND_FAN_OUT = 8;
/** Joiners of the owner's own name that are offered a service's offers in one go; one's own instance cannot use them. */
const OWN_TRIES = 4;
/** Services whose publisher's address is remembered. */
const KNOWN_PUBLISHERS = 20_000;

export class Matchmaker {
  readonly fairness = new Fairness();
  readonly #store: Store;
  readonly #log: Logger;
  /** Tells the publishers of a service how many wait for it. */
  readonly #onDemand: (service: ServiceRow, waiting: number) => void;
  readonly #tellOthers: (hint: Hint) => void;
  readonly #room: WaitingRoom;
  readonly #leases = new Map<string, Lease>();
  /** Services and lines that are to be served, in this order. */
  readonly #changed = new Map<string, Changed>();
  readonly #lines = new Set<Line>();
  #serving: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** Services whose publishers heard of demand a moment ago, with what they are to hear next, if anything. */
  readonly #told = new Map<string, { timer: NodeJS.Timeout; next?: { service: ServiceRow; waiting: number } }>();
  /** By service, the address that it was published from last. */
  readonly #publishers = new Map<string, string>();
  /** Goes on where the look before ended. */
  #look: Iterator<Line> | undefined;
  #leased = 0;

  constructor(
    store: Store,
    log: Logger,
    limits: WaitingLimits,
    onDemand: (service: ServiceRow, waiting: number) => void,
    tellOthers: (hint: Hint) => void = () => undefined,
  ) {
    this.#store = store;
    this.#log = log;
    this.#room = new WaitingRoom(this.fairness, limits);
    this.#onDemand = onDemand;
    this.#tellOthers = tellOthers;
  }

  /** How many joiners wait. */
  get waiting(): number {
    return this.#room.size;
  }

  /**
   * An offer, leased to this call.
   * @param wait how long to wait for one, in ms; 0 for not at all
   * @throws RpcError `not-found` when no such service is live, `no-offer` when it has none free, `rate-limited` for a joiner
   *   that leaves leases unanswered or waits too often already
   */
  async find(query: Query, joiner: Joiner, wait: number, gone: Gone): Promise<Match> {
    const match = await this.#tryLease(query, joiner);
    if (match) return match;
    if (wait <= 0) throw await this.#nothing(query, joiner);
    return this.#wait(query, joiner, wait, gone());
  }

  /**
   * Offers of a service came, or came free, here.
   * @param users for whom some of them are meant
   */
  offersCame(service: ServiceKey, users: string[] = []): void {
    this.#change(service, users, true);
    const { serviceId, serviceFqn } = service;
    this.#tellOthers({ kind: 'offers', service: { serviceId, serviceFqn }, ...(users.length && { for: users }) });
  }

  /** A service was published from this address: answers from there to its offers improve nobody's standing. */
  published(serviceId: string, address: string): void {
    this.#publishers.delete(serviceId);
    if (this.#publishers.size >= KNOWN_PUBLISHERS) this.#publishers.delete(this.#publishers.keys().next().value!);
    this.#publishers.set(serviceId, address);
  }

  /** Looks after joiners whose hint may have been lost: some lines at each call, all of them in turn. */
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

  /** Resolves when everybody has been served who can be. */
  async idle(): Promise<void> {
    while (this.#serving) await this.#serving;
  }

  /** The lease of an offer is over because it was answered, with this key. */
  answered(offerId: string, publicKey: string): void {
    if (!this.#answered(offerId, publicKey)) this.#tellOthers({ kind: 'answered', offerId, publicKey });
  }

  /** The holder of a lease found that the publisher withdrew the offer: nobody's fault. */
  gone(offerId: string, serviceFqn: string, publicKey: string): void {
    const hint = { kind: 'gone', offerId, serviceFqn, publicKey } as const;
    if (!this.#leases.has(offerId)) this.#tellOthers(hint);
    else this.heard(hint);
  }

  /** What another server tells. */
  heard(hint: Hint): void {
    if (hint.kind === 'offers') {
      // a server of an earlier version does not say of which service
      if (hint.service) this.#change(hint.service, hint.for ?? [], true);
      else this.look();
    } else if (hint.kind === 'answered') this.#answered(hint.offerId, hint.publicKey);
    else {
      // whoever says so of another's lease, or of another service, would make it count for nothing
      const lease = this.#leases.get(hint.offerId);
      if (lease?.service.serviceFqn === hint.serviceFqn && lease.joiner.publicKey === hint.publicKey)
        this.#endLease(hint.offerId, 'excused');
    }
  }

  close(): void {
    for (const { timer } of [...this.#leases.values(), ...this.#told.values()]) clearTimeout(timer);
    clearTimeout(this.#retry);
    for (const waiter of [...this.#room.all()])
      waiter.reject(new RpcError('unavailable', 'The server is shutting down: ask again'));
  }

  /** Live services that answer a query, best first: highest version, then at random, so that joiners spread. */
  async services(query: Query): Promise<ServiceRow[]> {
    const now = Date.now();
    if ('serviceId' in query) {
      const service = await this.#store.getService(query.serviceId, now);
      return service ? [service] : [];
    }
    const { name, version, username } = query.target;
    const found = (await this.#store.findServices(name, username, now)).filter((service) =>
      isCompatible(service.version, version),
    );
    return shuffle(found).sort((a, b) => compareVersions(b.version, a.version));
  }

  /** Those of them that one call is tried on. */
  async #candidates(query: Query): Promise<ServiceRow[]> {
    return (await this.services(query)).slice(0, MAX_DISCOVERED);
  }

  async #tryLease(query: Query, joiner: Joiner): Promise<Match | undefined> {
    if (!this.fairness.mayLease(joiner, Date.now())) return undefined;
    this.fairness.reserve(joiner);
    let match: Match | undefined;
    try {
      for (const service of await this.#candidates(query)) {
        match = await this.#lease(service, joiner);
        if (match) break;
      }
    } finally {
      this.fairness.release(joiner);
      if (!match) this.#mayLeaseAgain(joiner);
    }
    return match;
  }

  async #lease(service: ServiceRow, joiner: Joiner): Promise<Match | undefined> {
    const now = Date.now();
    const offer = await this.#store.lease(service, joiner, now + LEASE, now);
    if (offer?.leaseUntil === now + LEASE) this.#startLease(offer.offerId, service, joiner);
    return offer && { service, offer };
  }

  #startLease(offerId: string, service: ServiceRow, joiner: Joiner): void {
    // the store's clock may be a moment ahead of the timer of the lease before
    this.#endLease(offerId, 'unanswered');
    this.fairness.leased(joiner);
    const timer = setTimeout(() => {
      this.#endLease(offerId, 'unanswered');
      this.offersCame(service);
    }, LEASE + 1);
    this.#leases.set(offerId, { joiner, service, timer });
  }

  /** @returns whether the lease was given here */
  #answered(offerId: string, publicKey: string): boolean {
    const lease = this.#leases.get(offerId);
    // an answer by somebody else is no merit of the holder
    return this.#endLease(offerId, lease?.joiner.publicKey === publicKey ? 'answered' : 'excused');
  }

  /** @returns whether the lease was given here */
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

  async #nothing(query: Query, joiner: Joiner): Promise<RpcError> {
    if (!this.fairness.mayLease(joiner, Date.now())) {
      return new RpcError(
        'rate-limited',
        'Too many offers were taken and not answered from here: wait, or answer the one you hold',
        { retryAfter: LEASE },
      );
    }
    const services = await this.services(query);
    if (services.length) {
      this.#demand(services, 1);
      return new RpcError('no-offer', `No available offers for ${services[0]!.serviceFqn}: all are taken, ask again or wait`);
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
      const onAbort = (): void => waiter.reject(new RpcError('closed', 'The joiner went away'));
      const timer = setTimeout(() => void this.#nothing(query, joiner).then(waiter.reject, waiter.reject), wait);
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

  /** An offer may have come between the look for one and the beginning of the wait; else publishers hear of the demand. */
  async #tryOnceMore({ query, joiner }: Waiter): Promise<void> {
    try {
      const services = await this.services(query);
      for (const service of services.slice(0, DEMAND_FAN_OUT)) this.#change(service, [joiner.username], false);
    } catch (err) {
      this.#log.error({ err }, 'services could not be read for a joiner that waits');
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
        this.#log.error({ err }, 'joiners that wait could not be served');
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.look(), RETRY_AFTER);
      })
      .finally(() => {
        this.#serving = undefined;
        if (this.#lines.size || this.#changed.size) this.#serveAll();
      });
  }

  async #serve(): Promise<void> {
    for (;;) {
      const [line] = this.#lines;
      const [changed] = this.#changed.values();
      if (line) {
        this.#lines.delete(line);
        if (!line.waiters.size) continue;
        for (const service of await this.#candidates(line.query)) this.#change(service, [], false);
      } else if (changed) {
        this.#changed.delete(changed.service.serviceId);
        await this.#serveService(changed);
      } else return;
      await this.#pause();
    }
  }

  /** Lets other work of the process go on. */
  async #pause(): Promise<void> {
    if (++this.#leased % SLICE === 0) await new Promise(setImmediate);
  }

  /** Hands the free offers of a service to those who wait for it, then tells its publishers who is left. */
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
        // what is not there for this joiner is there for nobody else
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

  /** The owner's other instances may use its offers, the one that published them may not. @returns whether there was an offer */
  async #serveOwner({ waiters }: Line, asker: Asker, service: ServiceRow): Promise<boolean> {
    for (const waiter of waiters.of(asker).slice(0, OWN_TRIES)) if (await this.#serveWaiter(waiter, service)) return true;
    return false;
  }

  /** @returns whether there was an offer */
  async #serveWaiter(waiter: Waiter, service: ServiceRow): Promise<boolean> {
    this.fairness.reserve(waiter.joiner);
    try {
      const match = await this.#lease(service, waiter.joiner);
      // a joiner that went while the store was asked leaves its lease to run out, as any that goes does
      if (match && this.#room.has(waiter)) waiter.resolve(match);
      return match !== undefined;
    } finally {
      this.fairness.release(waiter.joiner);
    }
  }

  #waitingFor(lines: Line[]): number {
    return lines.reduce((sum, { waiters }) => sum + waiters.size, 0);
  }

  /** Tells publishers that somebody looks for an offer: at once, or in a moment if they heard of it a moment ago. */
  #demand(services: ServiceRow[], waiting: number): void {
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

  #tellDemand(service: ServiceRow, least: number): void {
    const waiting = this.#room.mayConcern(service) ? this.#waitingFor(this.#room.linesFor(service, service.hidden)) : 0;
    this.#onDemand(service, Math.max(least, waiting));
  }
}

function shuffle<T>(items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
