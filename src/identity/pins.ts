/**
 * Pins: the key that a username had on first use, or a key set by the user. Stored per server and username.
 * docs/security.md.
 */
import { RondevuError } from '../errors.js';
import { withStore } from './database.js';

export interface PinStore {
  /** The key pinned for a name, base64; undefined if there is none. */
  get(name: string): Promise<string | undefined>;
  set(name: string, publicKey: string): Promise<void>;
}

/** Keeps pins until the page or process ends. */
export class MemoryPinStore implements PinStore {
  readonly #pins = new Map<string, string>();

  async get(name: string): Promise<string | undefined> {
    return this.#pins.get(name);
  }

  async set(name: string, publicKey: string): Promise<void> {
    this.#pins.set(name, publicKey);
  }
}

/** The pins of a page without storage. */
const ofThisPage = new MemoryPinStore();
let hasWarned = false;

/**
 * Pins that outlive the page. In a page without storage, such as a sandboxed frame, they last as long as the page; warns once.
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
    // existing pins must not be ignored because the storage fails
    if (!(error instanceof RondevuError) || error.code !== 'unsupported') throw error;
    if (!hasWarned) console.warn(`rondevu: pins are kept only until this page is closed: ${error.message}`);
    hasWarned = true;
    return inMemory();
  }
}

/** The key of a name differs from the pinned key. */
export class IdentityChangedError extends RondevuError {
  readonly username: string;
  /** The pinned key, or the pin in the address. */
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
