/**
 * Turns what a server says of a failed call into an error with a code. Servers of v0.5.4 send only a text; its words decide.
 */
import { RondevuError, type ErrorCode } from '../errors.js';

const OLD_TEXTS: [RegExp, ErrorCode][] = [
  [/already answered/i, 'already-answered'],
  [/not yet answered/i, 'not-found'],
  [/already claimed/i, 'name-taken'],
  [/signature/i, 'bad-signature'],
  [/timestamp|too old/i, 'clock-skew'],
  [/no available|no offers/i, 'no-offer'],
  [/not found|no services/i, 'not-found'],
  [/not authorized/i, 'forbidden'],
  [/too (many|large)/i, 'too-large'],
];

export interface ServerFailure {
  error: string;
  code?: ErrorCode | undefined;
  serverTime?: number | undefined;
}

/** A call that the server refused. */
export class ServerError extends RondevuError {
  /** The server's clock in ms, with `clock-skew`. */
  readonly serverTime: number | undefined;

  constructor(method: string, { error, code, serverTime }: ServerFailure) {
    super(code ?? OLD_TEXTS.find(([text]) => text.test(error))?.[1] ?? 'bad-request', `${method}: ${error}`);
    this.serverTime = serverTime;
  }
}
