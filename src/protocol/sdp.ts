/**
 * Parses session descriptions (RFC 8866) with one strict grammar before any other code uses them. Platform parsers are lenient
 * in different ways: Firefox accepts `a=FINGERPRINT:` as a fingerprint, but Chromium does not. Only descriptions that every
 * parser reads identically are accepted, so that the verified values are the values that the platform uses. Pure.
 */
import { ValidationError, invalidValue } from '../errors.js';
import type { WireCandidate } from './rpc.js';

/** Maximum length of a description, in characters. */
export const MAX_SDP_LENGTH = 131_072;
/** Maximum number of lines in a description. */
export const MAX_SDP_LINES = 4096;
/** Maximum number of candidates accepted from the peer for one link or ICE restart; each costs connectivity checks. */
export const MAX_CANDIDATES = 128;
/** Maximum number of media sections in a description; the platform has to set up each of them. */
export const MAX_SECTIONS = 64;
/** The parts of a description that determine the DTLS peer (RFC 8122, RFC 8839, RFC 8842). */
export interface SdpFacts {
  /** The `a=setup` value. */
  setup: string;
  /** The `a=ice-ufrag` values; only one is allowed, because the sections share one transport (RFC 8843). */
  ufrag: string[];
  /** The `a=fingerprint` values in lower case, sorted; one per hash function. */
  fp: string[];
}

/** A description that satisfies the grammar. */
export interface SdpDescription extends SdpFacts {
  /** Kinds of the media sections, in order; `['application']` if there is only data. */
  media: string[];
  /** The value of `a=x-rondevu`, if there is one. */
  proof: string | undefined;
}

const hex = (bytes: number): string => `(?:[0-9A-Fa-f]{2}:){${bytes - 1}}[0-9A-Fa-f]{2}`;
const OCTET = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const IPV4 = `${OCTET}(?:\\.${OCTET}){3}`;
/**
 * An IP address, or an mDNS name in the form that browsers generate: with other names, the peer could choose which hosts this
 * client resolves.
 */
const ADDRESS = String.raw`(?:${IPV4}|[\da-f]{0,4}:[\da-f:]{1,40}(?:${IPV4})?(?:%[\w.-]{1,16})?|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\.local)`;
const CANDIDATE = new RegExp(
  String.raw`^candidate:[\w+/-]{1,64} \d{1,5} (?:udp|tcp|ssltcp) \d{1,10} ${ADDRESS} \d{1,5} typ [a-z]{1,16}(?: [\x21-\x7e]+ [\x21-\x7e]+)*$`,
  'i',
);
const MAX_CANDIDATE_LENGTH = 1024;

/** Attributes that determine the peer or limit its messages, with the patterns of their values. */
const STRICT: Record<string, RegExp> = {
  fingerprint: new RegExp(`^sha-(?:256 ${hex(32)}|384 ${hex(48)}|512 ${hex(64)})$`),
  setup: /^(?:actpass|active|passive)$/,
  'ice-ufrag': /^[A-Za-z\d+/]{4,256}$/,
  'ice-pwd': /^[A-Za-z\d+/]{22,256}$/,
  candidate: /^/,
  'sctp-port': /^\d{1,5}$/,
  // 0 means any size (RFC 8841); frames smaller than 1000 bytes would be wasteful
  'max-message-size': /^(?:0|\d{4,10})$/,
  'x-rondevu': /^[\w-]+$/,
};
/** Attributes allowed only at session level or only at media level. */
const SESSION_ONLY = /^x-rondevu$/;
const MEDIA_ONLY = /^(?:candidate|sctp-port|max-message-size)$/;
/**
 * Refused attributes: other mechanisms for keys and identities, which no peer uses, and names that begin with a strict name,
 * because some parsers compare only the prefix.
 */
const REFUSED = new RegExp(`^(?:crypto|identity|key-mgmt|${Object.keys(STRICT).join('|')})`);
const SECTION =
  /^(application) \d{1,5} (?:UDP|TCP)\/DTLS\/SCTP webrtc-datachannel$|^(audio|video) \d{1,5} [A-Z]+(?:\/[A-Z]+)* \d[\d ]*$/;

/**
 * Reads a description.
 * @throws ValidationError, quoting the line, for anything that two parsers might read differently
 */
export function parseSdp(sdp: string): SdpDescription {
  const lines = sdp.length > MAX_SDP_LENGTH ? [] : sdp.split('\r\n', MAX_SDP_LINES + 1);
  if (lines.pop() !== '')
    throw invalidValue(
      'a description',
      `at most ${MAX_SDP_LENGTH} characters in ${MAX_SDP_LINES} lines that end with CR LF`,
      sdp,
    );
  const media: string[] = [];
  const values: Record<string, Set<string>> = { fingerprint: new Set(), setup: new Set(), 'ice-ufrag': new Set() };
  let proof: string | undefined;
  let candidates = 0;
  /** Strict attributes at session level, and all strict attributes that apply to the current section. */
  let sessionNames: Set<string> | undefined;
  let seen = new Set<string>();
  for (const [index, line] of lines.entries()) {
    const must = (isValid: unknown, expected: string) => {
      if (!isValid) throw invalidValue(`line ${index + 1} of a description`, expected, line);
    };
    const [, type = '', value = ''] = /^([a-z])=([\x20-\x7e]*)$/.exec(line) ?? [];
    // v, o and s are required once, as the first lines; the other types are allowed at the levels that RFC 8866 specifies
    const types = index < 3 ? 'vos'[index]! : media.length ? 'micbka' : 'miuepcbtrzka';
    must(type && types.includes(type) && (type !== 'v' || value === '0'), `one of "${types}", "=", and printable ASCII`);
    if (type === 'm') {
      const [, data, other] = SECTION.exec(value) ?? [];
      must(data ? !media.includes(data) : other, 'a media section of audio or video, or the one for data over DTLS');
      must(media.length < MAX_SECTIONS, `one of at most ${MAX_SECTIONS} media sections`);
      media.push(data ?? other!);
      seen = new Set((sessionNames ??= seen));
    }
    if (type !== 'a') continue;
    const [, name = '', colon, text = ''] = /^([a-z0-9-]+)(?:(:)(.*))?$/.exec(value) ?? [];
    const rule = Object.hasOwn(STRICT, name) && STRICT[name];
    must(name && (rule || !REFUSED.test(name)), 'an attribute with a plain name');
    if (!rule) continue;
    must(colon && rule.test(text), `a well-formed ${name}`);
    must(!(media.length ? SESSION_ONLY : MEDIA_ONLY).test(name), `an attribute that is allowed at this level`);
    if (name === 'candidate') {
      must(++candidates <= MAX_CANDIDATES && isCandidate(value), `one of at most ${MAX_CANDIDATES} candidates (RFC 8839)`);
      continue;
    }
    // several fingerprints are allowed for one certificate, each with a different hash function
    const once = name + /^sha-\d+/.exec(text);
    must(!seen.has(once), `${name} once, for the session or in a media section`);
    seen.add(once);
    if (name === 'x-rondevu') proof = text;
    values[name]?.add(name === 'fingerprint' ? text.toLowerCase() : text);
  }
  const [fp, setup, ufrag] = Object.values(values).map((set) => [...set].sort()) as [string[], string[], string[]];
  const hashes = new Set(fp.map((value) => value.slice(0, 7)));
  if (!media.length || ufrag.length !== 1 || setup.length !== 1 || !fp.length || hashes.size < fp.length)
    throw new ValidationError(
      'a description must have media sections with one ice-ufrag, one setup, and one fingerprint for each hash',
    );
  return { media, proof, setup: setup[0]!, ufrag, fp };
}

/**
 * Whether a candidate attribute is well-formed (RFC 8839, section 5.1); it must be a single line, because parsers disagree
 * about multiple lines.
 */
export const isCandidate = (text: string): boolean => text.length <= MAX_CANDIDATE_LENGTH && CANDIDATE.test(text);

/**
 * Separates the candidates (RFC 8839, section 5.1) from a valid description, so that they can be added later: a peer starts
 * connecting as soon as it has candidates.
 */
export function splitCandidates(sdp: string): { sdp: string; candidates: WireCandidate[] } {
  const candidates: WireCandidate[] = [];
  let sdpMLineIndex = -1;
  const rest = sdp.split('\r\n').filter((line) => {
    if (line.startsWith('m=')) sdpMLineIndex++;
    const isCandidateLine = line.startsWith('a=candidate:');
    if (isCandidateLine) candidates.push({ candidate: line.slice(2), sdpMLineIndex });
    return !isCandidateLine && line !== 'a=end-of-candidates';
  });
  return { sdp: rest.join('\r\n'), candidates };
}
