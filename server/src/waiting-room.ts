/**
 * The waiting joiners, indexed by query, so that only the joiners that can use an offer are considered for it. Limits the
 * number of waiting joiners in total, per key and per address. The waiting room has no access to the store; the matchmaker
 * serves the joiners.
 */
import { isCompatible, parseServiceName, type ServiceName } from 'rondevu-elements/protocol';
import { FairQueue } from './fair-queue.js';
import type { Asker, Fairness } from './fairness.js';
import { RpcError } from './rpc-error.js';
import type { Joiner, Match, Query } from './joiner.js';
import type { ServiceKey } from './store.js';

/** `retryAfter` for a joiner that is not allowed to wait, in ms. */
const RETRY_AFTER = 5000;

/**
 * Maximum number of versions of one name that the joiners of one key may wait for; each version has a queue that must be
 * served.
 */
export const MAX_VERSIONS = 4;

export interface Waiter {
  readonly query: Query;
  readonly joiner: Joiner;
  resolve(match: Match): void;
  reject(error: unknown): void;
}

/** All joiners with the same query. */
export interface Queue {
  readonly query: Query;
  readonly waiters: FairQueue<Waiter>;
}

interface Held {
  queue: Queue;
  asker: Asker;
}

export interface WaitingLimits {
  /** Maximum number of waiting joiners in total. */
  maxWaiting: number;
  /** Maximum number of waiting joiners per key. */
  maxWaitingPerKey: number;
  /** Maximum number of waiting joiners per address. */
  maxWaitingPerAddress: number;
}

export class WaitingRoom {
  readonly #fairness: Fairness;
  readonly #limits: WaitingLimits;
  readonly #waiters = new Map<Waiter, Queue>();
  /** Queues by `name@username`, by `name@` for a discovery, or by service id; then by version. */
  readonly #queues = new Map<string, Map<string, Queue>>();
  readonly #byAddress = new Map<string, Set<Waiter>>();
  readonly #byKey = new Map<string, Set<Waiter>>();
  readonly #byUser = new Map<string, Set<Waiter>>();
  /** Joiners, by key and by address, that get no more leases until a lease of their key or address has ended. */
  readonly #held = new Map<string, Set<Held>>();

  constructor(fairness: Fairness, limits: WaitingLimits) {
    this.#fairness = fairness;
    this.#limits = limits;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** All queues. */
  *queues(): Generator<Queue> {
    for (const versions of this.#queues.values()) yield* versions.values();
  }

  has(waiter: Waiter): boolean {
    return this.#waiters.has(waiter);
  }

  all(): Iterable<Waiter> {
    return this.#waiters.keys();
  }

  /** @throws RpcError `rate-limited` if one key or address has too many waiting joiners, `unavailable` if the queue is full */
  add(waiter: Waiter, now: number): void {
    const { publicKey, address, username } = waiter.joiner;
    const { maxWaiting, maxWaitingPerKey, maxWaitingPerAddress } = this.#limits;
    const details = { retryAfter: RETRY_AFTER };
    if ((this.#byKey.get(publicKey)?.size ?? 0) >= maxWaitingPerKey)
      throw new RpcError('rate-limited', `At most ${maxWaitingPerKey} joiners per key can wait: try again later`, details);
    const [target, version] = queueKeyOf(waiter.query);
    const versions = new Set([version]);
    for (const { query } of this.#byKey.get(publicKey) ?? []) {
      const [other, wanted] = queueKeyOf(query);
      if (other === target) versions.add(wanted);
    }
    if (versions.size > MAX_VERSIONS)
      throw new RpcError('rate-limited', `One key can wait for at most ${MAX_VERSIONS} versions of a service`, details);
    const atAddress = this.#byAddress.get(address)?.size ?? 0;
    if (atAddress >= maxWaitingPerAddress)
      throw new RpcError(
        'rate-limited',
        `At most ${maxWaitingPerAddress} joiners per address can wait: try again later`,
        details,
      );
    const full = new RpcError('unavailable', `More than ${maxWaiting} joiners are waiting: try again later`, details);
    if (this.#waiters.size >= maxWaiting) {
      // an address with many joiners yields a place to an address with few
      const evicted = this.#ofLargestAddress(atAddress + 1);
      if (!evicted) throw full;
      evicted.reject(full);
    }
    const queue = this.#queueOf(waiter.query);
    this.#waiters.set(waiter, queue);
    queue.waiters.add(waiter, waiter.joiner, now);
    for (const [index, name] of this.#indexes(publicKey, address, username)) {
      const group = index.get(name);
      if (group) group.add(waiter);
      else index.set(name, new Set([waiter]));
    }
  }

  delete(waiter: Waiter): void {
    const queue = this.#waiters.get(waiter);
    if (!queue) return;
    this.#waiters.delete(waiter);
    const { publicKey, address, username } = waiter.joiner;
    for (const [index, name] of this.#indexes(publicKey, address, username)) {
      const group = index.get(name);
      if (group?.delete(waiter) && !group.size) index.delete(name);
    }
    queue.waiters.delete(waiter, waiter.joiner);
    if (queue.waiters.size) return;
    const [target, version] = queueKeyOf(waiter.query);
    const versions = this.#queues.get(target);
    versions?.delete(version);
    if (!versions?.size) this.#queues.delete(target);
  }

  /**
   * The queues whose joiners can use an offer of this service.
   * @param isHidden whether the service can be found only by its id
   */
  queuesFor({ serviceId, serviceFqn }: ServiceKey, isHidden: boolean): Queue[] {
    const { name, version, username = '' } = parseServiceName(serviceFqn);
    const named = isHidden ? [] : [`${name}@${username}`, `${name}@`];
    const found = named.flatMap((target) => [...(this.#queues.get(target)?.entries() ?? [])]);
    const compatible = found.filter(([wanted]) => isCompatible(version, wanted)).map(([, queue]) => queue);
    return [...compatible, ...(this.#queues.get(serviceId)?.values() ?? [])];
  }

  /** Whether any joiner may be waiting for a service; this check does not read from the store. */
  mayHaveWaiters({ serviceId, serviceFqn }: ServiceKey): boolean {
    const { name, username = '' } = parseServiceName(serviceFqn);
    return [`${name}@${username}`, `${name}@`, serviceId].some((target) => this.#queues.has(target));
  }

  /** Returns a waiting joiner of a user, in one of the given queues, that may get a lease. */
  firstOfUser(username: string, queues: Queue[], now: number): Waiter | undefined {
    for (const waiter of this.#byUser.get(username) ?? [])
      if (queues.includes(this.#waiters.get(waiter)!) && this.#fairness.mayLease(waiter.joiner, now)) return waiter;
    return undefined;
  }

  /** Skips a joiner until `release` is called with its key or address. */
  hold(queue: Queue, asker: Asker): void {
    queue.waiters.hold(asker);
    const held = { queue, asker };
    for (const name of [asker.publicKey, asker.address]) {
      const group = this.#held.get(name);
      if (group) group.add(held);
      else this.#held.set(name, new Set([held]));
    }
  }

  /**
   * Call this when a lease of a joiner has ended.
   * @returns the queues of the joiners that were on hold because of the same key or address
   */
  release({ publicKey, address }: Asker, now: number): Set<Queue> {
    const queues = new Set<Queue>();
    for (const held of [...(this.#held.get(publicKey) ?? []), ...(this.#held.get(address) ?? [])]) {
      for (const name of [held.asker.publicKey, held.asker.address]) {
        const group = this.#held.get(name);
        if (group?.delete(held) && !group.size) this.#held.delete(name);
      }
      held.queue.waiters.release(held.asker, now);
      queues.add(held.queue);
    }
    return queues;
  }

  #indexes(publicKey: string, address: string, username: string): [Map<string, Set<Waiter>>, string][] {
    return [
      [this.#byKey, publicKey],
      [this.#byAddress, address],
      [this.#byUser, username],
    ];
  }

  #queueOf(query: Query): Queue {
    const [target, version] = queueKeyOf(query);
    let versions = this.#queues.get(target);
    if (!versions) this.#queues.set(target, (versions = new Map()));
    let queue = versions.get(version);
    if (!queue) versions.set(version, (queue = { query, waiters: new FairQueue(this.#fairness) }));
    return queue;
  }

  /** Returns a waiter from the address with the most waiters; undefined if no address has more than `most`. */
  #ofLargestAddress(most: number): Waiter | undefined {
    let largest: Set<Waiter> | undefined;
    for (const group of this.#byAddress.values()) if (group.size > (largest?.size ?? most)) largest = group;
    return largest && [...largest].at(-1);
  }
}

/** Returns the two map keys that identify the queue of a query. */
function queueKeyOf(query: Query): [target: string, version: string] {
  if ('serviceId' in query) return [query.serviceId, ''];
  const { name, version, username = '' }: ServiceName = query.target;
  return [`${name}@${username}`, version];
}
