/** Creates identities and transfers them to another device. The encryption is in a separate chunk. */
import { chunk } from '../base/chunk.js';
import { generateKeypair } from './crypto-adapter.js';
import { generateSigner, signerFromKeypair, type Signer } from './signer.js';

const sealing = () => chunk('sealed-identity', () => import('./sealed-identity.js'));

/**
 * Creates an identity.
 * @param options.exportable whether its private key can be read. Default true; if false, the identity lasts as long as this
 *   object or its key store
 */
export async function createIdentity({ exportable = true }: { exportable?: boolean } = {}): Promise<Signer> {
  return exportable ? signerFromKeypair(await generateKeypair()) : generateSigner();
}

/**
 * Exports an identity as one line of JSON, encrypted with the passphrase.
 * @param passphrase at least 8 characters
 * @throws RondevuError `key-not-exportable`, `unsupported` without WebCrypto or if the chunk cannot be loaded;
 *   ValidationError for a short passphrase
 */
export async function exportIdentity(identity: Signer, passphrase: string): Promise<string> {
  return (await sealing()).exportIdentity(identity, passphrase);
}

/**
 * Imports an identity from the text returned by `exportIdentity`.
 * @throws ValidationError if the text is not from `exportIdentity` or was altered, or if the passphrase is wrong; RondevuError
 *   `unsupported`
 */
export async function importIdentity(text: string, passphrase: string): Promise<Signer> {
  return (await sealing()).importIdentity(text, passphrase);
}

/**
 * Stores an identity in the key store of this page, replacing one with the same name; non-extractable if the platform has
 * Ed25519. An element with `identity="NAME"` uses this key from its next start.
 * @param name name of the entry, as in the attribute `identity`
 * @throws RondevuError `key-not-exportable`; `unsupported` in a page without storage, `unavailable` if the storage fails
 */
export async function keepIdentity(name: string, identity: Signer): Promise<void> {
  return (await sealing()).keepIdentity(name, identity);
}
