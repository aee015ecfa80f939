/** The database of a page, where keys and pins stay. Knows nothing of what is in it. */
import { RondevuError } from '../errors.js';

const DATABASE = 'rondevu';
/** Stores in the order of the versions that brought them. */
const STORES = ['keys', 'pins'] as const;

/** One request to a store, in a transaction of its own. @throws RondevuError `unsupported`, `unavailable` */
export async function withStore<T>(
  name: (typeof STORES)[number],
  mode: IDBTransactionMode,
  request: (store: IDBObjectStore) => IDBRequest,
): Promise<T> {
  if (typeof indexedDB === 'undefined') throw new RondevuError('unsupported', 'keys cannot be kept here: there is no IndexedDB');
  const db = await asPromise<IDBDatabase>(() => {
    const open = indexedDB.open(DATABASE, STORES.length);
    open.onupgradeneeded = () => {
      for (const store of STORES) if (!open.result.objectStoreNames.contains(store)) open.result.createObjectStore(store);
    };
    return open;
  });
  // a page with a newer version may want to change the stores
  db.onversionchange = () => db.close();
  try {
    return await asPromise<T>(() => request(db.transaction(name, mode).objectStore(name)));
  } finally {
    db.close();
  }
}

function asPromise<T>(make: () => IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = make();
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = (event) => {
      event.preventDefault(); // else a lost race in add() aborts loudly as an uncaught error
      reject(
        new RondevuError('unavailable', `the key store failed: ${request.error?.message ?? 'unknown reason'}`, {
          cause: request.error,
        }),
      );
    };
  });
}
