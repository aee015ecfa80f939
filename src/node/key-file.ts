/**
 * Stores an identity in a file that only its owner can read. The content of the file never appears in an error message.
 */
import { link, mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { randomBytes } from 'node:crypto';
import { RondevuError, ValidationError } from '../errors.js';
import { createIdentity, exportKeypair, signerFromKeypair, type Keypair, type Signer } from '../identity/index.js';

/**
 * Indicates that a key file cannot be read or written. This is a separate class, because an unreachable server has the same
 * error code.
 */
export class KeyFileError extends RondevuError {
  override name = 'KeyFileError';
}

/**
 * Reads the identity from the file; creates the file with a new identity if it does not exist.
 * @throws RondevuError `unavailable` if the file cannot be read or written; ValidationError if other users may read the file,
 *   or if it contains no identity
 */
export async function identityFromFile(path: string): Promise<Signer> {
  const found = await readIdentity(path);
  if (found) return found;
  const identity = await createIdentity();
  if (await writeIdentity(path, identity)) return identity;
  // another process was faster
  return (await readIdentity(path))!;
}

/** @returns the identity, or undefined if the file does not exist. @throws like identityFromFile */
export async function readIdentity(path: string): Promise<Signer | undefined> {
  let text: string;
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    // checks the opened file itself, in case the path is a link that has changed in the meantime
    const { mode, uid } = await file.stat();
    // Windows has no POSIX permission bits
    if (process.platform !== 'win32' && mode & 0o077)
      throw new ValidationError(`other users may read or change the key file ${path}. Run: chmod 600 ${path}`);
    if (process.getuid && uid !== process.getuid())
      throw new ValidationError(`the key file ${path} belongs to another user (uid ${uid}, not ${process.getuid()})`);
    text = await file.readFile('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error instanceof ValidationError ? error : unusable('read', path, error);
  } finally {
    await file?.close();
  }
  let keypair: Keypair;
  try {
    keypair = JSON.parse(text) as Keypair;
    return await signerFromKeypair(keypair);
  } catch (error) {
    const reason = error instanceof ValidationError ? error.message : 'it is not the JSON that `rondevu keys make` writes';
    throw new ValidationError(`the key file ${path} contains no identity: ${reason}`);
  }
}

/**
 * Writes an identity atomically, and only if the file does not exist.
 * @returns false if the file already exists
 * @throws RondevuError `unavailable`, `key-not-exportable`
 */
export async function writeIdentity(path: string, identity: Signer): Promise<boolean> {
  const { publicKey, privateKey } = exportKeypair(identity);
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ publicKey, privateKey }, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw unusable('written', path, error);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

const unusable = (verb: string, path: string, cause: unknown): KeyFileError =>
  new KeyFileError('unavailable', `the key file ${path} cannot be ${verb}: ${(cause as Error).message}`, { cause });
