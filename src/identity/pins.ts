/**
 * A pin is the key that a username presented on first use, or a key set by the user. Pins are stored per server and username;
 * see docs/security.md.
 */
import { RondevuError } from '../errors.js';
import { withStore } from './database.js';

export interface PinStore {
  /** Returns the key pinned for a name, in base64, or undefined if there is no pin. */
  get(name: string): Promise<string | undefined>;
  set(name: string, publicKey: string): Promise<void>;
}

/** Keeps pins in memory until the page is closed or the process ends. */
export class MemoryPinStore implements PinStore {
  readonly #pins = new Map<string, string>();

  async get(name: string): Promise<string | undefined> {
    return this.#pins.get(name);
  }

  async set(name: string, publicKey: string): Promise<void> {
    this.#pins.set(name, publicKey);
  }
}

/** In-memory pins for a page without storage. */
const ofThisPage = new MemoryPinStore();
let hasWarned = false;

/**
 * Stores pins in IndexedDB, so that they outlive the page. In a page without storage, such as a sandboxed frame, pins last only
 * until the page is closed; a warning is logged once.
 * @throws RondevuError `unavailable` if the storage fails
 */
export class IndexedDbPinStore implements PinStore {
  get(name: string): Promise<string | undefined> {
    return orInMemory(
      () => withStore<string | undefined>('pins', 'readonly', (store) => store.get(name)),
      () => ofThisPage.get(name),
    );
  }

  set(name: string, publicKey: string): Promise<void> {
    return orInMemory(
      async () => void (await withStore('pins', 'readwrite', (store) => store.put(publicKey, name))),
      () => ofThisPage.set(name, publicKey),
    );
  }
}

async function orInMemory<T>(stored: () => Promise<T>, inMemory: () => Promise<T>): Promise<T> {
  try {
    return await stored();
  } catch (error) {
    // a storage failure must not cause existing pins to be ignored
    if (!(error instanceof RondevuError) || error.code !== 'unsupported') throw error;
    if (!hasWarned) console.warn(`rondevu: pins are kept only until this page is closed: ${error.message}`);
    hasWarned = true;
    return inMemory();
  }
}

/** Indicates that a peer presented a key that differs from the pinned key. */
export class IdentityChangedError extends RondevuError {
  override name = 'IdentityChangedError';

  readonly username: string;
  /** The pinned key, or the pin from the address. */
  readonly old: string;
  /** The key that the peer presented, base64. */
  readonly new: string;

  constructor(username: string, old: string, now: string) {
    super('identity-changed', `${username} presented key ${now} instead of ${old}: if it is genuine, call trust()`);
    this.username = username;
    this.old = old;
    this.new = now;
  }
}
