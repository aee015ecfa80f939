/**
 * The only type of error that is sent to clients, with a code, a message that v0.20 clients recognize, and details for a retry.
 */
import type { ErrorCode } from 'rondevu-elements/protocol';

export class RpcError extends Error {
  readonly code: ErrorCode;
  readonly details: { serverTime?: number; retryAfter?: number };

  constructor(code: ErrorCode, message: string, details: { serverTime?: number; retryAfter?: number } = {}) {
    // capturing a stack trace would cost more than the rest of the refusal, and nobody reads the trace
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'RpcError';
    this.code = code;
    this.details = details;
  }
}

/** Thrown if the username of a session was released or now belongs to a different key; ends the session. */
export class NameLostError extends RpcError {}
