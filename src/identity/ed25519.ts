/**
 * Ed25519 (RFC 8032) and SHA-256 on raw bytes, using WebCrypto if it supports them and noble otherwise.
 */
import { base64UrlToBytes, bytesToBase64Url, bytesToHex, randomBytes, type Bytes } from '../base/bytes.js';
import { chunk } from '../base/chunk.js';
import { ValidationError } from '../errors.js';

/** A private signing key: a `CryptoKey`, or the raw 32-byte seed if the platform has no Ed25519. */
export type PrivateKey = CryptoKey | Bytes;

const ALGORITHM = 'Ed25519';
// the bytes before the 32-byte seed in a PKCS #8 key (RFC 8410, section 7)
const PKCS8_PREFIX = Uint8Array.of(48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32);

let native: Promise<boolean> | undefined;

/** Whether WebCrypto supports Ed25519 on this platform; the test runs only once. */
export function hasNativeEd25519(): Promise<boolean> {
  native ??= (async () => {
    if (!globalThis.crypto?.subtle) return false;
    try {
      await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
      return true;
    } catch {
      return false; // NotSupportedError
    }
  })();
  return native;
}

const noble = () => chunk('noble', () => import('./noble.js'));

export async function sha256(bytes: Bytes): Promise<Bytes> {
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return (await noble()).sha256(bytes);
}

/** Generates a key pair whose private key is non-extractable, or a raw seed if the platform does not support Ed25519. */
export async function generateSigningKey(): Promise<{ publicKey: Bytes; privateKey: PrivateKey }> {
  if (!(await hasNativeEd25519())) {
    const seed = randomBytes(32);
    return { publicKey: await (await noble()).publicKeyOf(seed), privateKey: seed };
  }
  const pair = (await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify'])) as CryptoKeyPair;
  return { publicKey: new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)), privateKey: pair.privateKey };
}

/**
 * Imports a raw seed of 32 bytes.
 * @throws ValidationError if the seed is not 32 bytes
 */
export async function importSeed(seed: Bytes): Promise<{ publicKey: Bytes; privateKey: PrivateKey }> {
  if (seed.length !== 32) throw new ValidationError(`a private key must be 32 bytes, got ${seed.length}`);
  if (!(await hasNativeEd25519())) return { publicKey: await (await noble()).publicKeyOf(seed), privateKey: seed };
  const pkcs8 = new Uint8Array([...PKCS8_PREFIX, ...seed]);
  const privateKey = await crypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, true, ['sign']);
  const { x } = await crypto.subtle.exportKey('jwk', privateKey);
  return { publicKey: base64UrlToBytes(x!), privateKey };
}

export async function sign(message: Bytes, key: PrivateKey): Promise<Bytes> {
  // avoids instanceof, because the key may come from another realm
  if (ArrayBuffer.isView(key)) return (await noble()).sign(message, key);
  return new Uint8Array(await crypto.subtle.sign(ALGORITHM, key, message));
}

/**
 * The y coordinates of the small-order points, without the sign bit: 0, 1, p - 1, and two for the points of order 8 (RFC 8032,
 * section 5.1.3).
 */
const SMALL_ORDER = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ec${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);
/** Matches y coordinates of p or more, which are non-canonical encodings of smaller values. */
const NOT_CANONICAL = /^(e[d-f]|f[0-9a-f])(ff){30}7f$/;

/**
 * Whether the bytes are canonically encoded and not of small order; a small-order key accepts forged signatures. Performs no
 * curve arithmetic, so it does not check whether the point is on the curve; see `isStrictPublicKey`.
 */
export function isPlausiblePublicKey(publicKey: Uint8Array): boolean {
  if (publicKey.length !== 32) return false;
  const y = Uint8Array.from(publicKey);
  y[31]! &= 127;
  return !SMALL_ORDER.has(bytesToHex(y)) && !NOT_CANONICAL.test(bytesToHex(y));
}

/**
 * Checks a signature. Never throws for malformed input.
 * @returns false if the signature is invalid or the key is of small order
 * @throws RondevuError `unsupported` if the platform has no Ed25519 and the chunk cannot be loaded
 */
export async function verify(signature: Bytes, message: Bytes, publicKey: Bytes): Promise<boolean> {
  if (!isPlausiblePublicKey(publicKey)) return false;
  const library = (await hasNativeEd25519()) ? undefined : await noble();
  try {
    if (library) return await library.verify(signature, message, publicKey);
    const key = await crypto.subtle.importKey('raw', publicKey, ALGORITHM, false, ['verify']);
    return await crypto.subtle.verify(ALGORITHM, key, signature, message);
  } catch {
    return false;
  }
}

/** The pin of a key: the first 22 characters of base64url(SHA-256(raw key)). */
export const pinOf = async (publicKey: Bytes): Promise<string> => bytesToBase64Url(await sha256(publicKey)).slice(0, 22);

/**
 * Whether a public key may claim a username: it must be 32 bytes, canonically encoded, on the curve, and of large prime order.
 * Small-order keys accept forged signatures. The check takes a few ms, so each key should be checked only once.
 */
export const isStrictPublicKey = async (publicKey: Bytes): Promise<boolean> =>
  publicKey.length === 32 && (await noble()).isStrictKey(publicKey);
