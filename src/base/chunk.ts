/** Loads chunks on demand: in the bundle, each chunk is a separate file, `rondevu-<name>.js`. */
import { RondevuError } from '../errors.js';

/** Names of the chunks that failed to load. */
const failed = new Set<string>();
/** Chunks requested from a different URL after a failure. */
const retried = new Map<string, Promise<unknown>>();
let retries = 0;

/**
 * Loads a chunk. A failure is not final: the next call tries again. Browsers without https://github.com/whatwg/html/pull/10327
 * (implemented in Firefox 154, and in Chrome in 2025) cache a failed import until the page is reloaded, so a retry uses a
 * different URL.
 * @param name file name in the bundle, without `rondevu-` and `.js`
 * @param load function that contains the import expression, so that bundlers find it
 * @throws RondevuError `unsupported` if the file cannot be loaded
 */
export async function chunk<T>(name: string, load: () => Promise<T>): Promise<T> {
  const isRetry = failed.has(name);
  try {
    return await ((retried.get(name) as Promise<T> | undefined) ?? load());
  } catch (cause) {
    failed.add(name);
    try {
      if (isRetry) return (await retry(name)) as T;
    } catch {
      // the first failure is reported instead: outside the bundle, the URL of the retry does not exist
    }
    throw new RondevuError(
      'unsupported',
      `the file rondevu-${name}.js could not be loaded: check that it is beside the bundle, then try again`,
      { cause },
    );
  }
}

function retry(name: string): Promise<unknown> {
  let loading = retried.get(name);
  if (!loading) {
    // rollup.config.mjs appends the query string of the bundle to every import within the bundle
    const { href } = new URL(`rondevu-${name}.js${new URL(import.meta.url).search}#retry=${++retries}`, import.meta.url);
    loading = import(/* webpackIgnore: true */ /* @vite-ignore */ href);
    retried.set(name, loading);
    loading.catch(() => retried.delete(name));
  }
  return loading;
}
