/**
 * An identity in a file that only its user can read. Its content is never part of a message.
 */
import { link, mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { randomBytes } from 'node:crypto';
import { RondevuError, ValidationError } from '../errors.js';
import { createIdentity, exportKeypair, signerFromKeypair, type Keypair, type Signer } from '../identity/index.js';

/** A key file cannot be read or written. Its code is also that of a server that cannot be reached. */
export class KeyFileError extends RondevuError {}

/**
 * The identity in the file, made there when the file is missing.
 * @throws RondevuError `unavailable` when it cannot be read or written; ValidationError when others may read it, or it holds no identity
 */
export async function identityFromFile(path: string): Promise<Signer> {
  const found = await readIdentity(path);
  if (found) return found;
  const identity = await createIdentity();
  if (await writeIdentity(path, identity)) return identity;
  // another process was faster
  return (await readIdentity(path))!;
}

/** @returns undefined when there is no such file. @throws as identityFromFile */
export async function readIdentity(path: string): Promise<Signer | undefined> {
  let text: string;
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    // of what was opened, wherever a link may point meanwhile
    const { mode, uid } = await file.stat();
    // Windows has no such bits
    if (process.platform !== 'win32' && mode & 0o077)
      throw new ValidationError(`others may read the key file ${path}, or change it. Run: chmod 600 ${path}`);
    if (process.getuid && uid !== process.getuid())
      throw new ValidationError(`the key file ${path} belongs to another user (uid ${uid}, and this is ${process.getuid()})`);
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
    throw new ValidationError(`the key file ${path} holds no identity: ${reason}`);
  }
}

/**
 * Writes an identity, whole or not at all and only where no file is.
 * @returns false when there is one
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
