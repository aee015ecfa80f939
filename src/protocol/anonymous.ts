/**
 * Self-certifying anonymous names: `anon-` followed by the first 26 characters of base32(SHA-256(raw public key)). The key can
 * be verified against the name alone, so the server stores nothing for anonymous names. Old clients generate `anon-<base36
 * ms>-<6 hex>` instead, which is treated as an ordinary username.
 */
import { bytesToBase32 } from '../base/bytes.js';

/** @param keyHash SHA-256 of the 32 raw bytes of the public key */
export const anonymousName = (keyHash: Uint8Array): string => `anon-${bytesToBase32(keyHash).slice(0, 26)}`;

/** Whether a username has the self-certifying form; such a username must match the key. */
export const isAnonymousName = (username: string): boolean => /^anon-[a-z2-7]{26}$/.test(username);
