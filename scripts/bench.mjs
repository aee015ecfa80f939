// `npm run bench -- NAME …`: builds the project and runs bench/NAME.ts.
import { run } from './run.mjs';

const [name = 'join', ...args] = process.argv.slice(2);
run('node', ['scripts/build.mjs']);
run('node', ['--import', 'tsx', `bench/${name}.ts`, ...args]);
