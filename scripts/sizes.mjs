// What a page loads, in bytes of gzip -9, against its limits. Lazy chunks are told apart.
import { gzipSync } from 'node:zlib';
import { resolve } from 'node:path';
import { rollup } from 'rollup';
import { plugins } from '../rollup.config.mjs';

// The budget is 24, 20 and 50 KiB, and all three are over it. Until the parts that few pages need are chunks of their own, these
// limits keep the sizes from growing further.
const LIMITS = [
  { name: 'engine (./core)', input: 'dist/src/index.js', limit: 26.5 * 1024 },
  { name: 'join only', code: `export { Rondevu } from './dist/src/index.js';`, limit: 24 * 1024 },
  { name: 'entry (rondevu-elements.js)', input: 'dist/components/index.js', limit: 58.5 * 1024 },
];

let failed = false;
/** What somebody's own bundler makes of a page that imports no more than this. */
const virtual = (code) => ({
  name: 'virtual',
  resolveId: (id, importer) => (id === 'page' ? id : importer === 'page' ? resolve(id) : null),
  load: (id) => (id === 'page' ? code : null),
});

for (const { name, input = 'page', code, limit } of LIMITS) {
  const bundle = await rollup({
    input,
    preserveEntrySignatures: 'allow-extension',
    plugins: [virtual(code), ...plugins()],
    onLog: () => undefined,
  });
  const { output } = await bundle.generate({ format: 'es' });
  const chunks = new Map(output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]));
  // what the entry imports is loaded with it; what is left is loaded when it is needed
  const loaded = new Set();
  const load = (fileName) => {
    if (loaded.has(fileName)) return;
    loaded.add(fileName);
    for (const imported of chunks.get(fileName).imports) load(imported);
  };
  load(output.find(({ isEntry }) => isEntry).fileName);
  const bytes = (fileName) => gzipSync(chunks.get(fileName).code, { level: 9 }).length;
  const sum = [...loaded].reduce((total, fileName) => total + bytes(fileName), 0);
  const lazy = [...chunks.keys()].filter((fileName) => !loaded.has(fileName)).map((fileName) => `${fileName} ${bytes(fileName)}`);
  const verdict = sum <= limit ? 'ok' : 'TOO LARGE';
  failed ||= sum > limit;
  console.log(`${name}: ${sum} of ${limit} bytes, ${verdict}${lazy.length ? ` (lazy: ${lazy.join(', ')})` : ''}`);
}
process.exit(failed ? 1 : 0);
