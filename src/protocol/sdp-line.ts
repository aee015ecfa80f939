/**
 * The SDP line: one session-level attribute in every offer and answer of ours, `a=x-rondevu:<base64url of JCS>`, that says who
 * speaks, what he can, and what of the SDP his signature covers. Pure: text in, text out; signing is for src/identity.
 * docs/protocol.md, "The SDP line".
 */
import { base64UrlToBytes, bytesToBase64Url, utf8, type Bytes } from '../base/bytes.js';
import { ValidationError, mustBe } from '../errors.js';
import { canonicalJson } from './json.js';

/** What of a description decides with whom DTLS is spoken, RFC 8122 and RFC 8839. */
export interface SdpFacts {
  /** The distinct `a=setup` values, sorted, with commas between. */
  setup: string;
  /** The distinct `a=ice-ufrag` values, sorted. */
  ufrag: string[];
  /** The distinct `a=fingerprint` values in lower case, sorted. */
  fp: string[];
}

export interface SdpLine extends SdpFacts {
  v: 1;
  role: 'offer' | 'answer';
  /** `name:version@username` of the service. */
  fqn: string;
  /** The speaker's public key, base64. */
  key: string;
  /** What the speaker can: `durable` for frames on the negotiated channels. */
  caps: string[];
  /** In answers: the session, base64url of 16 bytes. */
  sid?: string;
  /** The speaker's `Rondevu`. */
  inst: string;
  /** In answers: SHA-256 of the offer's `sig` as it stands, base64url. */
  re?: string;
  /** When it was signed, in ms; informative. */
  iat: number;
  /** Ed25519 over `signedBytes`, base64url. */
  sig: string;
}

const PREFIX = 'a=x-rondevu:';

/** What the signature is made over. */
export const signedBytes = ({ sig: _, ...rest }: Omit<SdpLine, 'sig'> & { sig?: string }): Bytes =>
  utf8(`rondevu-sdp-v1\n${canonicalJson(rest)}`);

/** Takes from an SDP, as it is, what the line must agree with. */
export function sdpFacts(sdp: string): SdpFacts {
  const values = (name: string) => [
    ...new Set([...sdp.matchAll(new RegExp(`^a=${name}:(.*?)\\s*$`, 'gm'))].map(([, value]) => value!)),
  ];
  return {
    setup: values('setup').sort().join(),
    ufrag: values('ice-ufrag').sort(),
    fp: [...new Set(values('fingerprint').map((value) => value.toLowerCase()))].sort(),
  };
}

/** Puts the line before the first media section. */
export function writeSdpLine(sdp: string, line: SdpLine): string {
  return sdp.replace(/\r\nm=/, `\r\n${PREFIX}${bytesToBase64Url(utf8(canonicalJson(line)))}\r\nm=`);
}

/**
 * The line of a description; undefined when it has none, as those of old clients.
 * @throws ValidationError for a line that cannot be read, that is not there once, or that says something else than its SDP
 */
export function readSdpLine(sdp: string): SdpLine | undefined {
  const [session = ''] = sdp.split(/\r?\nm=/);
  const found = sdp.match(/^a=x-rondevu:.*$/gm) ?? [];
  if (!found.length) return undefined;
  const lines = session.match(/^a=x-rondevu:[\w-]+(?=\r?$)/gm) ?? [];
  if (found.length > 1 || lines.length !== 1) throw mustBe('the SDP line', 'there once, before the media', found.length);
  let line: SdpLine;
  try {
    line = JSON.parse(new TextDecoder().decode(base64UrlToBytes(lines[0]!.slice(PREFIX.length)))) as SdpLine;
  } catch (cause) {
    throw new ValidationError('the SDP line must be base64url of JSON', { cause });
  }
  const texts = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item === 'string');
  const isValid =
    line?.v === 1 &&
    /^(offer|answer)$/.test(line.role) &&
    [line.fqn, line.key, line.inst, line.sig, line.setup].every((value) => typeof value === 'string') &&
    [line.sid, line.re].every((value) => value === undefined || typeof value === 'string') &&
    [line.caps, line.ufrag, line.fp].every(texts);
  if (!isValid) throw new ValidationError('the SDP line lacks a field, or has one of another type');
  const facts = sdpFacts(sdp);
  for (const name of ['setup', 'ufrag', 'fp'] as const) {
    if (String(facts[name]) !== String(line[name]) || !facts[name].length)
      throw mustBe(`${name} in the SDP line`, String(facts[name]), String(line[name]));
  }
  return line;
}
