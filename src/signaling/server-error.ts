/**
 * Converts an error reply from the server into an error with a code. v0.5.4 servers send only text, from which the code is
 * derived.
 */
import { RondevuError, type ErrorCode } from '../errors.js';

/** Patterns for the error texts of v0.5.4 servers; the first match applies. See docs/protocol.md, "Towards a v0.5.4 server". */
export const OLD_TEXTS: readonly [RegExp, ErrorCode][] = [
  [/already answered/i, 'already-answered'],
  [/not yet answered/i, 'not-found'],
  [/already claimed/i, 'name-taken'],
  [/signature/i, 'bad-signature'],
  [/timestamp|too old/i, 'clock-skew'],
  [/no available|no offers/i, 'no-offer'],
  [/not found|no services/i, 'not-found'],
  [/not authorized/i, 'forbidden'],
  [/too many|too large/i, 'too-large'],
];

/** Maximum length of the error text that is retained, in characters. */
const MAX_TEXT = 500;

/** Error fields as sent by the server, of any type. */
export interface ServerFailure {
  error?: unknown;
  code?: unknown;
  serverTime?: unknown;
}

/** Indicates that the server refused a call. */
export class ServerError extends RondevuError {
  override name = 'ServerError';

  /** The server's time in ms; sent with `clock-skew`. */
  readonly serverTime: number | undefined;

  constructor(method: string, { error, code, serverTime }: ServerFailure) {
    const text = typeof error === 'string' ? error.slice(0, MAX_TEXT) : 'the server gave no reason';
    // newer servers may send other codes
    const isCode = typeof code === 'string' && /^[a-z][a-z-]{0,39}$/.test(code);
    super(
      isCode ? (code as ErrorCode) : (OLD_TEXTS.find(([known]) => known.test(text))?.[1] ?? 'bad-request'),
      `${method}: ${text}`,
    );
    this.serverTime = Number.isSafeInteger(serverTime) ? (serverTime as number) : undefined;
  }
}
