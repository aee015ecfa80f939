/** Options, exit codes and error reporting shared by the `rondevu` commands. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { inspect, type ParseArgsConfig } from 'node:util';
import { RondevuError, connect, type IcePreset, type NodeOptions, type Rondevu, type WebRtcPackage } from '../node/index.js';
import { KeyFileError } from '../node/key-file.js';
import { escapeUnprintable, printable } from '../base/printable.js';
import { explain } from './remedies.js';

/** Exit codes of the process, as listed by `rondevu --help`. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  nobody: 4,
  refused: 5,
  missing: 6,
  lost: 7,
} as const;

export const EXIT_CODES = `Exit codes
  0  success         3  the server is unreachable       6  a package is missing
  1  failure         4  no host is available            7  the connection was lost
  2  usage error     5  refused: name, key, permission  130, 143  interrupted by a signal`;

type ArgOptions = NonNullable<ParseArgsConfig['options']>;
export type Values = Record<string, string | boolean | undefined>;

export interface Command {
  /** Summary shown in the list of commands. */
  summary: string;
  help: string;
  options: ArgOptions;
  /** Argument names; brackets mark an optional argument. */
  args: string[];
  /** @returns the exit code */
  run(args: string[], values: Values): Promise<number>;
}

/** Thrown if the command line is invalid. */
export class UsageError extends Error {}

export function defaultKeyFile(): string {
  const { XDG_CONFIG_HOME, RONDEVU_KEY_FILE } = process.env;
  return RONDEVU_KEY_FILE || join(XDG_CONFIG_HOME || join(homedir(), '.config'), 'rondevu', 'identity.json');
}

export const CLIENT_OPTIONS: ArgOptions = {
  server: { type: 'string', short: 's' },
  username: { type: 'string', short: 'u' },
  'key-file': { type: 'string', short: 'k' },
  webrtc: { type: 'string' },
  ice: { type: 'string' },
  json: { type: 'boolean' },
  debug: { type: 'boolean' },
};

export const CLIENT_HELP = `  -s, --server URL     signaling server (RONDEVU_SERVER; default http://localhost:3000)
  -u, --username NAME  your username (default: derived from the key)
  -k, --key-file FILE  your key, created if missing (RONDEVU_KEY_FILE; default ~/.config/rondevu/identity.json)
      --webrtc NAME    node-datachannel, @roamhq/wrtc or werift (default: the first one installed)
      --ice PRESET     ICE servers: server, google-stun or relay-only (default: server)
      --json           print one JSON object per line, for programs
      --debug          write debug output to stderr`;

export const serverOf = ({ server }: Values): string =>
  String(server ?? process.env['RONDEVU_SERVER'] ?? 'http://localhost:3000');

/** Path of the key file set by the options or the environment. */
function keyFileOf(values: Values): string | undefined {
  const named = values['key-file'] ?? (process.env['RONDEVU_KEY_FILE'] || undefined);
  return named === undefined ? undefined : String(named);
}

/** Creates a client from the command-line options. @param keep whether to use the default key file if none is specified */
export function clientOf(values: Values, keep: boolean): Promise<Rondevu> {
  const { username, webrtc, ice, debug } = values;
  const keyFile = keyFileOf(values) ?? (keep || username !== undefined ? defaultKeyFile() : undefined);
  return connect({
    apiUrl: serverOf(values),
    ...(username !== undefined && { username: String(username) }),
    ...(webrtc !== undefined && { webrtc: webrtc as WebRtcPackage }),
    ...(ice !== undefined && { iceServers: ice as IcePreset }),
    ...(keyFile !== undefined && { keyFile }),
    debug: debug === true,
  } satisfies NodeOptions);
}

/** Prints text for people or, with `--json`, JSON for programs. */
export type Print = (event: Record<string, unknown>, text: string) => void;

export function printer({ json }: Values): Print {
  return (event, text) => console.log(json ? jsonLine(event) : forTerminal(text));
}

/** Makes text with input from strangers safe to print: removes terminal control characters and indents continuation lines. */
export const forTerminal = (text: string): string => printable(text, true).replaceAll(/\n(?! {4})/g, '\n    ');

/** Formats a value as one line of JSON with terminal control characters escaped. */
export const jsonLine = (value: unknown): string => escapeUnprintable(JSON.stringify(value));

const CODES: Record<string, number> = {
  'bad-request': EXIT.usage,
  unavailable: EXIT.unreachable,
  unsupported: EXIT.missing,
  ...of(EXIT.nobody, 'not-found no-offer peer-gone'),
  ...of(
    EXIT.refused,
    'name-taken unauthorized forbidden bad-signature identity-mismatch identity-changed unverified service-full rate-limited',
  ),
  ...of(EXIT.lost, 'timeout closed not-connected'),
};

function of(exitCode: number, codes: string): Record<string, number> {
  return Object.fromEntries(codes.split(' ').map((code) => [code, exitCode]));
}

/** Returns the exit code for an error. */
function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS')) return EXIT.usage;
  return error instanceof RondevuError && !(error instanceof KeyFileError) ? (CODES[error.code] ?? EXIT.failed) : EXIT.failed;
}

/**
 * Prints a warning on stderr.
 * @param code error code, included in `--json` output
 */
export function warn(message: string, { json }: Values, code?: string): void {
  console.error(json ? jsonLine({ event: 'warning', code, message }) : forTerminal(`rondevu: ${message}`));
}

/** Prints an error and its remedy on stderr. @returns its exit code */
export function reportError(error: unknown, values: Values): number {
  const { json, debug } = values;
  const exitCode = exitCodeOf(error);
  const { code = 'failed' } = error as { code?: string };
  const { message, remedy } = explain(error as Error, {
    server: serverOf(values),
    username: values['username'],
    keyFile: keyFileOf(values) ?? defaultKeyFile(),
  });
  if (json) console.error(jsonLine({ event: 'error', code, message, remedy, exitCode }));
  else console.error(forTerminal([`rondevu: ${message}`, ...(remedy ? [remedy] : [])].join('\n')));
  if (debug) console.error(printable(inspect(error), true));
  return exitCode;
}
