/**
 * Rate limits in points, per address and per key. Points reflect the cost of a call: signatures to verify, rows to read and
 * write, bytes to parse and send. If there are several servers, each server counts points separately.
 */
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { RpcMethod } from 'rondevu-elements/protocol';
import type { Limits } from './limits.js';
import { RpcError } from './rpc-error.js';
import { Turns } from './turns.js';

/** Period over which points are counted, in s. */
export const WINDOW = 10;
/** Period over which new usernames are counted, in s. */
export const CLAIM_WINDOW = 3600;

/**
 * Cost of a call in points; one point is about the cost of one signature verification. Methods that are not listed cost one
 * point.
 */
const COSTS: Partial<Record<RpcMethod | 'openSession', number>> = {
  openSession: 3,
  publishService: 3,
  answerOffer: 2,
  getServiceById: 2,
  getService: 2,
  deleteService: 3,
  releaseUsername: 5,
};
/** Cost of a page of services, in points, in addition to the cost of the call. */
export const LISTING_COST = 5;
/** Number of offers, offer ids or candidates that cost one additional point. */
export const ITEMS_PER_POINT = 10;
/**
 * Cost of a new public key, in points, in addition to the cost of the call: the strict check of a key uses arithmetic in
 * JavaScript.
 */
export const NEW_KEY_COST = 3;
/** Number of bytes of a request or reply that cost one additional point. */
export const BYTES_PER_POINT = 4096;
/** Maximum number of new public keys per address and WINDOW. */
export const MAX_NEW_KEYS = 1000;

/** Name of the list in the params whose items cost points, by method. */
const LISTS: Partial<Record<string, string>> = {
  publishService: 'offers',
  withdrawOffers: 'offerIds',
  addIceCandidates: 'candidates',
  signal: 'candidates',
};

/** Cost of a call in points. The params have not been validated yet. */
export function costOf(method: string, params: unknown): number {
  const given = Object(params) as Record<string, unknown>;
  const list = Object.hasOwn(LISTS, method) ? given[LISTS[method]!] : undefined;
  const items = Array.isArray(list) ? Math.floor(list.length / ITEMS_PER_POINT) : 0;
  const base = Object.hasOwn(COSTS, method) ? COSTS[method as RpcMethod]! : 1;
  return base + items + (method === 'getService' && given['limit'] !== undefined ? LISTING_COST : 0);
}

/** Cost of bytes in points, in addition to the cost of the call. */
export const costOfBytes = (bytes: number): number => Math.floor(bytes / BYTES_PER_POINT);

export class Limiter {
  readonly #address: RateLimiterMemory;
  readonly #key: RateLimiterMemory;
  readonly #claims: RateLimiterMemory;
  readonly #turns = new Turns();
  readonly #newKeys = new RateLimiterMemory({ points: MAX_NEW_KEYS, duration: WINDOW });

  constructor({ pointsPerAddress, pointsPerKey, claimsPerAddress }: Limits) {
    this.#address = new RateLimiterMemory({ points: pointsPerAddress, duration: WINDOW });
    this.#key = new RateLimiterMemory({ points: pointsPerKey, duration: WINDOW });
    this.#claims = new RateLimiterMemory({ points: claimsPerAddress, duration: CLAIM_WINDOW });
  }

  /** Charges the address, and resolves when its turn has come. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async chargeAddress(address: string, cost: number): Promise<void> {
    await spend(this.#address, address, cost, this.#addressLimit);
    const turn = this.#turns.take(address, cost);
    if (turn) await turn;
  }

  /**
   * Checks whether the address has points left, without charging any, so that a request can be refused before it is read.
   * @throws RpcError `rate-limited` when no points are left
   */
  async checkAddress(address: string): Promise<void> {
    const spent = await this.#address.get(address);
    if (spent && spent.remainingPoints <= 0) throw rateLimited(this.#addressLimit, spent.msBeforeNext);
  }

  /**
   * Checks that neither the address nor the key has overspent its points, without charging any.
   * @throws RpcError `rate-limited` if the address or the key has overspent its points
   */
  async checkSpent(address: string, publicKey: string): Promise<void> {
    for (const [limiter, name, what] of [
      [this.#address, address, this.#addressLimit],
      [this.#key, publicKey, this.#keyLimit],
    ] as const) {
      const spent = await limiter.get(name);
      if (spent && spent.consumedPoints > limiter.points) throw rateLimited(what, spent.msBeforeNext);
    }
  }

  get #addressLimit(): string {
    return `calls from this address: at most ${this.#address.points} points in ${WINDOW} s`;
  }

  get #keyLimit(): string {
    return `calls of this key: at most ${this.#key.points} points in ${WINDOW} s`;
  }

  /** @throws RpcError `rate-limited` with `retryAfter` in ms */
  async chargeKey(publicKey: string, cost: number): Promise<void> {
    await spend(this.#key, publicKey, cost, this.#keyLimit);
  }

  /**
   * Charges for work already done, such as a reply whose size was not known in advance. The points count against later calls.
   */
  async chargeInArrears(address: string, publicKey: string | undefined, cost: number): Promise<void> {
    if (cost <= 0) return;
    await this.#address.penalty(address, cost);
    if (publicKey) await this.#key.penalty(publicKey, cost);
  }

  /** Charges an address for checking a new public key. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async chargeNewKey(address: string): Promise<void> {
    await this.chargeAddress(address, NEW_KEY_COST);
    await spend(this.#newKeys, address, 1, `new keys from this address: at most ${MAX_NEW_KEYS} in ${WINDOW} s`);
  }

  /** Charges an address for claiming a free username. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async chargeClaim(address: string): Promise<void> {
    await spend(this.#claims, address, 1, `new usernames from this address: at most ${this.#claims.points} an hour`);
  }
}

async function spend(limiter: RateLimiterMemory, name: string, cost: number, what: string): Promise<void> {
  try {
    await limiter.consume(name, cost);
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    throw rateLimited(what, refusal.msBeforeNext);
  }
}

const rateLimited = (what: string, retryAfter: number): RpcError =>
  new RpcError('rate-limited', `Too many ${what}`, { retryAfter });
