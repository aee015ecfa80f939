/**
 * Checks the imports between layers against layer-rules.mjs. Forbidden imports, import cycles and browser globals in the engine
 * are errors. The rules also apply to type imports.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { LAYERS, LAYER_OF } from './layer-rules.mjs';

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
      if (!LAYERS[layer].packages?.test(target)) problems.push(`${file}: ${layer} may not import the package ${target}`);
      continue;
    }
    const imported = normalize(join(dirname(file), target)).replace(/\.js$/, '.ts');
    graph.get(file).push(imported);
    const to = layerOf(imported);
    const allowed = to === layer || LAYERS[layer].may.includes(to) || LAYERS[layer].also?.includes(imported);
    if (!allowed) problems.push(`${file}: ${layer} may not import ${to} (${imported})`);
  }
  if (/^src\/(?!node|cli)/.test(file)) {
    const global = /\b(window|document|customElements|HTMLElement)\b/.exec(text.replace(/'[^'\n]*'|`[^`]*`/g, ''));
    if (global) problems.push(`${file}: the engine must not know ${global[1]}`);
  }
}

const done = new Set();
const visit = (file, path) => {
  if (path.includes(file)) return void problems.push(`circular import: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
  if (done.has(file)) return;
  for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
  done.add(file);
};
for (const file of files) visit(file, []);

for (const problem of problems) console.error(problem);
console.log(`layers: ${files.length} files, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
