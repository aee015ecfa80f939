/**
 * The log: one JSON object a line on stderr. What is logged is chosen here and there by hand: names of methods, codes, counts,
 * usernames and addresses; never a description, a key, a signature or a request's body.
 */
import { destination, pino, stdSerializers, type Logger } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const createLog = (level: LogLevel): Logger =>
  pino({ level, base: { name: 'rondevu-server' }, serializers: { err: stdSerializers.err } }, destination({ fd: 2, sync: true }));
