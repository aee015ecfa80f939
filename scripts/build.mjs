/**
 * `npm run build`: builds the modules with types and source maps, the bundle, and the server. Each result is built next to the
 * old result and replaces it when complete. A running server keeps its files, and a failed build leaves the old result in
 * place.
 */
import { chmodSync, existsSync, renameSync, rmSync } from 'node:fs';
import { run } from './run.mjs';

const [NEW, SERVER_NEW] = ['dist.new', 'server/dist.new'];

function step(what, work) {
  const start = performance.now();
  process.stdout.write(`building ${what} …`);
  work();
  console.log(` ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

function swap(folder) {
  rmSync(`${folder}.old`, { recursive: true, force: true });
  if (existsSync(folder)) renameSync(folder, `${folder}.old`);
  renameSync(`${folder}.new`, folder);
  rmSync(`${folder}.old`, { recursive: true, force: true });
}

for (const folder of [NEW, SERVER_NEW]) rmSync(folder, { recursive: true, force: true });
step('the engine and the elements', () => {
  run('node', ['scripts/version.mjs']);
  run('tsc', ['-p', 'tsconfig.json', '--outDir', NEW]);
});
step('the Node entry point and the command line', () => run('tsc', ['-p', 'tsconfig.node.json', '--outDir', NEW]));
step('the bundle', () => {
  run('node', ['scripts/types.mjs', NEW]);
  run('rollup', ['-c', '--silent'], { env: { RONDEVU_DIST: NEW } });
});
// npm sets the executable bit when it installs the package, but tsc does not
chmodSync(`${NEW}/src/cli/main.js`, 0o755);
// the server compiles against the engine's types
swap('dist');
step('the server', () => run('tsc', ['-p', 'server/tsconfig.json', '--outDir', SERVER_NEW]));
chmodSync(`${SERVER_NEW}/main.js`, 0o755);
swap('server/dist');
