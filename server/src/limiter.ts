/**
 * What one address and one key may spend in a time, in points: by signatures to check, rows to read and write, and bytes to parse
 * and to send. Counts in this process alone; each of several servers has its own count.
 */
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { RpcMethod } from 'rondevu-elements/protocol';
import type { Limits } from './config.js';
import { RpcError } from './rpc-error.js';
import { Turns } from './turns.js';

/** The time in which points are counted, in s. */
export const WINDOW = 10;
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
export const LISTING_COST = 5;
/** Offers, ids of offers or candidates that cost one point more. */
export const ITEMS_A_POINT = 10;
/** Bytes of a request, and of a reply, that cost one point more. */
export const BYTES_A_POINT = 4096;
/** Keys of one address in a while that were not seen lately: each is checked strictly, with arithmetic in JavaScript. */
export const NEW_KEYS = 1000;

/** The list in params that makes a call larger. */
const LISTS: Partial<Record<string, string>> = {
  publishService: 'offers',
  withdrawOffers: 'offerIds',
  addIceCandidates: 'candidates',
  signal: 'candidates',
};

/** What a call costs, in points. Looks at params before they were checked, so they may be anything. */
export function costOf(method: string, params: unknown): number {
  const given = Object(params) as Record<string, unknown>;
  const list = Object.hasOwn(LISTS, method) ? given[LISTS[method]!] : undefined;
  const items = Array.isArray(list) ? Math.floor(list.length / ITEMS_A_POINT) : 0;
  const base = Object.hasOwn(COSTS, method) ? COSTS[method as RpcMethod]! : 1;
  return base + items + (method === 'getService' && given['limit'] !== undefined ? LISTING_COST : 0);
}

/** What bytes cost beside the call, in points. */
export const costOfBytes = (bytes: number): number => Math.floor(bytes / BYTES_A_POINT);

export class Limiter {
  readonly #address: RateLimiterMemory;
  readonly #key: RateLimiterMemory;
  readonly #claims: RateLimiterMemory;
  readonly #turns = new Turns();
  readonly #newKeys = new RateLimiterMemory({ points: NEW_KEYS, duration: WINDOW });

  constructor({ pointsPerAddress, pointsPerKey, claimsPerAddress }: Limits) {
    this.#address = new RateLimiterMemory({ points: pointsPerAddress, duration: WINDOW });
    this.#key = new RateLimiterMemory({ points: pointsPerKey, duration: WINDOW });
    this.#claims = new RateLimiterMemory({ points: claimsPerAddress, duration: CLAIM_WINDOW });
  }

  /** Resolves when it is the address' turn. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofAddress(address: string, cost: number): Promise<void> {
    await spend(this.#address, address, cost, this.#ofAddress);
    await this.#turns.take(address, cost);
  }

  /** Costs nothing, so that a request can be refused before it is read. @throws RpcError `rate-limited` when no point is left */
  async checkAddress(address: string): Promise<void> {
    const spent = await this.#address.get(address);
    if (spent && spent.remainingPoints <= 0) throw tooMany(this.#ofAddress, spent.msBeforeNext);
  }

  /** Costs nothing. @throws RpcError `rate-limited` when an address or a key has spent more than its points */
  async checkSpent(address: string, publicKey: string): Promise<void> {
    for (const [limiter, name, what] of [
      [this.#address, address, this.#ofAddress],
      [this.#key, publicKey, this.#ofKey],
    ] as const) {
      const spent = await limiter.get(name);
      if (spent && spent.consumedPoints > limiter.points) throw tooMany(what, spent.msBeforeNext);
    }
  }

  get #ofAddress(): string {
    return `calls from this address: at most ${this.#address.points} points in ${WINDOW} s`;
  }

  get #ofKey(): string {
    return `calls of this key: at most ${this.#key.points} points in ${WINDOW} s`;
  }

  /** @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofKey(publicKey: string, cost: number): Promise<void> {
    await spend(this.#key, publicKey, cost, this.#ofKey);
  }

  /** Charges for what is done already, such as a reply whose size was not known before: the next calls are refused for it. */
  async charge(address: string, publicKey: string | undefined, cost: number): Promise<void> {
    if (cost <= 0) return;
    await this.#address.penalty(address, cost);
    if (publicKey) await this.#key.penalty(publicKey, cost);
  }

  /** A key that was not seen lately is about to be checked. @throws RpcError `rate-limited` with `retryAfter` in ms */
  async ofNewKey(address: string): Promise<void> {
    await spend(this.#newKeys, address, 1, `new keys from this address: at most ${NEW_KEYS} in ${WINDOW} s`);
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
    throw tooMany(what, refusal.msBeforeNext);
  }
}

const tooMany = (what: string, retryAfter: number): RpcError => new RpcError('rate-limited', `Too many ${what}`, { retryAfter });
