/**
 * Where a page's keys stay: one entry a name in IndexedDB, as non-extractable keys where the platform can.
 * Knows nothing of servers or usernames; who calls it makes up the entry's name.
 */
import type { Bytes } from '../base/bytes.js';
import { withStore } from './database.js';
import { generateSigningKey, type PrivateKey } from './ed25519.js';
import { generateSigner, signerFromKey, type Signer } from './signer.js';

export interface KeyStore {
  /** The signer kept under a name, made when there is none. */
  getOrCreate(name: string): Promise<Signer>;
  delete(name: string): Promise<void>;
}

interface Entry {
  publicKey: Bytes;
  privateKey: PrivateKey;
}

/** @throws RondevuError `unsupported` in a page without storage, `unavailable` when the storage is there and fails */
export class IndexedDbKeyStore implements KeyStore {
  async getOrCreate(name: string): Promise<Signer> {
    // made before the transaction: a transaction ends as soon as something else is awaited in it
    const existing = await withStore<Entry | undefined>('keys', 'readonly', (store) => store.get(name));
    const entry = existing ?? (await this.#addOrGet(name, await generateSigningKey()));
    return signerFromKey(entry.publicKey, entry.privateKey);
  }

  async delete(name: string): Promise<void> {
    await withStore('keys', 'readwrite', (store) => store.delete(name));
  }

  /** Two tabs may come first at once: add() lets one of them win, and both read what it wrote. */
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

/** Keys for as long as the page or process lives. */
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
