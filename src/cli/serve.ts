/** `rondevu serve`: runs the signaling server, if it is installed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RondevuError } from '../node/index.js';
import type { Command } from './command.js';

/** @throws RondevuError `unsupported`, with the install command, if the server package is missing */
function serverCommand(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('rondevu-server')), 'main.js');
  } catch (cause) {
    const text = 'the server is a separate package that is not installed. Run: npm install rondevu-server';
    throw new RondevuError('unsupported', text, { cause });
  }
}

export const serve: Command = {
  summary: 'run the signaling server (package rondevu-server)',
  help: '',
  options: {},
  args: [],
  async run(args) {
    // the server also serves the elements and the demo; --static or STATIC_ROOT selects a different folder
    const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));
    const env = { STATIC_ROOT: packageRoot, ...process.env };
    const child = spawn(process.execPath, [serverCommand(), ...args], { stdio: 'inherit', env });
    // forwards the signal, because a service manager signals only this process, whereas a terminal signals both
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void child.kill(signal));
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + constants.signals[signal!];
  },
};
