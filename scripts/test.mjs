// `npm test` runs the tests that fit in ten minutes on two cores; `npm run test:long` runs the rest.
// SUITES and LONG below are the complete lists of suites and of long tests.
// The project is built first, unless every selected suite runs from source.
//
//   SUITE …             runs only the given suites: `npm test -- server e2e`
//   --long, --all       runs only the long tests, or all tests
//   --no-build          uses the existing build
//   --also-node=FOLDER  also runs the suites marked `everyNode` with FOLDER first on PATH; may be repeated
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { run, tryRun } from './run.mjs';

/**
 * The suites, in the order in which they run. `folder` contains the files of a suite. `concurrency` is the number of files that
 * run in parallel: 3 for files that mostly wait for sockets and timers. `exit` ends processes that native WebRTC threads would
 * keep alive. `fromSource` marks suites that need no build: their servers import the engine from src, by the paths in
 * tsconfig.source.json. `everyNode` selects files that also run on each additional Node version (--also-node): true for all
 * files except ONE_NODE, or a list of files. Browsers behave the same on every Node version.
 */
const SUITES = [
  { name: 'engine', folder: 'test/engine', concurrency: 3, exit: true, fromSource: true, everyNode: true },
  // tests the signaling clients against the real server
  { name: 'signaling', folder: 'test/signaling', concurrency: 3, exit: true, fromSource: true, everyNode: true },
  { name: 'delivery', folder: 'test/delivery', concurrency: 2, fromSource: true, everyNode: true },
  { name: 'server', folder: 'test/server', concurrency: 3, everyNode: true },
  // repeats the server suite with Redis: the server must behave the same with either storage
  { name: 'server-redis', folder: 'test/server', concurrency: 3, redis: true },
  { name: 'elements', folder: 'test/elements', browsers: true },
  { name: 'node-webrtc', folder: 'test/node-webrtc', concurrency: 3, exit: true, everyNode: true },
  {
    name: 'node-hosts',
    folder: 'test/node-hosts',
    concurrency: 2,
    exit: true,
    everyNode: ['cli', 'doctor', 'node-edge', 'package', 'pipe'].map((name) => `test/node-hosts/${name}.test.ts`),
  },
  // compares our SDP parser with the parsers of browsers and Node packages
  { name: 'sdp', folder: 'test/sdp' },
  { name: 'e2e', folder: 'test/e2e', concurrency: 2, exit: true },
  { name: 'chaos', folder: 'test/chaos', concurrency: 3, exit: true },
];

/** Suites and files that only `npm run test:long` runs. Add new files here if they take more than about 20 s. */
const LONG = [
  'server-redis',
  'chaos',
  'sdp',
  'test/e2e/crowd.test.ts',
  'test/e2e/lasting.test.ts',
  'test/e2e/packed-pages.test.ts',
  'test/e2e/snippets.test.ts',
  'test/e2e/turn.test.ts',
  'test/node-hosts/chat-pages.test.ts',
  'test/node-hosts/contract.test.ts',
  'test/node-hosts/documents.test.ts',
  'test/node-hosts/examples.test.ts',
  'test/node-hosts/hosts.test.ts',
  'test/node-hosts/package.test.ts',
  'test/node-hosts/pipe.test.ts',
];

/** Maximum length of a failure in the summary at the end, in characters. */
const MAX_FAILURE = 3000;

/** Files that do not depend on the Node version: tests of the source text, and tests of Redis, which is a separate process. */
const ONE_NODE = ['delivery/mutations', 'server/nodes', 'server/protocol-document', 'server/redis-hub', 'server/redis-store'].map(
  (name) => `test/${name}.test.ts`,
);

/** Files in the server suite that start their own Redis, test only one kind of storage, or test no storage. */
const ONE_STORAGE = /server\/(redis|nodes|store|config|crash|protocol-document)[\w-]*\.test\.ts$/;

const { values: flags, positionals: only } = parseArgs({
  allowPositionals: true,
  options: {
    long: { type: 'boolean' },
    all: { type: 'boolean' },
    'no-build': { type: 'boolean' },
    'also-node': { type: 'string', multiple: true, default: [] },
  },
});
const unknown = only.filter((name) => !SUITES.some((suite) => suite.name === name));
if (unknown.length) {
  console.error(`npm test: unknown suite ${unknown.join(', ')}; expected one of ${SUITES.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}
for (const name of [...LONG, ...ONE_NODE, ...SUITES.flatMap(({ everyNode }) => (Array.isArray(everyNode) ? everyNode : []))]) {
  if (!SUITES.some((suite) => suite.name === name) && !existsSync(name))
    throw new Error(`scripts/test.mjs names ${name}, which does not exist`);
}
const hasRedis = !spawnSync('redis-server', ['--version']).error;
if (!process.env.CI && !hasRedis)
  console.warn('redis-server is not installed: tests that need it are skipped (apt-get install redis-server)');

/** Truncates a failure to MAX_FAILURE. Removes color codes, because a truncated code could leave the terminal colored. */
const short = (failure) => {
  const plain = stripVTControlCharacters(failure);
  return plain.length > MAX_FAILURE ? `${plain.slice(0, MAX_FAILURE)} …` : plain;
};

/** The files of a suite that match the selection: short, long or all tests. @param node folder of an additional Node version */
function filesOf({ name, folder, redis, everyNode }, node) {
  const isLong = (file) => LONG.includes(name) || LONG.includes(file);
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => `${folder}/${entry.name}`)
    .filter((file) => !redis || !ONE_STORAGE.test(file))
    .filter((file) => !node || (everyNode === true ? !ONE_NODE.includes(file) : everyNode.includes(file)))
    .filter((file) => flags.all || isLong(file) === (flags.long ?? false));
}

/** The jobs: each suite on this Node version, then the suites marked `everyNode` on the other versions. */
const plan = [undefined, ...flags['also-node']].flatMap((node) =>
  SUITES.filter((suite) => !only.length || only.includes(suite.name))
    .filter((suite) => (node ? suite.everyNode : !suite.redis || process.env.CI || hasRedis))
    .map((suite) => ({ ...suite, node, files: filesOf(suite, node) }))
    .filter(({ files }) => files.length),
);

/** Runs the files of one suite. @returns the exit code */
function runSuite({ browsers, redis, exit, fromSource, concurrency = 1, node, files }, progress, counts) {
  const PATH = [...(node ? [resolve(node)] : []), resolve('node_modules/.bin'), process.env.PATH].join(delimiter);
  const env = { PATH, RONDEVU_COUNTS: counts, RONDEVU_PROGRESS: JSON.stringify(progress) };
  if (fromSource) env.TSX_TSCONFIG_PATH = 'tsconfig.source.json';
  if (browsers) return tryRun('web-test-runner', ['--config', 'web-test-runner.config.mjs', '--files', ...files], { env });
  const tests = ['--test', `--test-concurrency=${concurrency}`, '--test-timeout=600000', ...(exit ? ['--test-force-exit'] : [])];
  const reporter = ['--test-reporter=./scripts/progress-reporter.mjs', '--test-reporter-destination=stdout'];
  const command = ['node', '--import', 'tsx', ...tests, ...reporter, ...files];
  // the servers under test use SQLite except in the Redis suite
  return redis
    ? tryRun('node', ['--import', 'tsx', 'scripts/with-redis.mjs', ...command], { env })
    : tryRun('node', command.slice(1), { env });
}

// a separate folder, so that concurrent runs do not interfere with each other
const folder = mkdtempSync(join(tmpdir(), 'rondevu-test-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
if (!flags['no-build'] && plan.some(({ fromSource }) => !fromSource)) run('node', ['scripts/build.mjs']);

const started = performance.now();
const duration = (ms) => `${Math.floor(ms / 60_000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')} min`;
const progress = { done: 0, total: plan.reduce((sum, { files }) => sum + files.length, 0) };
const sum = { passed: 0, failed: 0, skipped: 0 };
const seconds = [];
const red = [];
const failures = [];
for (const [index, suite] of plan.entries()) {
  const node = suite.node ? ` on ${spawnSync(join(suite.node, 'node'), ['--version'], { encoding: 'utf8' }).stdout.trim()}` : '';
  const name = `${suite.name}${node}`;
  console.log(`\n=== ${name}: suite ${index + 1} of ${plan.length}, ${duration(performance.now() - started)} so far`);
  const results = join(folder, `${index + 1}-${suite.name}.json`);
  const status = runSuite(suite, progress, results);
  progress.done += suite.files.length;
  let counts;
  try {
    counts = JSON.parse(readFileSync(results, 'utf8'));
  } catch {
    counts = { passed: 0, failed: 1, skipped: 0, seconds: {} }; // the run ended before it wrote its counts
  }
  // a suite that fails without a failed test (a crash, a file that does not load) must not count as passed
  if ((status !== 0 || counts.passed === 0) && counts.failed === 0) counts.failed = 1;
  if (counts.failed) red.push(name);
  for (const failure of counts.failures ?? []) failures.push(`${short(failure)}\n  suite ${name}`);
  if (counts.failed > (counts.failures?.length ?? 0)) failures.push(`✖ the suite ${name} ended with exit code ${status}`);
  seconds.push(...Object.entries(counts.seconds ?? {}).map(([file, time]) => [`${file}${node}`, time]));
  console.log(`=== ${name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  for (const key of Object.keys(sum)) sum[key] += counts[key];
}

// failures are repeated at the end, where they are easy to find
for (const failure of failures) console.log(`\n${failure}`);
const slowest = seconds.sort(([, a], [, b]) => b - a).slice(0, 5);
console.log(
  `\n${duration(performance.now() - started)}; slowest: ${slowest.map(([file, time]) => `${file} ${time.toFixed(0)} s`).join(', ')}`,
);
if (red.length) console.log(`failed: ${red.join(', ')}`);
if (sum.skipped) console.log(`${sum.skipped} skipped`);
console.log(`${sum.passed} passed, ${sum.failed} failed`);
process.exit(sum.failed ? 1 : 0);
