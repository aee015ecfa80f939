/**
 * Bytes and the text forms of bytes: UTF-8, base64, base64url, hex, base32.
 * Pure; works in browsers and Node alike, because it uses only btoa, atob and TextEncoder.
 */

const encoder = new TextEncoder();

/**
 * A view on a plain ArrayBuffer, as WebCrypto requires: `Uint8Array<ArrayBuffer>` since TypeScript 5.7, `Uint8Array` before,
 * where the class has no type parameter.
 */
export type Bytes = ReturnType<Uint8ArrayConstructor['from']>;

export const utf8 = (text: string): Bytes => encoder.encode(text);

export function bytesToBase64(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** @throws DOMException (InvalidCharacterError) when the text is not base64. */
export const base64ToBytes = (text: string): Bytes => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Base64url without padding, RFC 4648 section 5. */
export const bytesToBase64Url = (bytes: Uint8Array): string =>
  bytesToBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** @throws DOMException (InvalidCharacterError) when the text is not base64url. */
export const base64UrlToBytes = (text: string): Bytes => base64ToBytes(text.replaceAll('-', '+').replaceAll('_', '/'));

export const bytesToHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

/** Lower-case base32 without padding, RFC 4648 section 6. */
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
