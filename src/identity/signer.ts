/**
 * Signer: an identity that can sign, whether or not its private key is exportable. Code outside this folder signs through this
 * interface and never handles a private key.
 */
import { base64ToBytes, bytesToBase64, utf8, type Bytes } from '../base/bytes.js';
import { RondevuError, ValidationError } from '../errors.js';
import { anonymousName } from '../protocol/anonymous.js';
import type { CryptoAdapter, Keypair } from './crypto-adapter.js';
import { generateSigningKey, importSeed, sha256, sign, type PrivateKey } from './ed25519.js';

export interface Signer {
  /** Public key: 32 raw bytes in standard base64. */
  readonly publicKey: string;
  /** Returns the Ed25519 signature of the bytes, 64 bytes long. */
  sign(bytes: Bytes): Promise<Uint8Array>;
  /** Whether `exportKeypair` returns the private key. */
  readonly exportable: boolean;
  /** @throws RondevuError `key-not-exportable` */
  exportKeypair?(): Keypair;
}

export function signerFromKey(publicKey: Bytes, privateKey: PrivateKey): Signer {
  return { publicKey: bytesToBase64(publicKey), sign: (bytes) => sign(bytes, privateKey), exportable: false };
}

/**
 * Creates a signer from a key pair.
 * @throws ValidationError if a key is not 32 bytes in base64, or if the keys do not match
 */
export async function signerFromKeypair(keypair: Keypair, adapter?: CryptoAdapter): Promise<Signer> {
  const seed = decodeKey(keypair?.privateKey, 'keypair.privateKey');
  decodeKey(keypair.publicKey, 'keypair.publicKey');
  const common = { publicKey: keypair.publicKey, exportable: true, exportKeypair: () => ({ ...keypair }) };
  if (adapter) {
    const decoder = new TextDecoder();
    return {
      ...common,
      sign: async (bytes) => base64ToBytes(await adapter.signMessage(decoder.decode(bytes), keypair.privateKey)),
    };
  }
  const { publicKey, privateKey } = await importSeed(seed);
  if (bytesToBase64(publicKey) !== keypair.publicKey)
    throw new ValidationError('keypair.publicKey does not belong to keypair.privateKey');
  return { ...common, sign: (bytes) => sign(bytes, privateKey) };
}

function decodeKey(text: unknown, where: string): Bytes {
  let bytes: Bytes | undefined;
  try {
    bytes = base64ToBytes(text as string);
  } catch {
    // reported below without the value, which may be a secret
  }
  if (bytes?.length !== 32) throw new ValidationError(`${where} must be 32 bytes as standard base64`);
  return bytes;
}

/** Creates a signer with a non-extractable private key, if the platform supports Ed25519. */
export async function generateSigner(): Promise<Signer> {
  const { publicKey, privateKey } = await generateSigningKey();
  return signerFromKey(publicKey, privateKey);
}

/** @throws RondevuError `key-not-exportable` */
export function exportKeypair(signer: Signer): Keypair {
  if (!signer.exportKeypair) {
    throw new RondevuError(
      'key-not-exportable',
      'the private key of this identity cannot be read; if you need it, pass your own keypair',
    );
  }
  return signer.exportKeypair();
}

/** Returns the anonymous name derived from a public key. */
export const anonymousNameOf = async (publicKey: string): Promise<string> =>
  anonymousName(await sha256(base64ToBytes(publicKey)));

/** Signs text; returns base64. */
export const signText = async (signer: Signer, text: string): Promise<string> => bytesToBase64(await signer.sign(utf8(text)));
