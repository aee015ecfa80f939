/**
 * `rondevu keys`: creates, shows, exports and imports the identity in the key file; exports are encrypted with a passphrase.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { base64ToBytes } from '../base/bytes.js';
import { anonymousNameOf, createIdentity, exportIdentity, importIdentity, pinOf, type Signer } from '../identity/index.js';
import { readIdentity, writeIdentity, RondevuError } from '../node/index.js';
import { EXIT, UsageError, defaultKeyFile, printer, type Command, type Values } from './command.js';

/** Prompts for a passphrase without echo, unless RONDEVU_PASSPHRASE is set. */
async function passphrase(twice: boolean): Promise<string> {
  const given = process.env['RONDEVU_PASSPHRASE'];
  if (given !== undefined) return given;
  if (!process.stdin.isTTY) throw new UsageError('a passphrase is required: set RONDEVU_PASSPHRASE, or run this in a terminal');
  const ask = async (question: string): Promise<string> => {
    process.stderr.write(question);
    const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
    const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
    lines.on('SIGINT', () => process.exit(130));
    const answer = await new Promise<string>((resolve, reject) => {
      lines.on('close', () => reject(new UsageError('no passphrase was given')));
      lines.question('', resolve);
    });
    lines.close();
    process.stderr.write('\n');
    return answer;
  };
  const first = await ask('Passphrase (at least 8 characters): ');
  if (twice && (await ask('Repeat the passphrase: ')) !== first) throw new UsageError('the passphrases do not match');
  return first;
}

async function kept(path: string): Promise<Signer> {
  const identity = await readIdentity(path);
  if (!identity) throw new RondevuError('not-found', `there is no key file ${path}. Create one: rondevu keys make`);
  return identity;
}

async function keep(path: string, identity: Signer): Promise<void> {
  if (!(await writeIdentity(path, identity)))
    throw new UsageError(
      `the key file ${path} already exists and is not overwritten: move it away, or choose another with --key-file`,
    );
}

async function printIdentity(identity: Signer, path: string, values: Values): Promise<number> {
  const { publicKey } = identity;
  const [name, pin] = [await anonymousNameOf(publicKey), await pinOf(base64ToBytes(publicKey))];
  printer(values)(
    { event: 'identity', keyFile: path, publicKey, anonymousName: name, pin },
    `key file        ${path}\npublic key      ${publicKey}\nanonymous name  ${name}\npin             ${pin}  (for addresses: chat:1.0.0@you#${pin})`,
  );
  return EXIT.ok;
}

export const keys: Command = {
  summary: 'create, show, export and import your key',
  help: `rondevu keys make | show | export | import [FILE]

Your key is your identity: anyone who has it can impersonate you. It stays in a file that only you can read; no command prints it.

  rondevu keys make                     create a key file
  rondevu keys show                     show its public key, anonymous name and pin
  rondevu keys export > me.txt          export the key, encrypted with a passphrase, to copy it to another machine
  rondevu keys import me.txt            import an exported key; without FILE, from stdin

Prompts for the passphrase, or reads it from RONDEVU_PASSPHRASE.

  -k, --key-file FILE  the key file (RONDEVU_KEY_FILE; default ~/.config/rondevu/identity.json)
      --json           print one JSON object per line, for programs`,
  options: { 'key-file': { type: 'string', short: 'k' }, json: { type: 'boolean' } },
  args: ['make|show|export|import', '[FILE]'],
  async run([action, file], values) {
    const path = String(values['key-file'] ?? defaultKeyFile());
    if (file !== undefined && action !== 'import') throw new UsageError(`keys ${action} takes no file, got "${file}"`);
    switch (action) {
      case 'make': {
        const identity = await createIdentity();
        await keep(path, identity);
        return printIdentity(identity, path, values);
      }
      case 'show':
        return printIdentity(await kept(path), path, values);
      case 'export':
        console.log(await exportIdentity(await kept(path), await passphrase(true)));
        return EXIT.ok;
      case 'import': {
        if (file === undefined && process.stdin.isTTY)
          throw new UsageError('keys import needs a FILE, or an exported key on stdin');
        const text = readFileSync(file ?? 0, 'utf8').trim();
        const identity = await importIdentity(text, await passphrase(false));
        await keep(path, identity);
        return printIdentity(identity, path, values);
      }
      default:
        throw new UsageError(`keys must be make, show, export or import, got ${JSON.stringify(action)}`);
    }
  },
};
