/** Runs a program as a separate process and captures its output and exit status. The process is killed when the test ends. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';

export interface Program {
  child: ChildProcess;
  out(): string;
  err(): string;
  /** Standard output and standard error combined, in order of arrival. */
  output(): string;
  ended: Promise<[code: number | null, signal: string | null]>;
}

/** @param env environment variables to add to the environment of this process */
export function start(
  t: TestContext,
  command: string,
  args: string[],
  { env = {}, cwd }: { env?: Record<string, string>; cwd?: string } = {},
): Program {
  const child = spawn(command, args, { env: { ...process.env, ...env }, ...(cwd !== undefined && { cwd }) });
  t.after(() => child.kill('SIGKILL'));
  return watch(child);
}

export function watch(child: ChildProcess): Program {
  let [out, err, output] = ['', '', ''];
  child.stdout!.on('data', (data) => {
    out += String(data);
    output += String(data);
  });
  child.stderr!.on('data', (data) => {
    err += String(data);
    output += String(data);
  });
  child.stdin?.on('error', () => undefined); // the program may have closed its input
  const ended = once(child, 'close') as Program['ended'];
  return { child, out: () => out, err: () => err, output: () => output, ended };
}
