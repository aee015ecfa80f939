// `npm start`: builds the project if a source changed, and runs the server with the demo. Flags are passed to the server.
import { readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { run } from './run.mjs';

const args = process.argv.slice(2);

/** The value of a flag or its environment variable, as the server reads it; the server refuses invalid values itself. */
function setting(flag, variable, standard) {
  const index = args.findLastIndex((arg) => arg === flag || arg.startsWith(`${flag}=`));
  if (index < 0) return process.env[variable] || standard;
  return args[index].includes('=') ? args[index].slice(flag.length + 1) : args[index + 1];
}

/** Whether another program listens on the port; checked before the build, so that `npm start` fails early. */
function isTaken(port, host) {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', ({ code }) => resolve(code === 'EADDRINUSE'));
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}

const SOURCES = [
  'src',
  'components',
  'server/src',
  'server/package.json',
  'package.json',
  'tsconfig.base.json',
  'rollup.config.mjs',
];
const RESULTS = ['dist/rondevu-elements.js', 'dist/src/cli/main.js', 'server/dist/main.js'];

function isFresh() {
  const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const filesOf = (path) =>
    statSync(path).isDirectory() ? [path, ...readdirSync(path, { recursive: true }).map((name) => join(path, name))] : [path];
  const newest = Math.max(...SOURCES.flatMap(filesOf).map(changed));
  return RESULTS.every((result) => changed(result) > newest);
}

const [port, host] = [Number(setting('--port', 'PORT', 3000)), setting('--host', 'HOST', 'localhost')];
if (!args.includes('--help')) {
  if (Number.isInteger(port) && port > 0 && port < 65_536 && (await isTaken(port, host))) {
    console.error(
      `npm start: port ${port} on ${host} is taken, perhaps by an earlier npm start. Stop it, or run: npm start -- --port ${port + 1}`,
    );
    process.exit(1);
  }
}
if (!isFresh()) run('node', ['scripts/build.mjs']);
run('node', ['server/dist/main.js', '--static', '.', ...args]);
