/**
 * The log on stderr: one JSON object per line, or plain text in a terminal. Only explicitly chosen values are logged: method
 * names, codes, counts, usernames and addresses, but never a session description, a key, a signature or the body of a request.
 * Usernames and other text from clients are untrusted, so characters that could control a terminal are escaped in both formats.
 */
import { writeSync } from 'node:fs';
import { pino, stdSerializers, type Logger } from 'pino';
import { escapeUnprintable } from 'rondevu-elements/protocol';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `auto` means `text` if stderr is a terminal, otherwise `json`. */
export const LOG_FORMATS = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/**
 * @param write writes each line; by default, synchronously to stderr. A full pipe or disk must not end the process, so if
 *   `write` throws, the line is dropped, and the number of dropped lines is logged when writing works again
 */
export function createLog(level: LogLevel, format: LogFormat = 'json', write: (line: string) => void = lineWriter(2)): Logger {
  const isText = format === 'text' || (format === 'auto' && process.stderr.isTTY === true);
  let dropped = 0;
  const stream = {
    write(line: string) {
      try {
        write(`${isText ? textOf(line) : escapeUnprintable(line.trimEnd())}\n`);
      } catch {
        dropped++;
        return;
      }
      if (!dropped) return;
      const lines = dropped;
      dropped = 0;
      log.error({ lines }, 'the log could not be written for a while: lines were dropped');
      // the line that reports dropped lines was itself dropped
      if (dropped) dropped = lines;
    },
  };
  const log = pino({ level, base: { name: 'rondevu-server' }, serializers: { err: stdSerializers.err } }, stream);
  return log;
}

/**
 * Writes whole lines to a file or pipe. A full pipe may accept only part of a line; the remainder is written before the next
 * line.
 */
export function lineWriter(fd: number): (line: string) => void {
  let rest = Buffer.alloc(0);
  const flush = (): void => {
    while (rest.length) rest = rest.subarray(writeSync(fd, rest));
  };
  return (line) => {
    flush();
    const bytes = Buffer.from(line);
    const written = writeSync(fd, bytes);
    rest = bytes.subarray(written);
    try {
      flush();
    } catch {
      // the line is not lost: its remainder is written before the next line
    }
  };
}

/** Formats a log entry as `12:30:05 warn a socket was refused sockets=20000`, with the stack of an error below it. */
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
