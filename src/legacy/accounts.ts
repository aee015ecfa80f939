/**
 * RondevuAuth and RondevuUsername from the 0.9 client. Key pairs have replaced the credentials of the 0.9 client, so most
 * methods manage key pairs.
 */
import { RondevuError } from '../errors.js';
import { WebCryptoAdapter, type Keypair } from '../identity/index.js';
import { RondevuAPI } from '../signaling/index.js';

/** Credentials issued by a 0.9 server. Unused here. */
export interface Credentials {
  peerId: string;
  secret: string;
}
/** 0.9. */
export type FetchFunction = typeof fetch;
/** 0.9. Times in ms. */
export interface UsernameCheckResult {
  username: string;
  available: boolean;
  claimedAt?: number;
  expiresAt?: number;
  publicKey?: string;
}
/** 0.9. Times in ms, keys in base64. */
export interface UsernameClaimResult extends Keypair {
  username: string;
  claimedAt: number;
  expiresAt: number;
}

/** Registration with a 0.9 server. */
export class RondevuAuth {
  /** @throws RondevuError `unsupported`, always, because registration needs a 0.9 server */
  register(): Promise<Credentials> {
    return Promise.reject(
      new RondevuError(
        'unsupported',
        'register: nothing to register, the keypair of Rondevu.connect({ apiUrl, username, keypair }) is the account',
      ),
    );
  }
}

/** Usernames and their stored key pairs, as in the 0.9 client. */
export class RondevuUsername {
  readonly #baseUrl: string;
  readonly #crypto = new WebCryptoAdapter();

  constructor(baseUrl: string) {
    this.#baseUrl = baseUrl;
  }

  generateKeypair(): Promise<Keypair> {
    return this.#crypto.generateKeypair();
  }

  /** @param privateKey base64 */
  signMessage(message: string, privateKey: string): Promise<string> {
    return this.#crypto.signMessage(message, privateKey);
  }

  /** Checks whether a username is available. */
  async checkUsername(username: string): Promise<UsernameCheckResult> {
    return this.#api('anon', await this.generateKeypair()).getUser(username);
  }

  /**
   * Claims a username for a key pair, as the first signed call with that username does.
   * @throws RondevuError `name-taken` or `bad-signature` if the username belongs to a different key
   */
  async claimUsername(username: string, keypair?: Keypair): Promise<UsernameClaimResult> {
    const { publicKey, privateKey } = keypair ?? (await this.generateKeypair());
    const api = this.#api(username, { publicKey, privateKey });
    await api.poll();
    const user = await api.getUser(username);
    const { claimedAt = Date.now(), expiresAt = 0 } = user as Partial<UsernameClaimResult>;
    return { username, publicKey, privateKey, claimedAt, expiresAt };
  }

  /** Stores a key pair in localStorage, where every script of the origin can read it. */
  saveKeypairToStorage(username: string, publicKey: string, privateKey: string): void {
    localStorage.setItem(storageKey(username), JSON.stringify({ publicKey, privateKey }));
  }

  /** Returns the key pair stored for a username, or null if there is none. */
  loadKeypairFromStorage(username: string): Keypair | null {
    try {
      const { publicKey, privateKey } = JSON.parse(localStorage.getItem(storageKey(username)) ?? '{}') as Partial<Keypair>;
      return typeof publicKey === 'string' && typeof privateKey === 'string' ? { publicKey, privateKey } : null;
    } catch {
      return null;
    }
  }

  deleteKeypairFromStorage(username: string): void {
    localStorage.removeItem(storageKey(username));
  }

  #api(username: string, keypair: Keypair): RondevuAPI {
    return new RondevuAPI(this.#baseUrl, username, keypair, undefined, false);
  }
}

const storageKey = (username: string): string => `rondevu:keypair:${username}`;
