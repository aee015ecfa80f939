/**
 * Stores the page's keys in IndexedDB, one entry per name, as non-extractable keys if the platform supports them. Entries are
 * independent of servers and usernames; the caller chooses their names.
 */
import type { Bytes } from '../base/bytes.js';
import { withStore } from './database.js';
import { generateSigningKey, type PrivateKey } from './ed25519.js';
import { generateSigner, signerFromKey, type Signer } from './signer.js';

export interface KeyStore {
  /** Returns the signer stored under a name, creating it if necessary. */
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
    // the key is generated outside a transaction, because awaiting anything else would end the transaction
    const existing = await withStore<Entry | undefined>('keys', 'readonly', (store) => store.get(name));
    const entry = existing ?? (await this.#addOrGet(name, await generateSigningKey()));
    return signerFromKey(entry.publicKey, entry.privateKey);
  }

  async delete(name: string): Promise<void> {
    await withStore('keys', 'readwrite', (store) => store.delete(name));
  }

  /** If two tabs create the entry simultaneously, add() succeeds in only one of them, and both use the key from that tab. */
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

/** Keeps keys in memory until the page is closed or the process ends. */
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
