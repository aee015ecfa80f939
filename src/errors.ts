/**
 * Errors of the engine: a base class with a stable `code`, and subclasses for validation, network and connection errors. All
 * layers may import this file. Messages must never contain secrets; unprintable characters in text from peers are escaped in
 * this file.
 */
import { escapeUnprintable } from './base/printable.js';

/** All error codes of the client and the server; docs/protocol.md lists each code with a hint. */
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

/** Base class of all engine errors. `code` is stable across releases; `message` is intended for people. */
export class RondevuError extends Error {
  // not the name of the constructor, which a minifier shortens
  override name = 'RondevuError';

  /** Stable, kebab-case. */
  readonly code: ErrorCode;
  /** Whether the engine retries automatically after this error. Default false. */
  willRetry = false;

  /** Additional data from the code that threw the error, in the format of v0.20. */
  readonly context?: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown });
  /** Constructor signature of v0.20; sets the code to `bad-request`. */
  constructor(message: string, context?: Record<string, unknown>);
  constructor(code: string, message?: string | Record<string, unknown>, options?: { cause?: unknown }) {
    const isNew = typeof message === 'string';
    super(escapeUnprintable(isNew ? message : code), options);
    this.code = isNew ? (code as ErrorCode) : 'bad-request';
    const context = isNew ? options : message;
    if (context && Object.keys(context).some((key) => !/^(cause|code)$/.test(key)))
      this.context = context as Record<string, unknown>;
  }
}

/** Indicates an invalid option, name or argument; the message quotes the value. */
export class ValidationError extends RondevuError {
  override name = 'ValidationError';

  constructor(message: string, options?: { cause?: unknown; [context: string]: unknown }) {
    super('bad-request', message, options);
  }
}

/** Indicates that the signaling server could not be reached or that its reply violated the protocol. */
export class NetworkError extends RondevuError {
  override name = 'NetworkError';

  constructor(message: string, options?: { cause?: unknown; code?: ErrorCode; [context: string]: unknown }) {
    super(options?.code ?? 'unavailable', message, options);
  }
}

/** Indicates that the peer-to-peer link could not be established or was abandoned. */
export class ConnectionError extends RondevuError {
  override name = 'ConnectionError';

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown });
  /** Constructor signature of v0.20; sets the code to `not-connected`. */
  constructor(message: string, context?: Record<string, unknown>);
  constructor(code: string, message?: string | Record<string, unknown>, options?: { cause?: unknown }) {
    const isNew = typeof message === 'string';
    super(isNew ? (code as ErrorCode) : 'not-connected', isNew ? message : code, isNew ? options : message);
  }
}

/** Returns an engine error unchanged; wraps any other error in a `RondevuError` that states the failed operation. @internal */
export const asRondevuError = (error: unknown, what: string): RondevuError =>
  error instanceof RondevuError ? error : new RondevuError('bad-request', `${what}: ${String(error)}`, { cause: error });

/**
 * Creates a ValidationError that states the name of the value, the expected value and the received value. A URL that contains
 * `@`, and therefore perhaps a password, is described by its type.
 */
export const invalidValue = (what: string, expected: string, got: unknown): ValidationError =>
  new ValidationError(
    `${what} must be ${expected}, got ${/(Url|Servers)$/.test(what) && /@/.test(quote(got)) ? typeof got : quote(got)}`,
  );

/**
 * Quotes a value for an error message, shortened and on one line; an object is described by its type, because it may contain
 * secrets. Never throws.
 */
export function quote(value: unknown): string {
  let text: string | undefined;
  try {
    // JSON has no NaN and no Infinity; the empty list excludes the properties of all objects
    text = typeof value === 'number' ? String(value) : JSON.stringify(value, []);
  } catch {
    // a BigInt or a circular array
  }
  if (!text || text === '{}') return typeof value;
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
