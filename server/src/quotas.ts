/**
 * Quotas for offers and services, per user and in total. While there is room, each user may use its full quota; when the server
 * is full, a user with less than an equal share may still publish.
 */
import type { Limits } from './limits.js';
import { RpcError } from './rpc-error.js';
import type { Store } from './store.js';

/** How long a count is reused, in ms. */
const COUNT_TTL = 1000;
/**
 * How long the total number of offers is reused while it is below half of the limit, in ms, because counting reads every offer.
 */
const FAR_COUNT_TTL = 10_000;
/** Number of offers that a user may publish before the user's offers are counted again. */
const FAR_MARGIN = 50;
/** Maximum number of users whose counts are cached. */
const MAX_CACHED = 10_000;
/** `retryAfter` of the quota errors, in ms. */
const RETRY_AFTER = 30_000;

/** The last counts of a user, and the number of offers that the user has published since. */
interface CachedCount {
  offers: number;
  otherServices: number;
  published: number;
  serviceFqn: string;
  until: number;
}

interface Count {
  value: Promise<number>;
  at: number;
}

export class Quotas {
  readonly #store: Store;
  readonly #limits: Limits;
  /** Users far below their quota, whose offers and services need not be counted on every call. */
  readonly #cached = new Map<string, CachedCount>();
  #free: Count | undefined;
  /** Number of free and answered offers at the last count, plus the number of offers published on this server since then. */
  #freeUpperBound = 0;
  #publishers: Count | undefined;

  constructor(store: Store, limits: Limits) {
    this.#store = store;
    this.#limits = limits;
  }

  /**
   * @param count number of offers to be published
   * @throws RpcError `too-large` if the user's own quota is used up, `unavailable` if the server is full
   */
  async check(username: string, serviceFqn: string, count: number, now: number): Promise<void> {
    const { maxServicesPerUser, maxOffersPerUser, maxTotalOffers } = this.#limits;
    const [own, free] = await Promise.all([this.#countOwn(username, serviceFqn, count, now), this.#countFree(count, now)]);
    if (own.otherServices >= maxServicesPerUser)
      throw new RpcError('too-large', `At most ${maxServicesPerUser} services per user`, { retryAfter: RETRY_AFTER });
    if (own.offers + count > maxOffersPerUser)
      throw new RpcError('too-large', `At most ${maxOffersPerUser} free and answered offers per user, you have ${own.offers}`, {
        retryAfter: RETRY_AFTER,
      });
    if (free + count <= maxTotalOffers) return;
    const publishers = await this.#countPublishers(now);
    const share = Math.floor(maxTotalOffers / (publishers + (own.offers ? 0 : 1)));
    if (own.offers + count > share)
      throw new RpcError('unavailable', `The server is full; an equal share is ${share} free offers, you have ${own.offers}`, {
        retryAfter: RETRY_AFTER,
      });
  }

  /** Returns exact counts if the user is near the quota, upper bounds if the user is far below it. */
  async #countOwn(
    username: string,
    serviceFqn: string,
    count: number,
    now: number,
  ): Promise<{ offers: number; otherServices: number }> {
    const known = this.#cached.get(username);
    if (known && known.until > now && known.serviceFqn === serviceFqn && known.published + count <= FAR_MARGIN) {
      known.published += count;
      return { offers: known.offers + known.published - count, otherServices: known.otherServices };
    }
    const counted = await this.#store.countOf(username, serviceFqn, now);
    const { maxServicesPerUser, maxOffersPerUser } = this.#limits;
    const isFar = counted.offers + 2 * FAR_MARGIN < maxOffersPerUser && counted.otherServices < maxServicesPerUser;
    if (this.#cached.size >= MAX_CACHED) this.#cached.clear();
    if (isFar) this.#cached.set(username, { ...counted, published: count, serviceFqn, until: now + COUNT_TTL });
    else this.#cached.delete(username);
    return counted;
  }

  /** @param count number of offers to be published now */
  async #countFree(count: number, now: number): Promise<number> {
    const isFar = this.#freeUpperBound * 2 < this.#limits.maxTotalOffers;
    if (!this.#free || now - this.#free.at >= (isFar ? FAR_COUNT_TTL : COUNT_TTL)) {
      this.#freeUpperBound = 0;
      const counts = [this.#store.countFreeOffers(now), this.#store.countAnswered(now)];
      const value = Promise.all(counts).then(([free = 0, answered = 0]) => {
        this.#freeUpperBound += free + answered;
        return free + answered;
      });
      value.catch(() => (this.#free = undefined));
      this.#free = { value, at: now };
    }
    this.#freeUpperBound += count;
    return this.#free.value;
  }

  #countPublishers(now: number): Promise<number> {
    if (!this.#publishers || now - this.#publishers.at >= COUNT_TTL) {
      const value = this.#store.countPublishers(now);
      value.catch(() => (this.#publishers = undefined));
      this.#publishers = { value, at: now };
    }
    return this.#publishers.value;
  }
}
