/**
 * `npm run test:chaos`: tests connections under faults, in real browsers and Node, over a UDP proxy. `--full` runs every fault
 * as often as the guarantee requires. `CHAOS_SEED=…` replays a run. Arguments without a dash select files in test/chaos by
 * name.
 */
import { readdirSync } from 'node:fs';
import { run, tryRun } from './run.mjs';

const args = process.argv.slice(2);
const full = args.includes('--full');
const only = args.filter((arg) => !arg.startsWith('--'));
const files = readdirSync('test/chaos')
  .filter((file) => file.endsWith('.test.ts') && (!only.length || only.some((name) => file.startsWith(name))))
  .map((file) => `test/chaos/${file}`);

if (!args.includes('--no-build')) run('node', ['scripts/build.mjs']);
const options = ['--import', 'tsx', '--test', '--test-concurrency=1', '--test-force-exit', '--test-reporter=spec'];
process.exit(tryRun('node', [...options, ...files], { env: full ? { RONDEVU_CHAOS: 'full' } : {} }));
