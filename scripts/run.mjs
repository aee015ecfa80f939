// Runs a tool from this project's node_modules, and exits with the tool's exit code if it fails.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

export function run(command, args, options = {}) {
  const status = tryRun(command, args, options);
  if (status !== 0) process.exit(status);
}

export function tryRun(command, args, options = {}) {
  const env = { ...environment(), ...options.env };
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', ...options, env });
  if (error) throw error;
  return status ?? 1;
}

/**
 * Starts a tool that runs in parallel with later calls to `tryRun`. `tryRun` blocks, so nothing would read a pipe: the output
 * goes to a file.
 * @returns a function that waits for the tool to exit and resolves with its exit code and output
 */
export function startRun(command, args) {
  const folder = mkdtempSync(join(tmpdir(), 'rondevu-run-'));
  const file = join(folder, 'output');
  const output = openSync(file, 'w');
  const child = spawn(command, args, { stdio: ['ignore', output, output], env: environment() });
  closeSync(output);
  const ended = new Promise((resolve, reject) => child.once('error', reject).once('exit', (code) => resolve(code ?? 1)));
  return async () => {
    const status = await ended;
    const text = readFileSync(file, 'utf8');
    rmSync(folder, { recursive: true });
    return { status, output: text };
  };
}

function environment() {
  return { ...process.env, PATH: `${resolve('node_modules/.bin')}${delimiter}${process.env.PATH}` };
}
