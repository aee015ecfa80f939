/**
 * TURN credentials in the form of coturn's REST API (draft-uberti-behave-turn-rest-00, `use-auth-secret`): short-lived, and
 * verified by coturn without a request to this server. The number of credentials is limited per key and per address.
 */
import { createHmac } from 'node:crypto';
import type { IceServersResult } from 'rondevu-elements/protocol';
import type { Caller } from './caller.js';
import { RpcError } from './rpc-error.js';

export interface TurnConfig {
  /** `stun:` addresses that are handed out to everybody. */
  stunUrls: string[];
  /** `turn:` and `turns:` addresses. Empty: no TURN. */
  urls: string[];
  /**
   * Values of coturn's `static-auth-secret`; credentials are signed with the first secret. To rotate secrets, add the new
   * secret to coturn's configuration, put it first in this list, and remove the old secret when the last credential signed with
   * it has expired.
   */
  secrets: string[];
  /** Lifetime of a credential, in s. */
  ttl: number;
  /** `claimed` gives TURN credentials only to users with a claimed username, not to anonymous users. */
  for: 'all' | 'claimed';
  /** Maximum number of credentials per key, and per address, within an hour. */
  perKey: number;
  perAddress: number;
}

export const DEFAULT_TURN: TurnConfig = {
  stunUrls: [],
  urls: [],
  secrets: [],
  ttl: 3600,
  for: 'all',
  perKey: 60,
  perAddress: 600,
};

const HOUR = 3_600_000;

export class Turn {
  readonly #config: TurnConfig;
  /** Times at which credentials were issued, by key and by address. */
  readonly #issued = new Map<string, number[]>();
  /** The newest credentials of each key. */
  readonly #newest = new Map<string, IceServersResult>();
  #lastPrune = 0;

  constructor(config: TurnConfig) {
    this.#config = config;
  }

  /** Whether any ICE servers are configured. */
  get isOn(): boolean {
    return this.#config.urls.length > 0 || this.#config.stunUrls.length > 0;
  }

  /**
   * Returns ICE servers to send along with the reply to another call; undefined if no servers are configured or the budget is
   * used up. Reuses the previous credentials of the key while more than half of their lifetime is left.
   */
  iceServersIfAvailable(caller: Caller, isClaimed: boolean, now: number): IceServersResult | undefined {
    if (!this.isOn) return undefined;
    const kept = this.#newest.get(caller.publicKey);
    if (kept && kept.expiresAt - now > (this.#config.ttl * 1000) / 2)
      return { ...kept, ttl: Math.floor((kept.expiresAt - now) / 1000) };
    try {
      return this.iceServers(caller, isClaimed, now);
    } catch {
      return undefined;
    }
  }

  /**
   * Returns the ICE servers that a caller may use until `expiresAt`.
   * @param isClaimed whether the caller has a claimed username
   * @throws RpcError `rate-limited` with `retryAfter`
   */
  iceServers({ publicKey, address }: Caller, isClaimed: boolean, now: number): IceServersResult {
    this.#prune(now);
    const { stunUrls, urls, secrets, ttl, for: whom } = this.#config;
    const expiresAt = (Math.floor(now / 1000) + ttl) * 1000;
    const iceServers: IceServersResult['iceServers'] = stunUrls.length ? [{ urls: stunUrls }] : [];
    if (urls.length && (whom === 'all' || isClaimed)) {
      this.#count(publicKey, address, now);
      // every credential of a key contains the same id, so that coturn's quotas apply per user
      // the id is a keyed hash, so that readers of coturn's log cannot use it to identify the user
      const id = createHmac('sha256', secrets[0]!).update(publicKey).digest('base64url').slice(0, 22);
      const username = `${expiresAt / 1000}:${id}`;
      iceServers.push({ urls, username, credential: createHmac('sha1', secrets[0]!).update(username).digest('base64') });
    }
    const result = { iceServers, ttl, expiresAt };
    this.#newest.set(publicKey, result);
    return result;
  }

  #count(publicKey: string, address: string, now: number): void {
    const bounds: [name: string, most: number][] = [
      [`key ${publicKey}`, this.#config.perKey],
      [`address ${address}`, this.#config.perAddress],
    ];
    for (const [name, most] of bounds) {
      const times = (this.#issued.get(name) ?? []).filter((time) => time > now - HOUR);
      if (times.length < most) continue;
      const retryAfter = times[0]! + HOUR - now;
      throw new RpcError('rate-limited', `Too many TURN credentials for this ${name.split(' ')[0]}: at most ${most} an hour`, {
        retryAfter,
      });
    }
    for (const [name] of bounds)
      this.#issued.set(name, [...(this.#issued.get(name) ?? []).filter((time) => time > now - HOUR), now]);
  }

  #prune(now: number): void {
    if (now - this.#lastPrune < HOUR / 60) return;
    this.#lastPrune = now;
    for (const [name, { expiresAt }] of this.#newest) if (expiresAt <= now) this.#newest.delete(name);
    for (const [name, times] of this.#issued) if (times.at(-1)! <= now - HOUR) this.#issued.delete(name);
  }
}
