/** RondevuAuth and RondevuUsername of the 0.9 client. Keypairs replace its credentials, so most methods manage keypairs. */
import { RondevuError } from '../errors.js';
import { WebCryptoAdapter, type Keypair } from '../identity/index.js';
import { RondevuAPI } from '../signaling/index.js';

/** 0.9: credentials issued by its server. Unused here. */
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

/** 0.9: registration with a 0.9 server. */
export class RondevuAuth {
  /** @throws RondevuError `unsupported`, always: registration needs a 0.9 server */
  register(): Promise<Credentials> {
    return Promise.reject(
      new RondevuError(
        'unsupported',
        'register: nothing to register, the keypair of Rondevu.connect({ apiUrl, username, keypair }) is the account',
      ),
    );
  }
}

/** 0.9: usernames and their stored keypairs. */
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

  /** Looks up whether a username is free. */
  async checkUsername(username: string): Promise<UsernameCheckResult> {
    return this.#api('anon', await this.generateKeypair()).getUser(username);
  }

  /**
   * Claims a name for a keypair, like the first call under that name.
   * @throws RondevuError `name-taken` or `bad-signature` if another key holds it
   */
  async claimUsername(username: string, keypair?: Keypair): Promise<UsernameClaimResult> {
    const { publicKey, privateKey } = keypair ?? (await this.generateKeypair());
    const api = this.#api(username, { publicKey, privateKey });
    await api.poll();
    const user = await api.getUser(username);
    const { claimedAt = Date.now(), expiresAt = 0 } = user as Partial<UsernameClaimResult>;
    return { username, publicKey, privateKey, claimedAt, expiresAt };
  }

  /** Stores a keypair in localStorage, readable by every script on the origin. */
  saveKeypairToStorage(username: string, publicKey: string, privateKey: string): void {
    localStorage.setItem(storageKey(username), JSON.stringify({ publicKey, privateKey }));
  }

  /** The keypair stored for a name; null if there is none. */
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
