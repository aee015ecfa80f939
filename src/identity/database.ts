/** The page's IndexedDB database for keys and pins. This module does not interpret the stored values. */
import { RondevuError } from '../errors.js';

const DATABASE = 'rondevu';
const STORES = ['keys', 'pins'] as const;
/** Maximum number of attempts to open the database, because an upgrade may collide with an upgrade in another tab. */
const TRIES = 5;

/** Whether the database has been opened before; a later failure to open it is then treated as temporary. */
let hasOpened = false;

/**
 * Makes one request to a store, in its own transaction.
 * @throws RondevuError `unsupported` if the page has no storage, as in a sandboxed frame; `unavailable` for a temporary failure
 */
export async function withStore<T>(
  name: (typeof STORES)[number],
  mode: IDBTransactionMode,
  request: (store: IDBObjectStore) => IDBRequest,
): Promise<T> {
  let db: IDBDatabase;
  try {
    db = await open();
    hasOpened = true;
  } catch (cause) {
    const text = `this page cannot store keys: ${(cause as Error)?.message ?? 'unknown reason'}`;
    throw new RondevuError(hasOpened ? 'unavailable' : 'unsupported', text, { cause });
  }
  try {
    return await asPromise<T>(() => request(db.transaction(name, mode).objectStore(name)));
  } catch (cause) {
    const text = `the key store failed: ${(cause as Error)?.message ?? 'unknown reason'}`;
    throw new RondevuError('unavailable', text, { cause });
  } finally {
    db.close();
  }
}

/** Opens the database at its existing version, which a newer release may have raised before a rollback to this release. */
async function open(): Promise<IDBDatabase> {
  for (let tries = 1, version: number | undefined; ; tries++) {
    try {
      const db = await openAt(version);
      if (STORES.every((store) => db.objectStoreNames.contains(store))) return db;
      version = db.version + 1;
      db.close();
    } catch (error) {
      if ((error as Error)?.name !== 'VersionError' || tries >= TRIES) throw error;
      version = undefined; // another tab was faster
    }
  }
}

async function openAt(version: number | undefined): Promise<IDBDatabase> {
  const db = await asPromise<IDBDatabase>(() => {
    const opening = indexedDB.open(DATABASE, version);
    opening.onupgradeneeded = () => {
      for (const store of STORES) if (!opening.result.objectStoreNames.contains(store)) opening.result.createObjectStore(store);
    };
    return opening;
  });
  // another tab may need to upgrade the database
  db.onversionchange = () => db.close();
  return db;
}

function asPromise<T>(make: () => IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = make();
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = (event) => {
      event.preventDefault(); // otherwise, losing a race in add() would be reported as an uncaught error
      reject(request.error ?? new Error('unknown reason'));
    };
  });
}
