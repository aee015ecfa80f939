/**
 * How much one user, and all together, may keep here. While there is room everybody may have as much as the quota of a user;
 * when the server is full, who has less than an equal share may still publish.
 */
import type { Limits } from './config.js';
import { RpcError } from './rpc-error.js';
import type { Store } from './store.js';

/** How long a count of everything is good for, in ms: it reads all there is. */
const FRESH = 1000;
/** How many offers a user may publish on one count, and how many users are kept. */
const FAR = 50;
const MOST_KNOWN = 10_000;
/** When to ask again, in ms. */
const RETRY_AFTER = 30_000;

/** What a user had when it was last counted, and what it published since. */
interface Own {
  offers: number;
  otherServices: number;
  published: number;
  serviceFqn: string;
  until: number;
}

type Totals = Promise<{ offers: number; publishers: number }>;

export class Quotas {
  readonly #store: Store;
  readonly #limits: Limits;
  /** Those far from their quota, which need not be counted at every call. */
  readonly #own = new Map<string, Own>();
  #totals: Totals | undefined;
  #countedAt = 0;

  constructor(store: Store, limits: Limits) {
    this.#store = store;
    this.#limits = limits;
  }

  /**
   * @param count how many offers are to be published
   * @throws RpcError `too-large` for a user's own quota, `unavailable` when the server is full
   */
  async check(username: string, serviceFqn: string, count: number, now: number): Promise<void> {
    const { maxServicesPerUser, maxOffersPerUser, maxTotalOffers } = this.#limits;
    const [own, all] = await Promise.all([this.#ownOf(username, serviceFqn, count, now), this.#all(now)]);
    if (own.otherServices >= maxServicesPerUser)
      throw new RpcError('too-large', `At most ${maxServicesPerUser} services a user`, { retryAfter: RETRY_AFTER });
    if (own.offers + count > maxOffersPerUser)
      throw new RpcError('too-large', `At most ${maxOffersPerUser} free offers a user, ${own.offers} are there`, {
        retryAfter: RETRY_AFTER,
      });
    if (all.offers + count <= maxTotalOffers) return;
    const share = Math.floor(maxTotalOffers / (all.publishers + (own.offers ? 0 : 1)));
    if (own.offers + count > share)
      throw new RpcError('unavailable', `The server is full; an equal share is ${share} free offers, ${own.offers} are there`, {
        retryAfter: RETRY_AFTER,
      });
  }

  /** An upper bound that is good enough far from the quota, the exact count near it. */
  async #ownOf(
    username: string,
    serviceFqn: string,
    count: number,
    now: number,
  ): Promise<{ offers: number; otherServices: number }> {
    const known = this.#own.get(username);
    if (known && known.until > now && known.serviceFqn === serviceFqn && known.published + count <= FAR) {
      known.published += count;
      return { offers: known.offers + known.published - count, otherServices: known.otherServices };
    }
    const counted = await this.#store.countOf(username, serviceFqn, now);
    const { maxServicesPerUser, maxOffersPerUser } = this.#limits;
    const isFar = counted.offers + 2 * FAR < maxOffersPerUser && counted.otherServices < maxServicesPerUser;
    if (this.#own.size >= MOST_KNOWN) this.#own.clear();
    if (isFar) this.#own.set(username, { ...counted, published: count, serviceFqn, until: now + FRESH });
    else this.#own.delete(username);
    return counted;
  }

  #all(now: number): Totals {
    if (this.#totals && now - this.#countedAt < FRESH) return this.#totals;
    this.#countedAt = now;
    const totals = Promise.all([this.#store.countFreeOffers(now), this.#store.countPublishers(now)]).then(
      ([offers, publishers]) => ({ offers, publishers }),
    );
    totals.catch(() => (this.#totals = undefined));
    return (this.#totals = totals);
  }
}
