/**
 * The owner of stored data. A username may pass to a different key, so data that outlives one call is never stored under a
 * username alone but under a principal: the username and the public key that holds it.
 */
import { isAnonymousName } from 'rondevu-elements/protocol';

/** `username publicKey`, or the username alone if it is anonymous, because an anonymous name is the hash of its public key. */
export type Principal = string;

export interface NameHolder {
  username: string;
  /** 32 bytes, standard base64. */
  publicKey: string;
}

export const principalOf = ({ username, publicKey }: NameHolder): Principal =>
  isAnonymousName(username) ? username : `${username} ${publicKey}`;

export const usernameOf = (principal: Principal): string => principal.split(' ', 1)[0]!;

/** Public key of a principal; undefined for an anonymous name. */
export const keyOf = (principal: Principal): string | undefined => principal.split(' ')[1];
