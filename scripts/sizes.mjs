// Compares the download sizes of pages, in bytes after gzip -9, with their limits. Lazy chunks are listed separately.
import { gzipSync } from 'node:zlib';
import { resolve } from 'node:path';
import { rollup } from 'rollup';
import { bundlePlugins, plugins } from '../rollup.config.mjs';

const bundle = { input: 'dist/components/bundle.js', plugins: bundlePlugins() };
const joiner = { code: `export { Rondevu } from './dist/src/index.js';`, plugins: plugins() };

/** Entries without a limit are shown for comparison. `and` lists the name prefixes of lazy chunks that are also loaded. */
const MEASURES = [
  { name: 'engine (./core)', input: 'dist/src/index.js', plugins: plugins(), limit: 24 * 1024 },
  { name: 'join only', ...joiner, limit: 20 * 1024 },
  { name: 'join only, connected', ...joiner, and: ['link-runtime-'] },
  { name: 'entry (rondevu-elements.js)', ...bundle, limit: 51 * 1024 },
  { name: 'entry with <rondevu-service>', ...bundle, and: ['publishing-'] },
];

let failed = false;
/** Builds a page that contains only this code, as a user's bundler would. */
const virtual = (code) => ({
  name: 'virtual',
  resolveId: (id, importer) => (id === 'page' ? id : importer === 'page' ? resolve(id) : null),
  load: (id) => (id === 'page' ? code : null),
});

for (const { name, input = 'page', code, plugins: used, limit, and = [] } of MEASURES) {
  const build = await rollup({
    input,
    preserveEntrySignatures: 'allow-extension',
    plugins: [virtual(code), ...used],
    onLog: () => undefined,
  });
  const { output } = await build.generate({ format: 'es' });
  const chunks = new Map(output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]));
  // static imports of the entry are loaded with it; the rest is loaded on demand
  const loaded = new Set();
  const load = (fileName) => {
    if (loaded.has(fileName)) return;
    loaded.add(fileName);
    for (const imported of chunks.get(fileName).imports) load(imported);
  };
  load(output.find(({ isEntry }) => isEntry).fileName);
  for (const prefix of and) {
    const fileName = [...chunks.keys()].find((candidate) => candidate.startsWith(prefix));
    if (!fileName) throw new Error(`${name}: there is no chunk ${prefix}*; found ${[...chunks.keys()].join(', ')}`);
    load(fileName);
  }
  const bytes = (fileName) => gzipSync(chunks.get(fileName).code, { level: 9 }).length;
  const sum = [...loaded].reduce((total, fileName) => total + bytes(fileName), 0);
  const lazy = [...chunks.keys()].filter((fileName) => !loaded.has(fileName)).map((fileName) => `${fileName} ${bytes(fileName)}`);
  failed ||= sum > limit;
  const verdict = limit ? ` of ${limit} bytes, ${sum <= limit ? 'ok' : 'TOO LARGE'}` : ' bytes';
  console.log(`${name}: ${sum}${verdict}${lazy.length ? ` (lazy: ${lazy.join(', ')})` : ''}`);
}
process.exit(failed ? 1 : 0);
