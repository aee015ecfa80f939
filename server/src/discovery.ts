/** Finds live services by name or by id, and lists those that have offers. */
import { compareVersions, isCompatible, type ServiceName } from 'rondevu-elements/protocol';
import type { Joiner, Query } from './joiner.js';
import type { FoundService, Holder, Store } from './store.js';

/** Charges a client for work beyond the base cost of a look-up. @throws RpcError `rate-limited` */
export type Charge = (points: number) => Promise<void>;

/** Maximum number of services of one name that a look-up examines; if there are more, they are chosen at random. */
export const MAX_DISCOVERED = 100;
/** Number of service names that a look-up reads for each additional point. */
export const NAMES_PER_POINT = 500;
/** Maximum number of services that a look-up examines per read; each additional read costs one point. */
export const EXAMINED_PER_POINT = 25;
/** Maximum number of services that a listing examines per read; each additional read costs one point. */
export const LISTED_PER_POINT = 50;
/** Number of reads, each of up to EXAMINED_PER_POINT services, for which a waiting joiner is not charged. */
const FREE_READS = MAX_DISCOVERED / EXAMINED_PER_POINT;
/** How long full names that were read for one queue may be reused for other queues of the same name, in ms. */
const CACHE_TTL = 1000;

/** Full names of services, shared by queries for the same name, with the time at which they were read. */
export type NameCache = Map<string, { fqns: string[]; readAt: number }>;

export class Discovery {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Returns the live services for a page: all services that match and have an undirected offer, in no particular order.
   * @param charge charges the client for the services that are examined
   */
  async list(target: ServiceName, charge: Charge): Promise<FoundService[]> {
    const fqns = compatibleOf(await this.#store.findServices(target.name, target.username, Date.now(), 'first'), target);
    const points = pointsForNames(fqns);
    if (points) await charge(points);
    const listed: FoundService[] = [];
    for await (const services of this.#offering(fqns, LISTED_PER_POINT, 'all', charge)) listed.push(...services);
    return listed;
  }

  /**
   * Returns the full names of the live services that match a query, best first: by version, then in random order to spread the
   * joiners.
   * @param cache full names shared by several queries; read and updated
   */
  async find(query: Query, cache?: NameCache): Promise<string[]> {
    const now = Date.now();
    if ('serviceId' in query) {
      const service = await this.#store.getService(query.serviceId, now);
      return service ? [service.serviceFqn] : [];
    }
    const { name, username } = query.target;
    const key = `${name}@${username ?? ''}`;
    let entry = cache?.get(key);
    if (!entry || entry.readAt <= now - CACHE_TTL) {
      entry = { fqns: shuffle(await this.#store.findServices(name, username, now, 'anywhere')), readAt: now };
      cache?.set(key, entry);
    }
    return compatibleOf(entry.fqns, query.target);
  }

  /** Reads services, given the full names that `find` returned for a query. */
  async read(query: Query, fqns: string[]): Promise<FoundService[]> {
    return matching(query, await this.#store.readServices(fqns, Date.now()));
  }

  /**
   * Yields the services that have an offer for a joiner, in batches; a batch may be empty. Examines at most MAX_DISCOVERED
   * services.
   * @param fqns full names of the services that match the query, best first
   * @param charge charges the client for each batch except the first
   */
  async *offering(query: Query, fqns: string[], joiner: Joiner, charge?: Charge): AsyncGenerator<FoundService[]> {
    const examined = fqns.slice(0, MAX_DISCOVERED);
    for await (const services of this.#offering(examined, EXAMINED_PER_POINT, joiner, charge)) yield matching(query, services);
  }

  /** Returns the first batch of services that have an offer for a joiner, after at most FREE_READS reads. */
  async firstOffering(query: Query, fqns: string[], joiner: Joiner): Promise<FoundService[]> {
    let reads = 0;
    for await (const services of this.offering(query, fqns, joiner))
      if (services.length || ++reads === FREE_READS) return services;
    return [];
  }

  async *#offering(fqns: string[], batch: number, to: Holder | 'all', charge?: Charge): AsyncGenerator<FoundService[]> {
    for (let start = 0; start < fqns.length;) {
      if (start) await charge?.(1);
      const { services, examined } = await this.#store.offering(fqns.slice(start, start + batch), Date.now(), to);
      start += examined;
      yield services;
    }
  }
}

/** Cost of reading the given service names, in points, in addition to the base cost of a look-up. */
export const pointsForNames = ({ length }: string[]): number => Math.floor(length / NAMES_PER_POINT);

/** Returns the full names with a compatible version, best version first and otherwise in the given order. */
function compatibleOf(fqns: string[], { name, version }: ServiceName): string[] {
  const byVersion = new Map<string, string[]>();
  for (const fqn of fqns) {
    const found = fqn.slice(name.length + 1, fqn.indexOf('@'));
    const same = byVersion.get(found);
    if (same) same.push(fqn);
    else byVersion.set(found, [fqn]);
  }
  // many services share a few versions, so each version is parsed once instead of in every comparison
  const versions = [...byVersion.keys()].filter((each) => isCompatible(each, version));
  return versions.sort((a, b) => compareVersions(b, a)).flatMap((each) => byVersion.get(each)!);
}

/** For a query by id, omits services with a different id, because the full name may now belong to a different service. */
const matching = (query: Query, services: FoundService[]): FoundService[] =>
  'serviceId' in query ? services.filter(({ serviceId }) => serviceId === query.serviceId) : services;

function shuffle<T>(items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
