/**
 * HandshakeProof: signs local descriptions, and verifies remote descriptions before any of their content is used. The DTLS
 * handshake then proves that the peer holds the signing key. See docs/protocol.md, "The SDP line", and docs/security.md.
 */
import { base64ToBytes, base64UrlToBytes, bytesToBase64Url, utf8 } from '../base/bytes.js';
import { RondevuError } from '../errors.js';
import { isAnonymousName } from '../protocol/anonymous.js';
import { parseSdp } from '../protocol/sdp.js';
import { readSdpLine, signedBytes, signedFacts, writeSdpLine, type SdpLine } from '../protocol/sdp-line.js';
import { pinOf, sha256, verify } from './ed25519.js';
import { IdentityChangedError, type PinStore } from './pins.js';
import { anonymousNameOf, type Signer } from './signer.js';

/** Identity of the peer. */
export interface Peer {
  readonly username: string;
  /** Public key, base64; absent if neither the peer nor the server reported a key. */
  readonly publicKey?: string | undefined;
  /** Whether the peer proved possession of the key during the handshake. */
  readonly verified: boolean;
  /** Whether the key matches a pin, either stored from an earlier connection or given in the address. */
  readonly pinned: boolean;
}

/** Expected properties of a description. @internal */
export interface Expected {
  role: 'offer' | 'answer';
  fqn: string;
  username: string;
  /** The key that the server reports for the username; undefined if it reports no key. */
  key: string | undefined;
  /** For answers: the `sig` of the local offer. */
  offerSig?: string | undefined;
  /** The pin from the service address. */
  pin?: string | undefined;
}

/** @internal */
export class HandshakeProof {
  readonly #signer: Signer;
  readonly #instance: string;
  readonly #aud: string;
  readonly #pins: PinStore;

  constructor(signer: Signer, instance: string, aud: string, pins: PinStore) {
    this.#signer = signer;
    this.#instance = instance;
    this.#aud = aud;
    this.#pins = pins;
  }

  /**
   * Signs a local description.
   * @returns the description with the SDP line added, and the signature in base64url
   * @throws ValidationError if other peers would refuse the description (see `parseSdp`)
   */
  async seal(
    sdp: string,
    fields: Pick<SdpLine, 'role' | 'fqn' | 'caps'> & { sid?: string; offerSig?: string },
  ): Promise<{ sdp: string; sig: string }> {
    const { offerSig, ...rest } = fields;
    const line = {
      v: 1 as const,
      ...rest,
      ...(offerSig !== undefined && { re: await hashOf(offerSig) }),
      key: this.#signer.publicKey,
      inst: this.#instance,
      ...signedFacts(parseSdp(sdp)),
      iat: Date.now(),
    };
    const sig = bytesToBase64Url(await this.#signer.sign(signedBytes(line)));
    return { sdp: writeSdpLine(sdp, { ...line, sig }), sig };
  }

  /**
   * Verifies the author of a description. A description without an SDP line comes from an old client; its author is unverified,
   * and is refused if a pin is known for the username.
   * @throws RondevuError `unverified` for a missing or invalid proof, `identity-mismatch` if the server reports a different
   *   key, IdentityChangedError if the key differs from a pin
   */
  async open(sdp: string, expected: Expected): Promise<{ peer: Peer; line?: SdpLine }> {
    const { username, key, pin } = expected;
    const stored = await this.#pins.get(this.#pinName(username));
    let line: SdpLine | undefined;
    try {
      line = readSdpLine(sdp);
      if (line) await check(line, expected);
    } catch (cause) {
      if (cause instanceof RondevuError && cause.code === 'identity-mismatch') throw cause;
      throw unverified(username, (cause as Error).message, cause);
    }
    const shown = line?.key;
    if (!line || shown === undefined) {
      if (pin !== undefined || stored !== undefined) throw unverified(username, 'no proof, but the key is pinned');
      // old clients generate anonymous names in a different format
      if (isAnonymousName(username)) throw unverified(username, 'no proof, but the name is derived from a key');
      return { peer: { username, publicKey: key, verified: false, pinned: false } };
    }
    // a pin in the address takes precedence over a stored pin
    if (pin !== undefined && pin !== (await pinOf(base64ToBytes(shown)))) throw new IdentityChangedError(username, pin, shown);
    if (pin === undefined && stored !== undefined && stored !== shown) throw new IdentityChangedError(username, stored, shown);
    const pinned = pin !== undefined || stored !== undefined;
    return { peer: { username, publicKey: shown, verified: true, pinned }, line };
  }

  /** Pins the key of a verified peer on first use; anonymous names need no pin, because they are derived from the key. */
  async remember({ username, publicKey, verified, pinned }: Peer): Promise<void> {
    if (verified && !pinned && publicKey && !isAnonymousName(username)) await this.trust(username, publicKey);
  }

  /** Pins a key to a name, replacing any earlier pin. */
  trust(username: string, publicKey: string): Promise<void> {
    return this.#pins.set(this.#pinName(username), publicKey);
  }

  #pinName(username: string): string {
    return `${this.#aud}/${username}`;
  }
}

const hashOf = async (text: string): Promise<string> => bytesToBase64Url(await sha256(utf8(text)));

const unverified = (username: string, why: string, cause?: unknown): RondevuError =>
  new RondevuError('unverified', `${username} could not be verified: ${why}`, { cause });

/** @throws RondevuError that states the mismatch */
async function check(line: SdpLine, { role, fqn, username, key, offerSig }: Expected): Promise<void> {
  if (line.role !== role) throw new RondevuError('unverified', `the description is an ${line.role}`);
  if (line.fqn !== fqn) throw new RondevuError('unverified', `the description is for ${line.fqn}`);
  if (role === 'answer' && (offerSig === undefined || line.re !== (await hashOf(offerSig))))
    throw new RondevuError('unverified', 'the answer belongs to another offer');
  if (key !== undefined && line.key !== key)
    throw new RondevuError('identity-mismatch', `${username} presented key ${line.key}, but the server reports ${key}`);
  if (isAnonymousName(username) && username !== (await anonymousNameOf(line.key)))
    throw new RondevuError('identity-mismatch', `${username} does not belong to the key ${line.key}`);
  if (!(await verify(base64UrlToBytes(line.sig), signedBytes(line), base64ToBytes(line.key))))
    throw new RondevuError('unverified', 'the signature is invalid');
}
