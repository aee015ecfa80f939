/** Explains errors and their remedies to users of the command line. */
import { RondevuError } from '../node/index.js';
import { KeyFileError } from '../node/key-file.js';

export interface Settings {
  server: string;
  username: string | boolean | undefined;
  /** Path of the key file. */
  keyFile: string;
}

const DOCTOR = 'To find the cause, run: rondevu doctor';

const NAME_REMEDIES = [
  'choose another name: --username NAME',
  'or use the key that holds it: --key-file FILE, or copy it with "rondevu keys export" and "rondevu keys import"',
  'or, while developing, start the server with a fresh store: rondevu serve --storage FILE',
].join('\n');

/** @returns the message, and a remedy if the message alone is not enough */
export function explain(error: Error, { server, username, keyFile }: Settings): { message: string; remedy?: string } {
  const { message } = error;
  switch (error instanceof RondevuError ? error.code : undefined) {
    case 'name-taken':
      return {
        message: `the username "${String(username)}" is taken: on ${server} it belongs to another key than the one in ${keyFile}. A username belongs to the first key that uses it`,
        remedy: NAME_REMEDIES,
      };
    case 'bad-signature':
      // older servers report only an invalid signature if a different key owns the username
      return username !== undefined && message.endsWith(': Invalid signature')
        ? { message, remedy: `If another key holds the username "${String(username)}":\n${NAME_REMEDIES}` }
        : { message };
    case 'forbidden':
      return message.includes('This key holds the username')
        ? {
            message,
            remedy:
              'use that username, or another key: --key-file FILE (if the file does not exist, it is created with a new key)',
          }
        : { message };
    case 'unavailable':
      return error instanceof KeyFileError
        ? { message }
        : {
            message,
            remedy: `Is the server running? Start one with "rondevu serve", or choose another with --server or RONDEVU_SERVER. ${DOCTOR}`,
          };
    case 'timeout':
    case 'closed':
    case 'not-connected':
      return { message, remedy: DOCTOR };
    default:
      return { message };
  }
}
