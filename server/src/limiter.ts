/**
 * How much one address and one key may ask for in a while, by what calls cost the server: a signature to check, rows to write,
 * rows to read. Counts in this process alone; each of several servers has its own count.
 */
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { RpcMethod } from 'rondevu-elements/protocol';
import type { Limits } from './config.js';
import { RpcError } from './rpc-error.js';

/** The time in which points are counted, in s. */
const WINDOW = 10;
const CLAIM_WINDOW = 3600;

/** Points of a call; one is about a signature that is checked. What is not listed costs one. */
const COSTS: Partial<Record<RpcMethod | 'openSession', number>> = {
  openSession: 3,
  publishService: 3,
  answerOffer: 2,
  getServiceById: 2,
  getService: 2,
  deleteService: 3,
  releaseUsername: 5,
};
/** What a page of services costs beside the call. */
const LISTING_COST = 5;
/** Offers that cost one point more. */
const OFFERS_A_POINT = 10;

/** What a call costs, in points. Looks at params before they were checked, so they may be anything. */
export function costOf(method: string, params: unknown): number {
  const { offers, limit } = Object(params) as { offers?: unknown; limit?: unknown };
  const offerCount = method === 'publishService' && Array.isArray(offers) ? offers.length : 0;
  const base = Object.hasOwn(COSTS, method) ? COSTS[method as RpcMethod]! : 1;
  return base + Math.floor(offerCount / OFFERS_A_POINT) + (method === 'getService' && limit !== undefined ? LISTING_COST : 0);
}

export class Limiter {
  readonly #address: RateLimiterMemory;
  readonly #key: RateLimiterMemory;
  readonly #claims: RateLimiterMemory;

  constructor({ pointsPerAddress, pointsPerKey, claimsPerAddress }: Limits) {
    this.#address = new RateLimiterMemory({ points: pointsPerAddress, duration: WINDOW });
    this.#key = new RateLimiterMemory({ points: pointsPerKey, duration: WINDOW });
    this.#claims = new RateLimiterMemory({ points: claimsPerAddress, duration: CLAIM_WINDOW });
  }

  /** @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofAddress(address: string, cost: number): Promise<void> {
    await spend(this.#address, address, cost, `calls from this address: at most ${this.#address.points} points in ${WINDOW} s`);
  }

  /** @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofKey(publicKey: string, cost: number): Promise<void> {
    await spend(this.#key, publicKey, cost, `calls of this key: at most ${this.#key.points} points in ${WINDOW} s`);
  }

  /** A name that was free is about to be claimed. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofClaim(address: string): Promise<void> {
    await spend(this.#claims, address, 1, `new usernames from this address: at most ${this.#claims.points} an hour`);
  }
}

async function spend(limiter: RateLimiterMemory, name: string, cost: number, what: string): Promise<void> {
  try {
    await limiter.consume(name, cost);
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    throw new RpcError('rate-limited', `Too many ${what}`, { retryAfter: refusal.msBeforeNext });
  }
}
