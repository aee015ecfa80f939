// Runs a tool of this project's node_modules and ends with its exit code when it fails.
import { spawnSync } from 'node:child_process';
import { delimiter, resolve } from 'node:path';

export function run(command, args, options = {}) {
  const status = tryRun(command, args, options);
  if (status !== 0) process.exit(status);
}

export function tryRun(command, args, options = {}) {
  const env = { ...process.env, PATH: `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH}`, ...options.env };
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options, env });
  if (error) throw error;
  return status ?? 1;
}
