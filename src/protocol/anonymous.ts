/**
 * Self-certifying anonymous names: `anon-` and the first 26 characters of base32(SHA-256(raw public key)). The name proves its
 * key, so the server stores nothing for it. Old clients make up `anon-<base36 ms>-<6 hex>` instead, which is an ordinary name.
 */
import { bytesToBase32 } from '../base/bytes.js';

/** @param keyHash SHA-256 of the 32 raw bytes of the public key */
export const anonymousName = (keyHash: Uint8Array): string => `anon-${bytesToBase32(keyHash).slice(0, 26)}`;

/** Whether a name has the self-certifying form; only then must it match the key. */
export const isAnonymousName = (username: string): boolean => /^anon-[a-z2-7]{26}$/.test(username);
