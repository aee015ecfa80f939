/** Makes identities and carries them to another device. The sealing is a chunk of its own. */
import { chunk } from '../base/chunk.js';
import { generateKeypair } from './crypto-adapter.js';
import { generateSigner, signerFromKeypair, type Signer } from './signer.js';

const sealing = () => chunk('sealed-identity', () => import('./sealed-identity.js'));

/**
 * A fresh identity.
 * @param options.exportable whether its private key can be read. Default true; without, it lasts as long as this object, or as its key store does
 */
export async function createIdentity({ exportable = true }: { exportable?: boolean } = {}): Promise<Signer> {
  return exportable ? signerFromKeypair(await generateKeypair()) : generateSigner();
}

/**
 * The identity as one line of JSON that only the passphrase opens.
 * @param passphrase at least 8 characters
 * @throws RondevuError `key-not-exportable`, `unsupported` where there is no WebCrypto or the chunk cannot be loaded;
 *   ValidationError for a short passphrase
 */
export async function exportIdentity(identity: Signer, passphrase: string): Promise<string> {
  return (await sealing()).exportIdentity(identity, passphrase);
}

/**
 * The identity of a text that `exportIdentity` made.
 * @throws ValidationError for another text, a wrong passphrase, or one that was changed; RondevuError `unsupported`
 */
export async function importIdentity(text: string, passphrase: string): Promise<Signer> {
  return (await sealing()).importIdentity(text, passphrase);
}

/**
 * Keeps an identity in the key store of this page, in place of the one with the same name, in a form that cannot be read where the
 * platform has Ed25519. An element with `identity="NAME"` has this key from its next start.
 * @param name of the entry, as the attribute `identity` has it
 * @throws RondevuError `key-not-exportable`; `unsupported` in a page without storage, `unavailable` when the storage is there and fails
 */
export async function keepIdentity(name: string, identity: Signer): Promise<void> {
  return (await sealing()).keepIdentity(name, identity);
}
