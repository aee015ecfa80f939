/**
 * Renegotiation: the ICE restart of one link (RFC 8838, RFC 8829 section 5.3.2), asked for when a path is suspect. The original
 * offerer makes the offer, always: the other order fails against Firefox. Descriptions go over the control channel and over
 * the server, and the first to arrive counts. docs/delivery.md, "The ladder".
 */
import { RateLimit } from '../base/rate-limit.js';
import type { HandshakeProof, Peer } from '../identity/handshake-proof.js';
import { MAX_TEXT } from './control-channel.js';
import type { Link } from './link.js';
import { WebRtcLink } from './webrtc-link.js';

/** Who talks to whom about which link. */
export interface Negotiators {
  link: WebRtcLink;
  /** Whether this side made the link's first offer. */
  isOfferer: boolean;
  fqn: string;
  sid: string;
  peer: Peer;
  proof: HandshakeProof;
  /** Over the server; lost when that cannot be reached. */
  signal(text: string): void;
}

/** How a description is told from the other words on the control channel. */
const SDP = 'sdp ';
const ASK = 'restart?';
/** How long is gathered, in ms: host candidates are there in a few, and without any candidate it is worth to wait for a relay. */
const GATHERING = 500;
const FIRST_CANDIDATE = 5000;
/** How many descriptions are remembered, so that the second copy of one is not taken for another. */
const REMEMBERED = 16;
/** How often the peer may ask for a restart: its request comes over two paths, and each one costs a message to the server. */
const ASKED = { burst: 1, perSecond: 0.5 };
/** How many descriptions of the peer are looked at: each one costs a signature check. */
const DESCRIPTIONS = { burst: 10, perSecond: 1 };
/** How often and how many times is looked whether ICE has found a new pair; in ms. */
const LOOK_EVERY = 200;
const LOOKS = 25;

export class Renegotiation {
  readonly #between: Negotiators;
  /** The signature of our offer that has no answer yet. */
  #offerSig: string | undefined;
  /** The last descriptions that came: each comes over two paths. */
  readonly #seen = new Set<string>();
  /** The one to take next; a newer one replaces it. */
  #pending: string | undefined;
  readonly #asked = new RateLimit(ASKED.burst, ASKED.perSecond);
  readonly #descriptions = new RateLimit(DESCRIPTIONS.burst, DESCRIPTIONS.perSecond);
  #running: Promise<void> = Promise.resolve();

  constructor(between: Negotiators) {
    this.#between = between;
  }

  /** The path is suspect. */
  begin(): Promise<void> {
    if (!this.#between.isOfferer) return Promise.resolve(this.#send(ASK));
    return this.#inTurn(() => this.#offer());
  }

  /** What the other side says; nothing happens for what does not concern us. */
  receive(text: string): Promise<void> {
    const nothing = Promise.resolve();
    if (text === ASK) return this.#between.isOfferer && this.#asked.take() ? this.begin() : nothing;
    const isNew = text.startsWith(SDP) && text.length <= MAX_TEXT && !this.#seen.has(text);
    if (!isNew || !this.#descriptions.take()) return nothing;
    this.#seen.add(text);
    while (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value!);
    const isWaiting = this.#pending !== undefined;
    this.#pending = text.slice(SDP.length);
    return isWaiting ? nothing : this.#inTurn(() => this.#takePending());
  }

  #takePending(): Promise<void> {
    const sdp = this.#pending!;
    this.#pending = undefined;
    return this.#take(sdp);
  }

  /** One after the other; one that fails changes nothing, the next step of the ladder follows. */
  #inTurn(step: () => Promise<void>): Promise<void> {
    const { link } = this.#between;
    return (this.#running = this.#running.then(() => (link.isClosed ? undefined : step())).catch(() => undefined));
  }

  async #offer(): Promise<void> {
    const { pc } = this.#between.link;
    // one that is under way is as good
    if (pc.signalingState !== 'stable' || !('restartIce' in pc)) return;
    await this.#describe('offer', await pc.createOffer({ iceRestart: true }));
  }

  async #take(sdp: string): Promise<void> {
    const { link, isOfferer, fqn, sid, peer, proof } = this.#between;
    const role = isOfferer ? 'answer' : 'offer';
    const expected = { role, fqn, username: peer.username, key: peer.publicKey, offerSig: this.#offerSig } as const;
    const { line } = await proof.open(sdp, expected);
    // a server may send on a copy whose unsigned parts it changed
    if (line?.sid !== sid || this.#seen.has(line.sig)) return;
    this.#seen.add(line.sig);
    const before = await goodPairs(link.pc);
    await link.renegotiate({ type: role, sdp });
    if (isOfferer) this.#offerSig = undefined;
    else await this.#describe('answer', await link.pc.createAnswer(), line.sig);
    void this.#watchPath(before);
  }

  async #describe(role: 'offer' | 'answer', description: RTCSessionDescriptionInit, offerSig?: string): Promise<void> {
    const { link, fqn, sid, proof } = this.#between;
    const gathered = allCandidates(link.pc);
    await link.pc.setLocalDescription(description);
    await gathered;
    const { sdp } = link.pc.localDescription!;
    const sealed = await proof.seal(sdp, { role, fqn, caps: ['durable'], sid, ...(offerSig && { offerSig }) });
    if (role === 'offer') this.#offerSig = sealed.sig;
    this.#send(SDP + sealed.sdp);
  }

  /**
   * A new pair that is good means that checks came through both ways: what is silent then is SCTP, which tries again only after
   * a while. No event tells it where the old pair was never called lost.
   */
  async #watchPath(before: readonly string[]): Promise<void> {
    const { link } = this.#between;
    for (let look = 0; look < LOOKS && !link.isClosed; look++) {
      const good = await goodPairs(link.pc);
      if (good.some((pair) => !before.includes(pair))) return link.pathFound();
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY));
    }
  }

  #send(text: string): void {
    this.#between.link.control(text);
    this.#between.signal(text);
  }
}

/** The renegotiation of a link; undefined if it is not over WebRTC. */
export function renegotiationOf(link: Link, between: Omit<Negotiators, 'link'>): Renegotiation | undefined {
  return link instanceof WebRtcLink ? new Renegotiation({ link, ...between }) : undefined;
}

/** The pairs that ICE has checked and found good, by their ids. W3C webrtc-stats, RTCIceCandidatePairStats. */
async function goodPairs(pc: RTCPeerConnection): Promise<string[]> {
  try {
    const stats = [...(await pc.getStats()).values()] as { type: string; id: string; state?: string }[];
    return stats.filter(({ type, state }) => type === 'candidate-pair' && state === 'succeeded').map(({ id }) => id);
  } catch {
    return []; // closed meanwhile
  }
}

/** Resolves at the end of the candidates; the gathering state still tells of the generation before. */
function allCandidates(pc: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      pc.removeEventListener('icecandidate', onCandidate);
      resolve();
    };
    let found = false;
    let isLate = false;
    const onCandidate = ({ candidate }: RTCPeerConnectionIceEvent) => {
      found ||= Boolean(candidate);
      if (!candidate || isLate) done();
    };
    const onTime = () => {
      isLate = true;
      if (found) done();
      else timer = setTimeout(done, FIRST_CANDIDATE);
    };
    let timer = setTimeout(onTime, GATHERING);
    pc.addEventListener('icecandidate', onCandidate);
  });
}
