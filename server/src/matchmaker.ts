/**
 * Hands free offers to joiners: finds the services that fit, leases one offer to one call, and keeps who finds none in line
 * until an offer comes, the wait is over, or the joiner goes. Knows nothing of sockets or signatures. Where there are several
 * servers, each has a line of its own and the leases it gave; they tell each other what may serve who waits.
 */
import type { Gone } from './dispatcher.js';
import { compareVersions, isCompatible, type ServiceName } from 'rondevu-elements/protocol';
import { Fairness, type Asker } from './fairness.js';
import type { Logger } from './log.js';
import { RpcError } from './rpc-error.js';
import type { OfferRow, ServiceRow, Store } from './store.js';

/** How long an offer is kept for the call that got it, in ms. */
export const LEASE = 8000;

/** What a joiner asks for: a service by name, or one by id. */
export type Query = { target: ServiceName } | { serviceId: string };

export interface Joiner extends Asker {
  username: string;
  instance?: string | undefined;
}

interface Waiter {
  query: Query;
  joiner: Joiner;
  resolve(match: Match): void;
  reject(error: unknown): void;
}

export interface Match {
  service: ServiceRow;
  offer: OfferRow;
}

/** What servers beside this one are told, and tell: offers came free, or the lease of an offer is over. */
export type Hint =
  | { kind: 'offers' }
  | { kind: 'answered'; offerId: string }
  | { kind: 'gone'; offerId: string; serviceFqn: string; publicKey: string };

interface Lease {
  joiner: Joiner;
  serviceFqn: string;
  timer: NodeJS.Timeout;
}

export class Matchmaker {
  readonly fairness = new Fairness();
  readonly #store: Store;
  readonly #log: Logger;
  readonly #maxWaiting: number;
  /** Tells the publishers of a service how many wait for it. */
  readonly #onDemand: (service: ServiceRow, waiting: number) => void;
  readonly #tellOthers: (hint: Hint) => void;
  readonly #waiters = new Set<Waiter>();
  readonly #leases = new Map<string, Lease>();
  #serving = Promise.resolve();

  constructor(
    store: Store,
    log: Logger,
    maxWaiting: number,
    onDemand: (service: ServiceRow, waiting: number) => void,
    tellOthers: (hint: Hint) => void = () => undefined,
  ) {
    this.#store = store;
    this.#log = log;
    this.#maxWaiting = maxWaiting;
    this.#onDemand = onDemand;
    this.#tellOthers = tellOthers;
  }

  /** How many stand in line. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * An offer, leased to this call.
   * @param wait how long to stand in line, in ms; 0 for not at all
   * @throws RpcError `not-found` when no such service is live, `no-offer` when it has none free, `rate-limited` for who leaves leases unanswered
   */
  async find(query: Query, joiner: Joiner, wait: number, gone: Gone): Promise<Match> {
    const now = Date.now();
    const match = this.fairness.mayLease(joiner, now) ? await this.#tryLease(query, joiner) : undefined;
    if (match) return match;
    if (wait <= 0) throw await this.#nothing(query, joiner);
    return this.#standInLine(query, joiner, wait, gone());
  }

  /** Offers came, or came free, here. */
  offersCame(): void {
    void this.kick();
    this.#tellOthers({ kind: 'offers' });
  }

  /** Something about a service changed that may serve who waits. */
  kick(): Promise<void> {
    if (!this.#waiters.size) return this.#serving;
    return (this.#serving = this.#serving
      .then(() => this.#serve())
      .catch((err: unknown) => this.#log.error({ err }, 'the waiting line failed')));
  }

  /** The lease of an offer is over because it was answered. */
  answered(offerId: string): void {
    if (!this.#endLease(offerId, true)) this.#tellOthers({ kind: 'answered', offerId });
  }

  /** The holder of a lease found that the publisher withdrew the offer: nobody's fault. */
  gone(offerId: string, serviceFqn: string, publicKey: string): void {
    const hint = { kind: 'gone', offerId, serviceFqn, publicKey } as const;
    if (!this.#leases.has(offerId)) this.#tellOthers(hint);
    else this.heard(hint);
  }

  /** What another server tells. */
  heard(hint: Hint): void {
    if (hint.kind === 'offers') void this.kick();
    else if (hint.kind === 'answered') this.#endLease(hint.offerId, true);
    else {
      // whoever says so of another's lease, or of another service, would make it count for nothing
      const lease = this.#leases.get(hint.offerId);
      if (lease?.serviceFqn === hint.serviceFqn && lease.joiner.publicKey === hint.publicKey)
        this.#endLease(hint.offerId, undefined);
    }
  }

  close(): void {
    for (const { timer } of this.#leases.values()) clearTimeout(timer);
    for (const waiter of this.#waiters) waiter.reject(new RpcError('unavailable', 'The server is shutting down: ask again'));
    this.#waiters.clear();
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

  async #tryLease(query: Query, joiner: Joiner): Promise<Match | undefined> {
    this.fairness.reserve(joiner);
    try {
      for (const service of await this.services(query)) {
        const now = Date.now();
        const offer = await this.#store.lease(service, joiner, now + LEASE, now);
        if (!offer) continue;
        if (offer.leaseUntil === now + LEASE) this.#startLease(offer, joiner);
        return { service, offer };
      }
      return undefined;
    } finally {
      this.fairness.release(joiner);
    }
  }

  #startLease({ offerId, serviceFqn }: OfferRow, joiner: Joiner): void {
    // the store's clock may be a moment ahead of the timer of the lease before
    this.#endLease(offerId, false);
    this.fairness.leased(joiner);
    const timer = setTimeout(() => {
      this.#endLease(offerId, false);
      this.offersCame();
    }, LEASE + 1);
    this.#leases.set(offerId, { joiner, serviceFqn, timer });
  }

  /** @returns whether it was given here */
  #endLease(offerId: string, answered: boolean | undefined): boolean {
    const lease = this.#leases.get(offerId);
    if (!lease) return false;
    clearTimeout(lease.timer);
    this.#leases.delete(offerId);
    this.fairness.ended(lease.joiner, answered, Date.now());
    // an answer tells a joiner who is held back that it may ask again
    if (answered) void this.kick();
    return true;
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
      for (const service of services) this.#onDemand(service, 1);
      return new RpcError('no-offer', `No available offers for ${services[0]!.serviceFqn}: all are taken, ask again or wait`);
    }
    return new RpcError(
      'not-found',
      'target' in query && query.target.username === undefined ? 'No services found' : 'Service not found',
    );
  }

  #standInLine(query: Query, joiner: Joiner, wait: number, signal: AbortSignal): Promise<Match> {
    if (this.#waiters.size >= this.#maxWaiting)
      throw new RpcError('unavailable', `More than ${this.#maxWaiting} are waiting: ask again later`, { retryAfter: 5000 });
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        query,
        joiner,
        resolve: (match) => (leave(), resolve(match)),
        reject: (error) => (leave(), reject(error)),
      };
      const onAbort = (): void => waiter.reject(new RpcError('closed', 'The joiner went away'));
      const timer = setTimeout(() => void this.#nothing(query, joiner).then(waiter.reject, waiter.reject), wait);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) return onAbort();
      this.#waiters.add(waiter);
      void this.kick();
    });
  }

  /** Serves the line until no free offer fits anyone in it, then tells the publishers who is left. */
  async #serve(): Promise<void> {
    const exhausted = new Set<string>();
    for (;;) {
      const now = Date.now();
      const next = [...this.#waiters]
        .filter(({ query, joiner }) => !exhausted.has(queryKey(query, joiner)) && this.fairness.mayLease(joiner, now))
        .reduce<Waiter | undefined>(
          (best, waiter) => (best && this.fairness.compare(best.joiner, waiter.joiner, now) <= 0 ? best : waiter),
          undefined,
        );
      if (!next) break;
      const match = await this.#tryLease(next.query, next.joiner);
      if (!match) exhausted.add(queryKey(next.query, next.joiner));
      // who went while the store was asked leaves its lease to run out, as any joiner that goes does
      else if (this.#waiters.has(next)) next.resolve(match);
    }
    await this.#tellDemand();
  }

  async #tellDemand(): Promise<void> {
    const demand = new Map<string, { service: ServiceRow; waiting: number }>();
    const asked = new Map<string, ServiceRow[]>();
    for (const { query } of this.#waiters) {
      const key = queryKey(query);
      if (!asked.has(key)) asked.set(key, await this.services(query));
      for (const service of asked.get(key)!) {
        const entry = demand.get(service.serviceId) ?? { service, waiting: 0 };
        entry.waiting++;
        demand.set(service.serviceId, entry);
      }
    }
    for (const { service, waiting } of demand.values()) this.#onDemand(service, waiting);
  }
}

/** What is the same for all who ask the same; a possible owner apart, because one's own instance never gets its own offers. */
function queryKey(query: Query, joiner?: Joiner): string {
  const owner = 'target' in query ? query.target.username : undefined;
  const target = 'serviceId' in query ? query.serviceId : `${query.target.name}:${query.target.version}@${owner ?? ''}`;
  return joiner && (owner === undefined || owner === joiner.username)
    ? `${target} ${joiner.username} ${joiner.instance ?? ''}`
    : target;
}

function shuffle<T>(items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
