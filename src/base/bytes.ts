/**
 * Converts between bytes and text: UTF-8, base64, base64url, hex and base32. Works in browsers and in Node, because it uses
 * only globals that both provide: btoa, atob, crypto and TextEncoder.
 */

const encoder = new TextEncoder();

/**
 * A view of a plain ArrayBuffer, as WebCrypto requires: `Uint8Array<ArrayBuffer>` since TypeScript 5.7, and `Uint8Array` in
 * earlier versions, where the class has no type parameter.
 */
export type Bytes = ReturnType<Uint8ArrayConstructor['from']>;

export const utf8 = (text: string): Bytes => encoder.encode(text);

export function bytesToBase64(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** @throws DOMException (InvalidCharacterError) if the text is not valid base64. */
export const base64ToBytes = (text: string): Bytes => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Encodes bytes as base64url without padding (RFC 4648, section 5). */
export const bytesToBase64Url = (bytes: Uint8Array): string =>
  bytesToBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** @throws DOMException (InvalidCharacterError) if the text is not valid base64url. */
export const base64UrlToBytes = (text: string): Bytes => base64ToBytes(text.replaceAll('-', '+').replaceAll('_', '/'));

export const bytesToHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

/** Encodes bytes as lower-case base32 without padding (RFC 4648, section 6). */
export function bytesToBase32(bytes: Uint8Array): string {
  let bits = 0;
  let value = 0;
  let text = '';
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    for (bits += 8; bits >= 5; bits -= 5) text += 'abcdefghijklmnopqrstuvwxyz234567'[(value >> (bits - 5)) & 31];
  }
  return bits ? text + 'abcdefghijklmnopqrstuvwxyz234567'[(value << (5 - bits)) & 31] : text;
}

export const randomBytes = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length));

/** A random id, base64url. */
export const randomId = (bytes: number): string => bytesToBase64Url(randomBytes(bytes));
