/**
 * Service names (FQN), usernames and version compatibility; see docs/protocol.md, "Names". These functions are pure and shared
 * by client and server.
 */
import { invalidValue, quote } from '../errors.js';

/** `name:version@username`, parsed. */
export interface ServiceName {
  name: string;
  version: string;
  /** Username; missing in names for discovery. */
  username?: string;
  /** Key pin: first 22 characters of base64url(SHA-256(raw key)); part of addresses only, never sent to the server. */
  pin?: string;
}

const USERNAME = /^[a-z0-9](?:[a-z0-9.-]{1,30})[a-z0-9]$/;
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?$/;
const VERSION = /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z.-]{1,64}))?$/;
const PIN = /^[A-Za-z0-9_-]{22}$/;

export const isUsername = (text: unknown): text is string => typeof text === 'string' && USERNAME.test(text);

/** Whether the text has the form of a service id: a lower-case UUID (RFC 9562), as servers generate it. */
export const isServiceId = (text: string): boolean => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);

/** @throws ValidationError */
export function checkUsername(username: unknown, where = 'username'): string {
  if (isUsername(username)) return username;
  throw invalidValue(where, '3 to 32 of a-z 0-9 . -, beginning and ending with a letter or digit', username);
}

/**
 * Parses `name:version[@username][#pin]`.
 * @throws ValidationError that names the invalid part
 */
export function parseServiceName(fqn: unknown, where = 'service name'): ServiceName {
  const text = typeof fqn === 'string' && fqn.length <= 256 ? fqn : '';
  const [, name = '', version = '', username, pin] = /^([^:@#]*):([^@#]*)(?:@([^#]*))?(?:#(.*))?$/.exec(text) ?? [];
  const wrong = (part: string, expected: string) => invalidValue(`${where}${part}`, `${expected}, as in chat:1.0.0@alice`, fqn);
  if (!name && !version) throw wrong('', 'name:MAJOR.MINOR.PATCH[@username]');
  if (!NAME.test(name)) throw wrong(': the name', '1 to 128 of a-z 0-9 . -');
  if (!VERSION.test(version)) throw wrong(': the version', 'MAJOR.MINOR.PATCH');
  if (username !== undefined) checkUsername(username, `${where} ${quote(fqn)}: the username`);
  if (pin !== undefined && !PIN.test(pin)) throw wrong(': the pin after #', '22 characters of base64url');
  return { name, version, ...(username !== undefined && { username }), ...(pin !== undefined && { pin }) };
}

/** Inverse of parseServiceName, without the pin; returns the form that is sent to the server. */
export const formatServiceName = ({ name, version, username }: ServiceName): string =>
  `${name}:${version}${username === undefined ? '' : `@${username}`}`;

/** Compares two versions numerically; a prerelease precedes its release. See Semantic Versioning 2.0, section 11. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parseVersion(a), parseVersion(b)];
  for (let i = 0; i < 3; i++) {
    const difference = left.numbers[i]! - right.numbers[i]!;
    if (difference) return difference;
  }
  if (left.pre === right.pre) return 0;
  if (left.pre === undefined) return 1;
  if (right.pre === undefined) return -1;
  return comparePrerelease(left.pre, right.pre);
}

function comparePrerelease(a: string, b: string): number {
  const [left, right] = [a.split('.'), b.split('.')];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x, y] = [left[i]!, right[i]!];
    if (x === y) continue;
    const [xNumeric, yNumeric] = [/^\d+$/.test(x), /^\d+$/.test(y)];
    if (xNumeric && yNumeric) return Number(x) - Number(y);
    if (xNumeric !== yNumeric) return xNumeric ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return left.length - right.length;
}

/**
 * Whether version `available` of a service satisfies a request for `requested`: same major version, and not older; see
 * docs/protocol.md.
 */
export function isCompatible(available: string, requested: string): boolean {
  const [have, want] = [parseVersion(available), parseVersion(requested)];
  if (have.pre !== undefined || want.pre !== undefined) return available === requested;
  if (have.numbers[0] !== want.numbers[0]) return false;
  if (have.numbers[0] === 0 && have.numbers[1] !== want.numbers[1]) return false;
  return compareVersions(available, requested) >= 0;
}

function parseVersion(version: string): { numbers: number[]; pre: string | undefined } {
  const [, major, minor, patch, pre] = VERSION.exec(version) ?? [];
  if (major === undefined) throw invalidValue('version', 'MAJOR.MINOR.PATCH', version);
  return { numbers: [Number(major), Number(minor), Number(patch)], pre };
}
