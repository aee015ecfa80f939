/**
 * Ed25519 and SHA-256 for platforms without them: old browsers, and http:// pages, which have no crypto.subtle. This module is
 * loaded as a separate chunk when needed; no other module imports @noble.
 */
import { Point, getPublicKeyAsync, hashes, signAsync, verifyAsync } from '@noble/ed25519';
import { sha256 as nobleSha256, sha512 } from '@noble/hashes/sha2.js';
import type { Bytes } from '../base/bytes.js';

// by default, noble uses crypto.subtle for SHA-512, which may be missing
hashes.sha512Async = async (message) => sha512(message) as Bytes;

export const sha256 = (bytes: Bytes): Bytes => nobleSha256(bytes) as Bytes;
export const sign = (message: Bytes, seed: Bytes): Promise<Bytes> => signAsync(message, seed) as Promise<Bytes>;
export const publicKeyOf = (seed: Bytes): Promise<Bytes> => getPublicKeyAsync(seed) as Promise<Bytes>;
/** `zip215: false` selects the strict verification rules of RFC 8032. */
export const verify = (signature: Bytes, message: Bytes, publicKey: Bytes): Promise<boolean> =>
  verifyAsync(signature, message, publicKey, { zip215: false });

/**
 * Whether a key is a canonically encoded point of the prime-order subgroup, so that it verifies only signatures made by its
 * owner.
 */
export function isStrictKey(publicKey: Bytes): boolean {
  try {
    const point = Point.fromBytes(publicKey, false);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false; // not on the curve, or not canonically encoded
  }
}
