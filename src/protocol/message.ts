/**
 * Signed messages: the text that accompanies each call, in the v0.20 form and in the v2 form. See docs/protocol.md, "Signed
 * messages". This module only builds and parses text; the caller hashes and signs it.
 */
import { ValidationError, invalidValue, quote } from '../errors.js';
import { canonicalJson } from './json.js';
import { utf8, type Bytes } from '../base/bytes.js';

/** Maximum clock difference allowed by the old signature form, in ms. */
export const LEGACY_MAX_AGE = 5 * 60_000;
/** Maximum clock difference allowed by v2, in ms. */
export const V2_MAX_AGE = 60_000;

const V2_MARK = '~v2';

/** A parsed message. `context` is the middle part of an old message; `nonce` and `digest` are present in v2. */
export interface SignedMessage {
  method: string;
  username: string;
  timestamp: number;
  context?: string;
  nonce?: string;
  digest?: string;
}

/** The bytes whose SHA-256 is the digest of a v2 message. Missing params are treated as `{}`. */
export const digestInput = (aud: string, method: string, params: unknown): Bytes =>
  utf8(canonicalJson({ aud, method, params: params ?? {} }));

/** @param digest base64url of SHA-256(digestInput(…)); @param nonce 128 random bits, base64url; @param timestamp time in ms */
export const v2Message = (method: string, username: string, nonce: string, digest: string, timestamp: number): string =>
  `${method}:${username}:${V2_MARK}:${nonce}:${digest}:${timestamp}`;

/**
 * The old form, `method:username[:context]:timestamp`. Only tests and old clients write the old form; this version sends v2.
 */
export const legacyMessage = (method: string, username: string, context: string, timestamp: number): string =>
  `${method}:${username}:${context === '' ? '' : `${context}:`}${timestamp}`;

/**
 * Parses a message of either form; verifies neither the signature nor the clock difference.
 * @throws ValidationError if a part is missing or the timestamp is not a whole number
 */
export function parseMessage(message: unknown): SignedMessage {
  const parts = typeof message === 'string' && message.length <= 1024 ? message.split(':') : [];
  const [method, username] = parts;
  const last = parts.at(-1)!;
  if (parts.length < 3 || !method || !username || !/^\d{1,16}$/.test(last)) {
    throw new ValidationError(`message must be method:username[:context]:timestamp, got ${quote(message)}`);
  }
  const base = { method, username, timestamp: Number(last) };
  if (parts[2] !== V2_MARK) return { ...base, context: parts.slice(2, -1).join(':') };
  const [, , , nonce, digest] = parts;
  if (parts.length !== 6 || !/^[\w-]{22}$/.test(nonce!) || !/^[\w-]{43}$/.test(digest!)) {
    throw new ValidationError(
      `a ${V2_MARK} message must be method:username:${V2_MARK}:nonce:digest:timestamp, with 22 and 43 characters of base64url`,
    );
  }
  return { ...base, nonce: nonce!, digest: digest! };
}

/**
 * Returns the audience to which v2 messages are bound: scheme, host, port and path of the API URL, without a trailing slash.
 * @throws ValidationError if `apiUrl` is not an http(s) URL
 */
export function audience(apiUrl: string): string {
  const url = URL.canParse(apiUrl) ? new URL(apiUrl) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) throw invalidValue('apiUrl', 'an absolute http or https address', apiUrl);
  let end = url.pathname.length;
  while (url.pathname[end - 1] === '/') end--;
  return url.origin + url.pathname.slice(0, end);
}
