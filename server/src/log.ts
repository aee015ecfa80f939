/**
 * The log on stderr: one JSON object a line for programs, one readable line for people in a terminal. What is logged is chosen by hand:
 * names of methods, codes, counts, usernames and addresses; never a description, a key, a signature or a request's body. Usernames and
 * the like come from strangers, so neither form holds anything that a terminal would obey.
 */
import { writeSync } from 'node:fs';
import { pino, stdSerializers, type Logger } from 'pino';
import { escapeUnprintable } from 'rondevu-elements/protocol';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `auto` is `text` where stderr is a terminal, else `json`. */
export const LOG_FORMATS = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** @param write takes each line; default: to stderr, at once */
export function createLog(
  level: LogLevel,
  format: LogFormat = 'json',
  write: (line: string) => void = (line) => writeSync(2, line),
): Logger {
  const isText = format === 'text' || (format === 'auto' && process.stderr.isTTY === true);
  const stream = {
    write: (line: string) => write(`${isText ? textOf(line) : escapeUnprintable(line.trimEnd())}\n`),
  };
  return pino({ level, base: { name: 'rondevu-server' }, serializers: { err: stdSerializers.err } }, stream);
}

/** `12:30:05 warn a socket was refused sockets=20000`, with the stack of an error below it. */
function textOf(line: string): string {
  const {
    level,
    time,
    msg,
    name: _,
    err,
    ...rest
  } = JSON.parse(line) as Record<string, unknown> & {
    level: number;
    time: number;
    msg?: string;
    err?: { stack?: string; message?: string };
  };
  const values = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' && /^[\w.:/@-]+$/.test(value) ? value : JSON.stringify(value)}`,
  );
  const head = [new Date(time).toTimeString().slice(0, 8), pino.levels.labels[level] ?? String(level), msg ?? '', ...values];
  const stack = (err?.stack ?? err?.message ?? '').split('\n').filter(Boolean);
  return [head.join(' '), ...stack.map((row) => `    ${row.trim()}`)].map(escapeUnprintable).join('\n');
}
