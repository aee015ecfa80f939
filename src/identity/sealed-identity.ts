/**
 * Exports an identity for use on another device, as text encrypted with a passphrase, using PBKDF2 (RFC 8018) with SHA-256 and
 * AES-256-GCM (NIST SP 800-38D). On that device, imports the text and stores the identity in the key store. This module is a
 * separate chunk, because few pages need it.
 */
import { base64ToBytes, bytesToBase64, randomBytes, utf8, type Bytes } from '../base/bytes.js';
import { RondevuError, ValidationError, invalidValue } from '../errors.js';
import { canonicalJson } from '../protocol/json.js';
import { withStore } from './database.js';
import { importSeed } from './ed25519.js';
import { exportKeypair, signerFromKeypair, type Signer } from './signer.js';

/** Number of PBKDF2 iterations, from the OWASP Password Storage Cheat Sheet, 2023. */
const ITERATIONS = 600_000;
/** Accepted range of iteration counts in an imported text: fewer iterations would be weak, and more would block the page. */
const MIN_ITERATIONS = 100_000;
const MAX_ITERATIONS = 10_000_000;
const MIN_PASSPHRASE = 8;

/** All fields except `sealed` are authenticated as additional data of the encryption. */
interface PortableIdentity {
  type: 'rondevu-identity';
  version: 1;
  publicKey: string;
  kdf: 'PBKDF2-SHA256';
  iterations: number;
  salt: string;
  iv: string;
  /** The encrypted private key (32 bytes) and the GCM tag (16 bytes). */
  sealed: string;
}

/**
 * Exports an identity as one line of JSON, encrypted with the passphrase.
 * @param passphrase at least 8 characters
 * @throws RondevuError `key-not-exportable`, `unsupported` if WebCrypto is missing; ValidationError if the passphrase is too
 *   short
 */
export async function exportIdentity(identity: Signer, passphrase: string): Promise<string> {
  const { publicKey, privateKey } = exportKeypair(identity);
  const head = {
    type: 'rondevu-identity',
    version: 1,
    publicKey,
    kdf: 'PBKDF2-SHA256',
    iterations: ITERATIONS,
    salt: bytesToBase64(randomBytes(16)),
    iv: bytesToBase64(randomBytes(12)),
  } satisfies Omit<PortableIdentity, 'sealed'>;
  const { key, algorithm } = await keyOf(head, passphrase);
  const sealed = await crypto.subtle.encrypt(algorithm, key, base64ToBytes(privateKey));
  return JSON.stringify({ ...head, sealed: bytesToBase64(new Uint8Array(sealed)) });
}

/**
 * Imports an identity from the text returned by `exportIdentity`.
 * @throws ValidationError if the text is not from `exportIdentity` or was altered, or if the passphrase is wrong; RondevuError
 *   `unsupported`
 */
export async function importIdentity(text: string, passphrase: string): Promise<Signer> {
  const { sealed, ...head } = parse(text);
  const { key, algorithm } = await keyOf(head, passphrase);
  let seed: ArrayBuffer;
  try {
    seed = await crypto.subtle.decrypt(algorithm, key, base64ToBytes(sealed));
  } catch {
    throw new ValidationError('importIdentity: the passphrase is wrong, or the text was changed');
  }
  return signerFromKeypair({ publicKey: head.publicKey, privateKey: bytesToBase64(new Uint8Array(seed)) });
}

function parse(text: string): PortableIdentity {
  let value: PortableIdentity | undefined;
  try {
    value = JSON.parse(text) as PortableIdentity;
  } catch {
    // reported below
  }
  if (value?.type !== 'rondevu-identity') throw new ValidationError('importIdentity: the text is not from exportIdentity');
  if (value.version !== 1 || value.kdf !== 'PBKDF2-SHA256')
    throw invalidValue('importIdentity: version and kdf', '1 and PBKDF2-SHA256; a newer release may support these', [
      value.version,
      value.kdf,
    ]);
  const { iterations } = value;
  if (!(Number.isInteger(iterations) && iterations >= MIN_ITERATIONS && iterations <= MAX_ITERATIONS))
    throw invalidValue('importIdentity: iterations', `${MIN_ITERATIONS} to ${MAX_ITERATIONS}`, iterations);
  for (const [name, length] of Object.entries({ publicKey: 32, salt: 16, iv: 12, sealed: 48 })) {
    if (lengthOf(value[name as 'salt']) !== length)
      throw new ValidationError(`importIdentity: ${name} must be ${length} bytes as standard base64`);
  }
  return value;
}

function lengthOf(base64: unknown): number | undefined {
  try {
    return base64ToBytes(base64 as string).length;
  } catch {
    return undefined;
  }
}

async function keyOf(
  head: Omit<PortableIdentity, 'sealed'>,
  passphrase: string,
): Promise<{ key: CryptoKey; algorithm: AesGcmParams }> {
  if (typeof passphrase !== 'string' || passphrase.length < MIN_PASSPHRASE)
    throw new ValidationError(`the passphrase must have at least ${MIN_PASSPHRASE} characters`);
  if (!globalThis.crypto?.subtle)
    throw new RondevuError('unsupported', 'WebCrypto is unavailable: open the page over https or on localhost');
  // another device may encode the same passphrase with different code points
  const secret: Bytes = utf8(passphrase.normalize('NFKC'));
  const base = await crypto.subtle.importKey('raw', secret, 'PBKDF2', false, ['deriveKey']);
  const derivation = { name: 'PBKDF2', hash: 'SHA-256', salt: base64ToBytes(head.salt), iterations: head.iterations };
  const key = await crypto.subtle.deriveKey(derivation, base, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
  // additionalData authenticates the other fields of the text
  return { key, algorithm: { name: 'AES-GCM', iv: base64ToBytes(head.iv), additionalData: utf8(canonicalJson(head)) } };
}

/**
 * Stores an identity in this page's key store, replacing any entry with the same name; the key is non-extractable if the
 * platform supports Ed25519. An element with `identity="NAME"` uses the stored key from its next start.
 * @param name name of the entry, as used in the `identity` attribute
 * @throws RondevuError `key-not-exportable`; `unsupported` in a page without storage, `unavailable` if the storage fails
 */
export async function keepIdentity(name: string, identity: Signer): Promise<void> {
  const { publicKey, privateKey } = await importSeed(base64ToBytes(exportKeypair(identity).privateKey));
  const kept = ArrayBuffer.isView(privateKey) ? privateKey : await sealed(privateKey);
  await withStore('keys', 'readwrite', (store) => store.put({ publicKey, privateKey: kept }, name));
}

/** Returns the same key as a non-extractable key. */
const sealed = async (key: CryptoKey): Promise<CryptoKey> =>
  crypto.subtle.importKey('pkcs8', await crypto.subtle.exportKey('pkcs8', key), key.algorithm, false, ['sign']);
