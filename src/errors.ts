/**
 * The errors of the engine: one base class with a stable `code`, and three subclasses that users can tell apart.
 * Every layer may use this file. Never put a secret into a message; text from the peer is made printable here.
 */
import { escapeUnprintable } from './base/printable.js';

/** All error codes of the client and the server; docs/protocol.md lists them, each with a hint. */
export type ErrorCode =
  | 'bad-request'
  | 'bad-signature'
  | 'clock-skew'
  | 'replayed'
  | 'unauthorized'
  | 'forbidden'
  | 'name-taken'
  | 'not-found'
  | 'no-offer'
  | 'offer-gone'
  | 'own-offer'
  | 'already-answered'
  | 'already-published'
  | 'too-large'
  | 'rate-limited'
  | 'unavailable'
  | 'identity-mismatch'
  | 'identity-changed'
  | 'unverified'
  | 'key-not-exportable'
  | 'queue-full'
  | 'not-connected'
  | 'service-full'
  | 'peer-gone'
  | 'timeout'
  | 'closed'
  | 'unsupported';

/** Base of all errors of the engine. `code` is stable across releases, `message` is for people. */
export class RondevuError extends Error {
  /** Stable, kebab-case. */
  readonly code: ErrorCode;
  /** Whether the engine retries by itself after this error. Default false. */
  willRetry = false;

  /** Additional data from the code that threw the error, in the format of v0.20. */
  readonly context?: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown });
  /** As in v0.20; the code is `bad-request`. */
  constructor(message: string, context?: Record<string, unknown>);
  constructor(code: string, message?: string | Record<string, unknown>, options?: { cause?: unknown }) {
    const isNew = typeof message === 'string';
    super(escapeUnprintable(isNew ? message : code), options);
    this.name = new.target.name;
    this.code = isNew ? (code as ErrorCode) : 'bad-request';
    const context = isNew ? options : message;
    if (context && Object.keys(context).some((key) => !/^(cause|code)$/.test(key)))
      this.context = context as Record<string, unknown>;
  }
}

/** An option, a name or an argument is invalid; the message quotes the value. */
export class ValidationError extends RondevuError {
  constructor(message: string, options?: { cause?: unknown; [context: string]: unknown }) {
    super('bad-request', message, options);
  }
}

/** The signaling server could not be reached, or its reply violates the protocol. */
export class NetworkError extends RondevuError {
  constructor(message: string, options?: { cause?: unknown; code?: ErrorCode; [context: string]: unknown }) {
    super(options?.code ?? 'unavailable', message, options);
  }
}

/** The peer-to-peer link could not be set up, or was given up. */
export class ConnectionError extends RondevuError {
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown });
  /** As in v0.20; the code is `not-connected`. */
  constructor(message: string, context?: Record<string, unknown>);
  constructor(code: string, message?: string | Record<string, unknown>, options?: { cause?: unknown }) {
    if (typeof message === 'string') super(code as ErrorCode, message, options);
    else super('not-connected', code, message);
  }
}

/** Returns an engine error unchanged; wraps any other as the cause of an error that states what failed. @internal */
export const asRondevuError = (error: unknown, what: string): RondevuError =>
  error instanceof RondevuError ? error : new RondevuError('bad-request', `${what}: ${String(error)}`, { cause: error });

/** The most common ValidationError: the name of the value, what was expected, and what was received. */
export const invalidValue = (what: string, expected: string, got: unknown): ValidationError =>
  new ValidationError(`${what} must be ${expected}, got ${quote(got)}`);

/** Quotes a value for an error message, shortened and on one line. Never throws. */
export function quote(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // circular, or a BigInt: its plain string suffices
  }
  try {
    text ??= String(value);
  } catch {
    text = 'an object that cannot be printed';
  }
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
