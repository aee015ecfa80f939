/** Creates identities and transfers them between devices. The encryption code is loaded as a separate chunk. */
import { chunk } from '../base/chunk.js';
import { generateKeypair } from './crypto-adapter.js';
import { generateSigner, signerFromKeypair, type Signer } from './signer.js';

const sealing = () => chunk('sealed-identity', () => import('./sealed-identity.js'));

/**
 * Creates an identity.
 * @param options.exportable whether the private key can be exported. Default true; if false, the identity lasts only as long as
 *   this object or its key-store entry
 */
export async function createIdentity({ exportable = true }: { exportable?: boolean } = {}): Promise<Signer> {
  return exportable ? signerFromKeypair(await generateKeypair()) : generateSigner();
}

/**
 * Exports an identity as one line of JSON, encrypted with the passphrase.
 * @param passphrase at least 8 characters
 * @throws RondevuError `key-not-exportable`, `unsupported` if WebCrypto is missing or the chunk cannot be loaded;
 *   ValidationError if the passphrase is too short
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
 * Stores an identity in this page's key store, replacing any entry with the same name; the key is non-extractable if the
 * platform supports Ed25519. An element with `identity="NAME"` uses the stored key from its next start.
 * @param name name of the entry, as used in the `identity` attribute
 * @throws RondevuError `key-not-exportable`; `unsupported` in a page without storage, `unavailable` if the storage fails
 */
export async function keepIdentity(name: string, identity: Signer): Promise<void> {
  return (await sealing()).keepIdentity(name, identity);
}
