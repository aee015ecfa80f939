/**
 * CryptoAdapter, an interface that applications may implement, and its built-in implementation for all platforms.
 */
import { base64ToBytes, bytesToBase64, randomBytes, utf8, type Bytes } from '../base/bytes.js';
import { importSeed, sign, verify } from './ed25519.js';

/** A key pair; each key is 32 raw bytes in standard base64. */
export interface Keypair {
  publicKey: string;
  privateKey: string;
}

export interface CryptoAdapter {
  generateKeypair(): Promise<Keypair>;
  /** Signs the UTF-8 encoding of the message; the signature is in standard base64. */
  signMessage(message: string, privateKeyBase64: string): Promise<string>;
  verifySignature(message: string, signatureBase64: string, publicKeyBase64: string): Promise<boolean>;
  bytesToBase64(bytes: Uint8Array): string;
  base64ToBytes(base64: string): Uint8Array;
  randomBytes(length: number): Uint8Array;
}

/** Generates a key pair with an exportable private key. */
export async function generateKeypair(): Promise<Keypair> {
  const seed = randomBytes(32);
  const { publicKey } = await importSeed(seed);
  return { publicKey: bytesToBase64(publicKey), privateKey: bytesToBase64(seed) };
}

/** CryptoAdapter based on `globalThis.crypto`, which browsers and Node share; falls back to noble if Ed25519 is missing. */
export class WebCryptoAdapter implements CryptoAdapter {
  generateKeypair(): Promise<Keypair> {
    return generateKeypair();
  }

  /** @throws ValidationError if the key is not 32 bytes */
  async signMessage(message: string, privateKeyBase64: string): Promise<string> {
    const { privateKey } = await importSeed(base64ToBytes(privateKeyBase64));
    return bytesToBase64(await sign(utf8(message), privateKey));
  }

  async verifySignature(message: string, signatureBase64: string, publicKeyBase64: string): Promise<boolean> {
    let signature: Bytes, publicKey: Bytes;
    try {
      [signature, publicKey] = [base64ToBytes(signatureBase64), base64ToBytes(publicKeyBase64)];
    } catch {
      return false; // not base64
    }
    return verify(signature, utf8(message), publicKey);
  }

  bytesToBase64(bytes: Uint8Array): string {
    return bytesToBase64(bytes);
  }

  base64ToBytes(base64: string): Uint8Array {
    return base64ToBytes(base64);
  }

  randomBytes(length: number): Uint8Array {
    return randomBytes(length);
  }
}

/** Alias of `WebCryptoAdapter` for Node. */
export { WebCryptoAdapter as NodeCryptoAdapter };
