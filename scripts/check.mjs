// `npm run check`: everything that needs no browser: build, lint, format, types, words, layers, manifest and generated docs, sizes.
import { readFileSync } from 'node:fs';
import { tryRun } from './run.mjs';

const fresh = (file, make) => () => {
  const before = readFileSync(file, 'utf8');
  const status = make();
  if (status !== 0) return status;
  if (readFileSync(file, 'utf8') === before) return 0;
  console.error(`${file} was stale and has been regenerated: review and commit it`);
  return 1;
};

const CHECKS = {
  build: () => tryRun('node', ['scripts/build.mjs']),
  lint: () => tryRun('eslint', ['.', '--max-warnings', '0']),
  patterns: () => tryRun('eslint', ['-c', 'eslint.patterns.config.mjs', '--quiet', 'src', 'components', 'server/src']),
  format: () => tryRun('prettier', ['--check', '--log-level', 'warn', '.']),
  types: () => tryRun('tsc', ['-p', 'tsconfig.test.json', '--noEmit']),
  words: () => tryRun('node', ['scripts/words.mjs']),
  layers: () => tryRun('node', ['scripts/layers.mjs']),
  version: fresh('components/version.ts', () => tryRun('node', ['scripts/version.mjs'])),
  manifest: fresh('custom-elements.json', () => tryRun('node', ['scripts/manifest.mjs'])),
  'docs/elements.md': fresh('docs/elements.md', () => tryRun('node', ['scripts/docs.mjs'])),
  'docs/architecture.md': fresh('docs/architecture.md', () => tryRun('node', ['scripts/docs.mjs'])),
  'docs/delivery.md': fresh('docs/delivery.md', () => tryRun('node', ['scripts/docs.mjs'])),
  'docs/hosting-in-node.md': fresh('docs/hosting-in-node.md', () => tryRun('node', ['scripts/docs.mjs'])),
  'docs/security.md': fresh('docs/security.md', () => tryRun('node', ['scripts/docs.mjs'])),
  sizes: () => tryRun('node', ['scripts/sizes.mjs']),
};

const failed = Object.entries(CHECKS).filter(([name, check]) => {
  console.log(`--- ${name}`);
  return check() !== 0;
});
console.log(failed.length ? `\nfailed: ${failed.map(([name]) => name).join(', ')}` : '\nall checks passed');
process.exit(failed.length ? 1 : 0);
