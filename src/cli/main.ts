#!/usr/bin/env node
/** The `rondevu` command: parses the arguments, runs one subcommand and exits with its exit code. */
import { readFileSync } from 'node:fs';
import { format, parseArgs } from 'node:util';
import { printable } from '../base/printable.js';
import { EXIT, EXIT_CODES, UsageError, reportError, type Command, type Values } from './command.js';

const COMMANDS: Record<string, () => Promise<Command>> = {
  serve: async () => (await import('./serve.js')).serve,
  host: async () => (await import('./host.js')).host,
  connect: async () => (await import('./join.js')).join,
  find: async () => (await import('./find.js')).find,
  keys: async () => (await import('./keys.js')).keys,
  doctor: async () => (await import('./doctor.js')).doctor,
};

async function overview(): Promise<string> {
  const rows = await Promise.all(
    Object.entries(COMMANDS).map(async ([name, load]) => `  ${name.padEnd(9)}${(await load()).summary}`),
  );
  return `rondevu: durable peer-to-peer connections from the command line

${rows.join('\n')}

A first chat, in three terminals
  rondevu serve
  rondevu host chat:1.0.0 --username alice
  rondevu connect chat:1.0.0@alice

"rondevu COMMAND --help" explains each command. RONDEVU_SERVER sets the signaling server for all of them.

${EXIT_CODES}`;
}

/**
 * Removes terminal control characters from all console output, because the engine's warnings may contain text from strangers.
 */
function guardConsole(): void {
  for (const level of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    const print = console[level];
    console[level] = (...args: unknown[]) => print.call(console, '%s', printable(format(...args), true));
  }
}

async function main([name, ...rest]: string[]): Promise<number> {
  if (name === undefined || /^(-h|--help|help)$/.test(name)) {
    console.log(await overview());
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  if (/^(-v|--version)$/.test(name)) {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    console.log(version);
    return EXIT.ok;
  }
  let values: Values = { json: rest.includes('--json'), debug: rest.includes('--debug') };
  try {
    const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!load)
      throw new UsageError(`unknown command ${JSON.stringify(name)}; expected one of ${Object.keys(COMMANDS).join(', ')}`);
    const command = await load();
    // the server itself parses the options of `serve`
    if (name === 'serve') return await command.run(rest, values);
    const help = { help: { type: 'boolean', short: 'h' } } as const;
    const parsed = parseArgs({ args: rest, options: { ...command.options, ...help }, allowPositionals: true });
    values = parsed.values as Values;
    if (values['help']) {
      console.log(command.help);
      return EXIT.ok;
    }
    const { positionals } = parsed;
    const least = command.args.filter((arg) => !arg.startsWith('[')).length;
    if (positionals.length < least || positionals.length > command.args.length)
      throw new UsageError(`expected: rondevu ${[name, ...command.args].join(' ')}. For details: rondevu ${name} --help`);
    return await command.run(positionals, values);
  } catch (error) {
    return reportError(error, values);
  }
}

guardConsole();
// exits explicitly, because the threads of a WebRTC implementation would otherwise keep the process alive
process.exit(await main(process.argv.slice(2)));
