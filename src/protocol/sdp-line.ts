/**
 * The SDP line: one session-level attribute in every offer and answer of this version, `a=x-rondevu:<base64url of JCS>`. The
 * SDP line names the author of the description and the author's capabilities, and carries a signature over the parts of the
 * description that determine the DTLS peer. This module only reads and writes text; src/identity signs it. See
 * docs/protocol.md, "The SDP line".
 */
import { base64UrlToBytes, bytesToBase64Url, utf8, type Bytes } from '../base/bytes.js';
import { ValidationError, invalidValue } from '../errors.js';
import { canonicalJson } from './json.js';
import { parseSdp, type SdpDescription, type SdpFacts } from './sdp.js';

export interface SdpLine extends SdpFacts {
  v: 1;
  role: 'offer' | 'answer';
  /** `name:version@username` of the service. */
  fqn: string;
  /** The signer's public key, base64. */
  key: string;
  /** Capabilities of the signer; `durable` means that it sends and accepts frames on the negotiated channels. */
  caps: string[];
  /** In answers: the session id, base64url of 16 bytes. */
  sid?: string;
  /** Instance id of the signer. */
  inst: string;
  /** Kinds of the media sections, in order; omitted if the only section is for data. */
  media?: string[];
  /** In answers: SHA-256 of the offer's `sig` string, base64url. */
  re?: string;
  /** Time of signing, in ms; informational only. */
  iat: number;
  /** Ed25519 over `signedBytes`, base64url. */
  sig: string;
}

const PREFIX = 'a=x-rondevu:';
const DATA_ONLY = ['application'];

/** Returns the bytes covered by the signature. */
export const signedBytes = ({ sig: _, ...rest }: Omit<SdpLine, 'sig'> & { sig?: string }): Bytes =>
  utf8(`rondevu-sdp-v1\n${canonicalJson(rest)}`);

/** Returns the fields of an SDP line that must match its description. */
export function signedFacts({ setup, ufrag, fp, media }: SdpDescription): Pick<SdpLine, 'setup' | 'ufrag' | 'fp' | 'media'> {
  return { setup, ufrag, fp, ...(String(media) !== String(DATA_ONLY) && { media }) };
}

/** Inserts the SDP line before the first media section. */
export function writeSdpLine(sdp: string, line: SdpLine): string {
  return sdp.replace(/\r\nm=/, `\r\n${PREFIX}${bytesToBase64Url(utf8(canonicalJson(line)))}\r\nm=`);
}

/**
 * Reads the SDP line of a description; returns undefined if there is no SDP line, as in descriptions from old clients.
 * @throws ValidationError if the description violates the grammar (see `parseSdp`), or if the SDP line cannot be parsed, is not
 *   canonical or disagrees with its description
 */
export function readSdpLine(sdp: string): SdpLine | undefined {
  const description = parseSdp(sdp);
  const { proof } = description;
  if (proof === undefined) return undefined;
  let line: SdpLine;
  let canonical: string;
  try {
    line = JSON.parse(new TextDecoder().decode(base64UrlToBytes(proof))) as SdpLine;
    canonical = bytesToBase64Url(utf8(canonicalJson(line)));
  } catch (cause) {
    throw new ValidationError('the SDP line must be base64url of JSON', { cause });
  }
  // requires canonical JSON, because parsers might interpret duplicate names or alternative spellings differently
  if (canonical !== proof) throw new ValidationError('the SDP line must be canonical JSON (RFC 8785) in base64url');
  const texts = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item === 'string');
  const isValid =
    line?.v === 1 &&
    (line.role === 'offer' || line.role === 'answer') &&
    [line.fqn, line.key, line.inst, line.sig, line.setup].every((value) => typeof value === 'string') &&
    [line.sid, line.re].every((value) => value === undefined || typeof value === 'string') &&
    [line.caps, line.ufrag, line.fp].every(texts);
  if (!isValid) throw new ValidationError('the SDP line lacks a field or has one of the wrong type');
  const facts = signedFacts(description);
  for (const name of ['setup', 'ufrag', 'fp', 'media'] as const) {
    const [expected, got] = [facts[name], line[name]].map((value) => canonicalJson(value ?? DATA_ONLY));
    if (expected !== got) throw invalidValue(`${name} in the SDP line`, expected!, line[name]);
  }
  return line;
}
