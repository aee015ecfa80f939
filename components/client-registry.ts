/**
 * Shares one `Rondevu` client among all elements with the same api-url, username and identity, even across two bundles on a
 * page. Counts the references to each client and closes the client when the last reference is released.
 */
import { IndexedDbKeyStore, IndexedDbPinStore, MemoryKeyStore, MemoryPinStore, type KeyStore } from '../src/identity/index.js';
import { Rondevu, type Signer } from '../src/index.js';

export interface ClientKey {
  apiUrl: string;
  username: string | undefined;
  /**
   * Name of a stored key; if undefined, the page's key for this username and server is used. `none` creates a key for this
   * element only. If the element restarts with the same username, it keeps the key, because the username belongs to that key.
   */
  identity: string | undefined;
  /** The element. */
  owner: object;
  debug: boolean;
}

interface Entry {
  client: Promise<Rondevu>;
  users: number;
}

/** A reference to a shared client. `release` is idempotent. */
export interface Lease {
  client: Promise<Rondevu>;
  release(): void;
}

const REGISTRY = Symbol.for('rondevu.clients/1');
let unshared = 0;

function registry(): Map<string, Entry> {
  const page = globalThis as { [REGISTRY]?: Map<string, Entry> };
  return (page[REGISTRY] ??= new Map());
}

export function borrowClient({ apiUrl, username, identity, owner, debug }: ClientKey): Lease {
  const key = JSON.stringify([apiUrl, username ?? '', identity ?? '', identity === 'none' ? ++unshared : 0]);
  const clients = registry();
  let entry = clients.get(key);
  if (!entry) {
    entry = { client: makeClient({ apiUrl, username, identity, owner, debug }), users: 0 };
    clients.set(key, entry);
    // a client that could not be created must not be handed to the next element
    entry.client.catch(() => clients.delete(key));
  }
  const { client } = entry;
  entry.users++;
  let released = false;
  return {
    client,
    release: () => {
      if (released) return;
      released = true;
      if (--entry.users > 0) return;
      if (clients.get(key) === entry) clients.delete(key);
      void client.then((rondevu) => rondevu.close()).catch(() => undefined);
    },
  };
}

async function makeClient({ apiUrl, username, identity, owner, debug }: ClientKey): Promise<Rondevu> {
  const name = `${apiUrl} ${username ?? ''}`;
  const signer = await (identity === 'none' ? freshIdentity(owner, username && name) : keptIdentity(identity ?? `page ${name}`));
  const pins = memory ? memoryPins : new IndexedDbPinStore();
  return Rondevu.connect({ apiUrl, identity: signer, pins, ...(username !== undefined && { username }), debug });
}

const freshIdentities = new WeakMap<object, { name: string; signer: Promise<Signer> }>();

/** @param name server and username; if undefined, each start creates a new key */
function freshIdentity(owner: object, name: string | undefined): Promise<Signer> {
  const last = freshIdentities.get(owner);
  if (name && last?.name === name) return last.signer;
  const signer = Rondevu.createIdentity();
  if (name) freshIdentities.set(owner, { name, signer });
  return signer;
}

let memory: KeyStore | undefined;
const memoryPins = new MemoryPinStore();

/**
 * Loads or creates a stored key. If the browser cannot store keys (private windows, sandboxed frames), the key lasts as long as
 * the page.
 */
async function keptIdentity(name: string): Promise<Signer> {
  try {
    return await new IndexedDbKeyStore().getOrCreate(name);
  } catch (error) {
    console.warn('rondevu: this page cannot store keys; a reload creates a new identity', error);
    return (memory ??= new MemoryKeyStore()).getOrCreate(name);
  }
}
