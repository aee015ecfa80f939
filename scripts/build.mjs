// `npm run build`: modules with types and source maps, the bundle, the server. Skips nothing; takes seconds.
import { chmodSync, rmSync } from 'node:fs';
import { run } from './run.mjs';

for (const folder of ['dist', 'server/dist']) rmSync(folder, { recursive: true, force: true });
run('tsc', ['-p', 'tsconfig.json']);
run('tsc', ['-p', 'tsconfig.node.json']);
run('tsc', ['-p', 'server/tsconfig.json']);
run('rollup', ['-c', '--silent']);
// npm does it when it installs; a build takes it away
for (const command of ['dist/src/cli/main.js', 'server/dist/main.js']) chmodSync(command, 0o755);
