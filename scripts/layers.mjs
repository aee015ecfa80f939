// Who may import whom (docs/architecture.md). A forbidden import, a cycle, or a browser's global in the engine is an error.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

/** Folders and files by layer; the first match counts. */
const LAYER_OF = [
  [/^src\/errors\.ts$/, 'base'],
  [/^src\/signaling\/signaling-port\.ts$/, 'signaling-port'],
  [/^src\/(base|protocol|identity|signaling|delivery|connection|offers)\//, null],
  [/^src\/(options|ice-servers)\.ts$/, 'options'],
  [/^src\/(node|cli)\//, null],
  [/^src\//, 'facade'],
  [/^components\//, 'components'],
  [/^server\/src\//, 'server'],
];

/** What each layer may import besides itself. */
const MAY = {
  base: [],
  protocol: ['base'],
  identity: ['base', 'protocol'],
  'signaling-port': ['base', 'protocol'],
  signaling: ['base', 'protocol', 'identity', 'signaling-port'],
  delivery: ['base', 'protocol'],
  connection: ['base', 'protocol', 'identity', 'delivery', 'signaling-port'],
  options: ['base', 'connection', 'identity', 'signaling'],
  offers: ['base', 'protocol', 'identity', 'connection', 'signaling-port', 'options'],
  facade: ['base', 'protocol', 'identity', 'signaling', 'delivery', 'connection', 'offers', 'options'],
  node: ['facade', 'options', 'base', 'protocol', 'identity'],
  cli: ['node', 'base', 'protocol', 'identity'],
  components: [],
  server: [],
};

/**
 * The engine's public entries are all that elements and server may see; and the chat's words, which the command line has too, and
 * the queue for what is sent before an element has its connection, and the loader of chunks.
 */
const PUBLIC = {
  components: [
    'src/index.ts',
    'src/identity/index.ts',
    'src/offers/index.ts',
    'src/protocol/chat.ts',
    'src/early-messages.ts',
    'src/base/chunk.ts',
    'src/core.ts',
    'src/talk.ts',
  ],
  server: [],
};
const PACKAGES = {
  components: /^lit(\/|$)/,
  server:
    /^(rondevu-elements\/(protocol|identity)|node:|hono|@hono\/|ws$|valibot$|libsql$|pino$|prom-client$|rate-limiter-flexible$|@redis\/client$)/,
  identity: /^@noble\//,
  node: /^(node:|ws$)/,
  cli: /^(node:|ws$)/,
};

const files = ['src', 'components', 'server/src'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative('.', join(entry.parentPath, entry.name))),
);

const layerOf = (file) => {
  const [pattern, layer] = LAYER_OF.find(([candidate]) => candidate.test(file));
  return layer ?? pattern.exec(file)[1];
};

const problems = [];
const graph = new Map();
for (const file of files) {
  const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  const layer = layerOf(file);
  const imports = [...text.matchAll(/(?:import|export)\s(?:type\s)?[^;]*?from\s+'([^']+)'|(?<!['|])import\s*\(?'([^']+)'/g)];
  graph.set(file, []);
  for (const match of imports) {
    const target = match[1] ?? match[2];
    if (!target.startsWith('.')) {
      if (!PACKAGES[layer]?.test(target)) problems.push(`${file}: ${layer} may not import the package ${target}`);
      continue;
    }
    const imported = normalize(join(dirname(file), target)).replace(/\.js$/, '.ts');
    // a type alone makes no cycle when the program runs
    if (!/^(?:import|export)\s+type\s/.test(match[0])) graph.get(file).push(imported);
    const to = layerOf(imported);
    const allowed = to === layer || MAY[layer].includes(to) || PUBLIC[layer]?.includes(imported);
    if (!allowed) problems.push(`${file}: ${layer} may not import ${to} (${imported})`);
  }
  if (/^src\/(?!node|cli)/.test(file)) {
    const global = /\b(window|document|customElements|HTMLElement)\b/.exec(text.replace(/'[^'\n]*'|`[^`]*`/g, ''));
    if (global) problems.push(`${file}: the engine must not know ${global[1]}`);
  }
}

const done = new Set();
const visit = (file, path) => {
  if (path.includes(file)) return void problems.push(`a cycle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
  if (done.has(file)) return;
  for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
  done.add(file);
};
for (const file of files) visit(file, []);

for (const problem of problems) console.error(problem);
console.log(`layers: ${files.length} files, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
