/**
 * Authenticates signed requests: checks the format, timestamp, key, signature, digest, replay and claim, in that order, and
 * only then claims the username. The digest covers params of any size, so it is checked after the signature, which covers only
 * the short message. Authentication does not depend on the semantics of the call.
 */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { isPlausiblePublicKey, isStrictPublicKey } from 'rondevu-elements/identity';
import {
  LEGACY_CONTEXT,
  LEGACY_MAX_AGE,
  V2_MAX_AGE,
  anonymousName,
  audience,
  digestInput,
  isAnonymousName,
  isUsername,
  parseMessage,
  type RpcMethod,
  type SignedMessage,
} from 'rondevu-elements/protocol';
import type { ClaimClock } from './claim-clock.js';
import type { Caller } from './caller.js';
import type { ServerConfig } from './config.js';
import { DEFAULT_LIMITS } from './limits.js';
import { Limiter, costOf, costOfBytes } from './limiter.js';
import { principalOf, type NameHolder } from './principal.js';
import { NameLostError, RpcError } from './rpc-error.js';
import type { Metrics } from './metrics.js';
import { nameTaken, type Store, type UserRow } from './store.js';

/** A call as received from the client, with its signed message and signature. */
export interface SignedCall {
  method: string;
  message: string;
  signature: string;
  publicKey?: string | undefined;
  /** Params as parsed from the request, before defaults are filled in, because the digest covers this form. */
  params?: unknown;
}

// one hour is added because the store updates the time of the last v2 message at most once an hour
const STICKY_PERIOD = 7 * 86_400_000 + 3_600_000;
const KEY_CACHE = 10_000;
const HOST_CACHE = 100;
/** How long the calls of a session may rely on the last check of its claim, in ms. */
const ASSERTION_TTL = 1000;

export type AuthConfig = Pick<ServerConfig, 'publicUrls' | 'legacyAuth'> &
  Partial<Pick<ServerConfig, 'limits' | 'reservedNames'>>;

export class Authenticator {
  readonly #keys = new Map<string, KeyObject>();
  readonly #audiences = new Map<string, string[]>();
  /** Time at which the claim of a session was last checked, by principal. */
  readonly #asserted = new Map<string, number>();
  readonly #clock: Pick<ClaimClock, 'at'>;
  readonly #store: Store;
  readonly #config: AuthConfig;
  readonly #reserved: ReadonlySet<string>;
  readonly #limiter: Limiter;
  readonly #metrics: Metrics | undefined;
  /** Called when a free username has been claimed, before the call continues. */
  readonly #onClaim: (username: string) => Promise<void>;

  constructor(
    store: Store,
    config: AuthConfig,
    metrics?: Metrics,
    onClaim: (username: string) => Promise<void> = async () => undefined,
    clock: Pick<ClaimClock, 'at'> = { at: (now) => now },
  ) {
    this.#onClaim = onClaim;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#reserved = new Set(config.reservedNames);
    this.#limiter = new Limiter(config.limits ?? DEFAULT_LIMITS);
    this.#store = store;
    this.#config = config;
  }

  /**
   * Authenticates a signed call, and claims or renews its username as the last step.
   * @param host `Host` header of the request, used as the audience if no public URL is configured
   * @throws RpcError `bad-request`, `clock-skew`, `replayed`, `bad-signature`, `name-taken`, `unauthorized`, `forbidden`,
   *   `rate-limited`
   */
  async authenticate(call: SignedCall, address: string, host: string, now: number): Promise<Caller> {
    const cost = costOf(call.method, call.params);
    await this.#limiter.chargeAddress(address, cost);
    const message = this.#parse(call);
    const v2 = message.nonce !== undefined;
    this.#checkClock(message, v2, now);
    if (!v2) this.#checkContext(call, message);

    const claimTime = this.#clock.at(now);
    const user = await this.#store.getUser(message.username, claimTime);
    if (user && call.publicKey !== undefined && call.publicKey !== user.publicKey) {
      throw new RpcError('name-taken', `Invalid signature: username "${message.username}" is already claimed by another key`);
    }
    const publicKey = user?.publicKey ?? call.publicKey;
    // v0.20 clients call getUser before they claim a name, without sending a public key
    if (publicKey === undefined && call.method === 'getUser') return { username: message.username, publicKey: '', address };
    if (publicKey === undefined)
      throw new RpcError('unauthorized', `Username "${message.username}" is not claimed: send your publicKey`);
    const known = this.#keys.get(publicKey);
    const key = known ?? importKey(publicKey);
    const signature = decodeSignature(call.signature);
    const isValid = (): boolean => verify(null, Buffer.from(call.message), key, signature);
    if (!(this.#metrics ? this.#metrics.verifying(isValid) : isValid())) throw new RpcError('bad-signature', 'Invalid signature');
    if (!known) await this.#admitKey(publicKey, key, address);
    await this.#limiter.chargeKey(publicKey, cost);
    if (v2) this.#checkDigest(call, message, host);
    if (v2) await this.#checkReplay(`${publicKey}:${message.nonce}`, message.timestamp + V2_MAX_AGE, now);
    else await this.#checkLegacy(call, message, (user?.lastV2At ?? 0) > claimTime - STICKY_PERIOD, now);
    if (!user && !isAnonymousName(message.username)) {
      if (this.#reserved.has(message.username))
        throw new RpcError('forbidden', `Username "${message.username}" is reserved on this server`);
      await this.#limiter.chargeClaim(address);
    }
    await this.#claim(message.username, publicKey, v2, claimTime, user);
    if (!user && !isAnonymousName(message.username)) await this.#onClaim(message.username);
    return { username: message.username, publicKey, address };
  }

  /**
   * Charges an address for bytes before they are parsed.
   * @param minimum minimum charge, in points, for requests that are refused before they are recognized as calls
   * @throws RpcError `rate-limited`
   */
  async chargeBytes(address: string, bytes: number, minimum = 0): Promise<void> {
    const cost = Math.max(minimum, costOfBytes(bytes));
    if (cost > 0) await this.#limiter.chargeAddress(address, cost);
  }

  /** Checks whether an address has points left, before its request is read. @throws RpcError `rate-limited` */
  async checkAddress(address: string): Promise<void> {
    await this.#limiter.checkAddress(address);
  }

  /** Checks that the caller has not overspent its points, before a large reply is assembled. @throws RpcError `rate-limited` */
  async checkPoints({ address, publicKey }: Caller): Promise<void> {
    await this.#limiter.checkSpent(address, publicKey);
  }

  /** Charges the caller for the bytes of a reply before it is sent. */
  async chargeReply(caller: Pick<Caller, 'address' | 'publicKey'>, bytes: number): Promise<void> {
    await this.chargeInArrears(caller, costOfBytes(bytes));
  }

  /** Charges points for work already done; the points count against later calls. */
  async chargeInArrears({ address, publicKey }: Pick<Caller, 'address' | 'publicKey'>, points: number): Promise<void> {
    await this.#limiter.chargeInArrears(address, publicKey, points);
  }

  /**
   * Authenticates an unsigned call in an open session: checks that the session's key still holds the username, and renews the
   * claim. Only a signed call can claim a free username.
   * @param bytes size of the frame, in bytes
   * @throws RpcError `rate-limited`; NameLostError if the username was released, has expired, or belongs to a different key
   */
  async reassert(caller: Caller, method: string, params: unknown, bytes: number, now: number): Promise<void> {
    await this.charge(caller, costOf(method, params) + costOfBytes(bytes));
    const { username, publicKey } = caller;
    const principal = principalOf(caller);
    if (isAnonymousName(username) || this.#asserted.get(principal)! > now - ASSERTION_TTL) return;
    const claimTime = this.#clock.at(now);
    const user = await this.#store.getUser(username, claimTime);
    if (!user) throw new NameLostError('unauthorized', `Username "${username}" is no longer claimed: open a new session`);
    if (user.publicKey !== publicKey) throw nameTaken(username);
    await this.#claim(username, publicKey, true, claimTime, user);
    if (this.#asserted.size >= KEY_CACHE) this.#asserted.clear();
    this.#asserted.set(principal, now);
  }

  /** Discards the last claim check of a holder; call this when a username has been released or claimed. */
  forget(caller: NameHolder): void {
    this.#asserted.delete(principalOf(caller));
  }

  /** Charges the caller for costs that become known only during the call. @throws RpcError `rate-limited` */
  async charge({ publicKey, address }: Caller, points: number): Promise<void> {
    await this.#limiter.chargeAddress(address, points);
    await this.#limiter.chargeKey(publicKey, points);
  }

  #parse(call: SignedCall): SignedMessage {
    let message: SignedMessage;
    try {
      message = parseMessage(call.message);
    } catch (error) {
      throw new RpcError('bad-request', `Invalid message format: ${(error as Error).message}`);
    }
    if (message.method !== call.method) {
      throw new RpcError(
        'bad-signature',
        `Invalid message format: it is signed for ${message.method}, but the call is ${call.method}`,
      );
    }
    if (!isUsername(message.username))
      throw new RpcError('bad-request', `Invalid username "${message.username}": 3 to 32 characters of a-z 0-9 . -`);
    return message;
  }

  #checkClock(message: SignedMessage, v2: boolean, now: number): void {
    if (Math.abs(now - message.timestamp) <= (v2 ? V2_MAX_AGE : LEGACY_MAX_AGE)) return;
    throw new RpcError('clock-skew', 'Message timestamp is too old or too far in the future: check your clock', {
      serverTime: now,
    });
  }

  #checkDigest(call: SignedCall, message: SignedMessage, host: string): void {
    const allowed = this.#config.publicUrls.length ? this.#config.publicUrls : this.#audiencesOf(host);
    for (const aud of allowed) {
      let digest: string;
      try {
        digest = createHash('sha256')
          .update(digestInput(aud, call.method, call.params))
          .digest('base64url');
      } catch (error) {
        throw new RpcError('bad-request', `params cannot be signed: ${(error as Error).message}`);
      }
      if (digest === message.digest) return;
    }
    throw new RpcError(
      'bad-signature',
      `Invalid signature: it does not match these params at ${allowed.join(' or ')}. If clients use another address, set PUBLIC_URL to it`,
    );
  }

  /** Behind a proxy, the scheme and path that the client used are unknown, so only the host is compared. */
  #audiencesOf(host: string): string[] {
    let found = this.#audiences.get(host);
    if (found) return found;
    found = [`http://${host}`, `https://${host}`].filter((url) => URL.canParse(url)).map(audience);
    if (this.#audiences.size >= HOST_CACHE) this.#audiences.clear();
    this.#audiences.set(host, found);
    return found;
  }

  /** A signature in the old form covers the method and its context, but not the params. */
  #checkContext(call: SignedCall, message: SignedMessage): void {
    const context = Object.hasOwn(LEGACY_CONTEXT, call.method) ? LEGACY_CONTEXT[call.method as RpcMethod] : undefined;
    if (!context) throw new RpcError('bad-signature', `${call.method} requires a v2 signature`);
    let expected: string;
    try {
      expected = String((context as (params: unknown) => unknown)(call.params ?? {}));
    } catch {
      throw new RpcError('bad-request', 'params must be an object');
    }
    if (message.context !== expected)
      throw new RpcError('bad-signature', 'Invalid signature: the message was signed for another call');
  }

  async #checkLegacy(call: SignedCall, message: SignedMessage, hasRecentV2: boolean, now: number): Promise<void> {
    const { legacyAuth } = this.#config;
    const isRefused = legacyAuth === 'off' || isAnonymousName(message.username) || (legacyAuth === 'sticky' && hasRecentV2);
    if (isRefused) throw new RpcError('bad-signature', 'Invalid signature: this server accepts only v2 signatures from this key');
    // legitimate old clients may sign two identical messages within 1 ms, and only deleteService is harmful when replayed
    if (call.method === 'deleteService') await this.#checkReplay(call.signature, message.timestamp + LEGACY_MAX_AGE, now);
  }

  async #checkReplay(token: string, until: number, now: number): Promise<void> {
    if (!(await this.#store.useOnce(token, until, now)))
      throw new RpcError('replayed', 'This message was already used: sign every call separately');
  }

  async #claim(username: string, publicKey: string, v2: boolean, now: number, known?: UserRow): Promise<void> {
    if (isAnonymousName(username)) {
      // an anonymous name is the hash of its public key, so there is nothing to store
      const hash = createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest();
      if (anonymousName(hash) === username) return;
      throw new RpcError('forbidden', `Username "${username}" belongs to another key`);
    }
    const verdict = await this.#store.claim(username, publicKey, v2, now, known);
    if (verdict === 'ok') return;
    if (verdict === 'name-taken') throw new RpcError('name-taken', `Username "${username}" is already claimed by another key`);
    throw new RpcError(
      'forbidden',
      `This key holds the username "${verdict.keyHolds}" already; use another key for "${username}"`,
    );
  }

  /**
   * Remembers a new key. With a key that is not on the curve or has small order, forged signatures may verify. Detecting weak
   * keys takes longer than verifying a signature, so the check is rate-limited and runs after the signature check.
   */
  async #admitKey(publicKey: string, key: KeyObject, address: string): Promise<void> {
    await this.#limiter.chargeNewKey(address);
    if (!(await isStrictPublicKey(Uint8Array.from(Buffer.from(publicKey, 'base64'))))) throw invalidKey();
    if (this.#keys.size >= KEY_CACHE) this.#keys.delete(this.#keys.keys().next().value!);
    this.#keys.set(publicKey, key);
  }
}

const invalidKey = (): RpcError =>
  new RpcError('bad-request', 'Invalid public key: expected 32 bytes of Ed25519 as standard base64');

/**
 * Imports a public key after the checks that need no curve arithmetic: canonical encoding, and no small order.
 * @throws RpcError
 */
function importKey(publicKey: string): KeyObject {
  const bytes = Buffer.from(publicKey, 'base64');
  if (bytes.length !== 32 || bytes.toString('base64') !== publicKey) throw invalidKey();
  if (!isPlausiblePublicKey(bytes)) throw invalidKey();
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') }, format: 'jwk' });
}

function decodeSignature(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== 64 || bytes.toString('base64') !== text) throw new RpcError('bad-signature', 'Invalid signature');
  return bytes;
}
