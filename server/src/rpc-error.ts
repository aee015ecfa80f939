/** The one error that reaches a client: a code, a text that v0.20 clients know, and what they may need to go on. */
import type { ErrorCode } from 'rondevu-elements/protocol';

export class RpcError extends Error {
  readonly code: ErrorCode;
  readonly details: { serverTime?: number; retryAfter?: number };

  constructor(code: ErrorCode, message: string, details: { serverTime?: number; retryAfter?: number } = {}) {
    // to note where it was made costs more than the rest of a refusal, and nobody looks at it
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'RpcError';
    this.code = code;
    this.details = details;
  }
}

/** The username of a session was given up, or belongs to another key by now: the session is over. */
export class NameLostError extends RpcError {}
