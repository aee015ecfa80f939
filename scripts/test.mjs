// `npm test`: builds, runs every suite, and adds them up in the last line. Names of suites as arguments run only those;
// `--no-build` takes what is built.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run, tryRun } from './run.mjs';

const RESULTS = '.test-results';
const args = process.argv.slice(2);
const only = args.filter((arg) => !arg.startsWith('--'));

const testFiles = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map(({ name }) => join(folder, name));

/** Node's own runner, TypeScript through tsx. Pages of real browsers are heavy: those files run one after the other. */
function nodeSuite(name, files, { concurrency = 1, exit = false, inside = [] } = {}) {
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=./scripts/count-reporter.mjs',
    '--test-reporter-destination=stderr',
  ];
  const tests = ['--test', `--test-concurrency=${concurrency}`, '--test-timeout=600000', ...(exit ? ['--test-force-exit'] : [])];
  const command = [...inside, 'node', '--import', 'tsx', ...tests, ...reporters, ...files];
  return () => tryRun(command[0], command.slice(1), { env: { RONDEVU_COUNTS: join(RESULTS, `${name}.json`) } });
}

/** Files of the server's tests that start a Redis of their own, or know one kind of storage only. */
const ONE_STORAGE = /server\/(redis|nodes|store|config|crash)[\w-]*\.test\.ts$/;

const SUITES = {
  engine: nodeSuite('engine', testFiles('test/engine'), { concurrency: 2 }),
  delivery: nodeSuite('delivery', testFiles('test/delivery'), { concurrency: 2 }),
  server: nodeSuite('server', testFiles('test/server'), { concurrency: 2 }),
  // the same once more with the servers on a Redis: what is behind them must make no difference
  'server-redis': nodeSuite(
    'server-redis',
    testFiles('test/server').filter((file) => !ONE_STORAGE.test(file)),
    { concurrency: 2, inside: ['node', '--import', 'tsx', 'scripts/with-redis.mjs'] },
  ),
  elements: () => tryRun('web-test-runner', ['--config', 'web-test-runner.config.mjs']),
  // real WebRTC in Node; its native threads would keep the process alive
  'node-webrtc': nodeSuite('node-webrtc', testFiles('test/node-webrtc'), { exit: true }),
  // programs in Node with every WebRTC implementation, and browsers at the other end
  'node-hosts': nodeSuite('node-hosts', testFiles('test/node-hosts'), { exit: true }),
  e2e: nodeSuite('e2e', testFiles('test/e2e')),
  // a short selection; `npm run test:chaos -- --full` is the whole
  chaos: nodeSuite('chaos', testFiles('test/chaos'), { exit: true }),
};

const unknown = only.filter((name) => !SUITES[name]);
if (unknown.length) {
  console.error(`npm test: no suite ${unknown.join(', ')}; there are: ${Object.keys(SUITES).join(', ')}`);
  process.exit(1);
}

rmSync(RESULTS, { recursive: true, force: true });
mkdirSync(RESULTS);
if (!process.env.CI && spawnSync('redis-server', ['--version']).error) {
  console.warn('redis-server is not installed: what needs it is left out (apt-get install redis-server)');
  delete SUITES['server-redis'];
}
if (!args.includes('--no-build')) run('node', ['scripts/build.mjs']);

const total = { passed: 0, failed: 0, skipped: 0 };
let broken = false;
for (const [name, suite] of Object.entries(SUITES)) {
  if (only.length && !only.includes(name)) continue;
  console.log(`\n=== ${name}`);
  const status = suite();
  let counts;
  try {
    counts = JSON.parse(readFileSync(join(RESULTS, `${name}.json`), 'utf8'));
  } catch {
    counts = { passed: 0, failed: 1, skipped: 0 }; // it ended before it could count
  }
  // a suite that fails without a failed test (a crash, a file that does not load) must not look green
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  console.log(`${name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  for (const key of Object.keys(total)) total[key] += counts[key];
  broken ||= status !== 0 || counts.passed === 0;
}

console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ''}`);
process.exit(broken || total.failed ? 1 : 0);
