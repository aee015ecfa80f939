/**
 * How much one user, and all together, may keep here. While there is room everybody may have as much as the quota of a user;
 * when the server is full, who has less than an equal share may still publish.
 */
import type { Limits } from './config.js';
import { RpcError } from './rpc-error.js';
import type { Store } from './store.js';

/** How long a count of everything is good for, in ms: it reads all there is. */
const FRESH = 1000;
/** When to ask again, in ms. */
const RETRY_AFTER = 30_000;

type Totals = Promise<{ offers: number; publishers: number }>;

export class Quotas {
  readonly #store: Store;
  readonly #limits: Limits;
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
    const [own, all] = await Promise.all([this.#store.countOf(username, serviceFqn, now), this.#all(now)]);
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
