/**
 * `npm run check`: runs all checks that need no browser. The build runs early, because the checks of types, API reports,
 * packages and sizes use it. Prints the duration of each check at the end.
 */
import { readFileSync } from 'node:fs';
import { startRun, tryRun } from './run.mjs';

/** Regenerates files; fails if any file was stale. */
const fresh = (files, make) => () => {
  const before = files.map((file) => readFileSync(file, 'utf8'));
  const status = make();
  if (status !== 0) return status;
  const stale = files.filter((file, index) => readFileSync(file, 'utf8') !== before[index]);
  for (const file of stale) console.error(`${file} was stale and has been regenerated: review and commit it`);
  return stale.length ? 1 : 0;
};

/** Documents with generated parts. */
const DOCUMENTS = ['elements', 'architecture', 'delivery', 'hosting-in-node', 'security'].map((name) => `docs/${name}.md`);

/** The published packages. */
const PACKAGES = ['.', 'server'];
const eachPackage = (check) => () => Math.max(...PACKAGES.map(check));

/** Runs "Are the types wrong?"; its long tables are printed only if there is a problem. */
const attw = (folder) => {
  const args = ['--pack', folder, '--profile', 'esm-only'];
  return tryRun('attw', [...args, '--quiet']) && tryRun('attw', args);
};

const CHECKS = {
  // this check comes first, because the build also writes the file
  version: fresh(['components/version.ts'], () => tryRun('node', ['scripts/version.mjs'])),
  build: () => tryRun('node', ['scripts/build.mjs']),
  patterns: () => tryRun('eslint', ['-c', 'eslint.patterns.config.mjs', '--quiet', 'src', 'components', 'server/src']),
  format: () => tryRun('prettier', ['--check', '--log-level', 'warn', '.']),
  types: () => tryRun('tsc', ['-p', 'tsconfig.test.json', '--noEmit']),
  words: () => tryRun('node', ['scripts/words.mjs']),
  layers: () => tryRun('node', ['scripts/layers.mjs']),
  knip: () => tryRun('knip', ['--treat-config-hints-as-errors']),
  api: () => tryRun('node', ['scripts/api.mjs']),
  publint: eachPackage((folder) => tryRun('publint', ['--strict', folder])),
  attw: eachPackage(attw),
  manifest: fresh(['custom-elements.json'], () => tryRun('node', ['scripts/manifest.mjs'])),
  docs: fresh(DOCUMENTS, () => tryRun('node', ['scripts/docs.mjs'])),
  sizes: () => tryRun('node', ['scripts/sizes.mjs']),
};

const failed = [];
const times = [];
const add = (name, status, start) => {
  times.push(`${name} ${((performance.now() - start) / 1000).toFixed(0)} s`);
  if (status !== 0) failed.push(name);
};
let lint;
for (const [name, check] of Object.entries(CHECKS)) {
  console.log(`--- ${name}`);
  const start = performance.now();
  add(name, check(), start);
  // the longest check runs in parallel with the others; it needs the types from the build
  if (name === 'build') lint = { start: performance.now(), result: startRun('eslint', ['.', '--max-warnings', '0']) };
}
console.log('--- lint');
const { status, output } = await lint.result();
process.stdout.write(output);
add('lint', status, lint.start);
console.log(`\n${times.join(', ')}`);
console.log(failed.length ? `\nfailed: ${failed.join(', ')}` : '\nall checks passed');
process.exit(failed.length ? 1 : 0);
