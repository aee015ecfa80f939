/**
 * Stores the keys of a page: one entry per name in IndexedDB, as non-extractable keys if the platform supports them.
 * Independent of servers and usernames; the caller chooses the entry's name.
 */
import type { Bytes } from '../base/bytes.js';
import { withStore } from './database.js';
import { generateSigningKey, type PrivateKey } from './ed25519.js';
import { generateSigner, signerFromKey, type Signer } from './signer.js';

export interface KeyStore {
  /** Returns the signer stored under a name; creates it if there is none. */
  getOrCreate(name: string): Promise<Signer>;
  delete(name: string): Promise<void>;
}

interface Entry {
  publicKey: Bytes;
  privateKey: PrivateKey;
}

/** @throws RondevuError `unsupported` in a page without storage, `unavailable` if the storage fails */
export class IndexedDbKeyStore implements KeyStore {
  async getOrCreate(name: string): Promise<Signer> {
    // generated outside of a transaction, which ends as soon as something else is awaited in it
    const existing = await withStore<Entry | undefined>('keys', 'readonly', (store) => store.get(name));
    const entry = existing ?? (await this.#addOrGet(name, await generateSigningKey()));
    return signerFromKey(entry.publicKey, entry.privateKey);
  }

  async delete(name: string): Promise<void> {
    await withStore('keys', 'readwrite', (store) => store.delete(name));
  }

  /** Two tabs may create the entry at once: add() lets one of them win, and both use its key. */
  async #addOrGet(name: string, entry: Entry): Promise<Entry> {
    try {
      await withStore('keys', 'readwrite', (store) => store.add(entry, name));
      return entry;
    } catch (error) {
      const winner = await withStore<Entry | undefined>('keys', 'readonly', (store) => store.get(name));
      if (winner) return winner;
      throw error;
    }
  }
}

/** Keeps keys until the page or process ends. */
export class MemoryKeyStore implements KeyStore {
  #keys = new Map<string, Promise<Signer>>();

  getOrCreate(name: string): Promise<Signer> {
    let signer = this.#keys.get(name);
    if (!signer) this.#keys.set(name, (signer = generateSigner()));
    return signer;
  }

  async delete(name: string): Promise<void> {
    this.#keys.delete(name);
  }
}
