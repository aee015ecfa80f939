/**
 * Renegotiation: the ICE restart of one link (RFC 8838, RFC 8829 section 5.3.2), started when a path is suspect. The original
 * offerer always creates the offer, because reversed roles fail in Firefox. Each description is sent both over the control
 * channel and through the server, and the first copy to arrive is used. See docs/delivery.md, "Knowing that a path is dead".
 */
import { RateLimit } from '../base/rate-limit.js';
import type { HandshakeProof, Peer } from '../identity/handshake-proof.js';
import { MAX_TEXT } from './control-channel.js';
import type { Link } from './link.js';
import { WebRtcLink } from './webrtc-link.js';

/** The link to renegotiate, and its two peers. */
export interface Negotiators {
  link: WebRtcLink;
  /** Whether this side created the initial offer of the link. */
  isOfferer: boolean;
  fqn: string;
  sid: string;
  peer: Peer;
  proof: HandshakeProof;
  /** Sends a text through the server; the text is lost if the server cannot be reached. */
  signal(text: string): void;
}

/** Prefix that marks a description on the control channel. */
const SDP = 'sdp ';
const ASK = 'restart?';
/**
 * How long to gather candidates, and how much longer to wait for a first candidate, in ms. Host candidates are found in a few
 * ms, but relay candidates may take longer.
 */
const GATHERING = 500;
const FIRST_CANDIDATE = 5000;
/** Number of recent descriptions that are remembered to detect duplicates. */
const REMEMBERED = 16;
/**
 * Maximum rate of restart requests from the peer: each request arrives over two paths, and each restart sends a message through
 * the server.
 */
const ASKED = { burst: 1, perSecond: 0.5 };
/** Maximum rate at which descriptions from the peer are processed: each description requires a signature check. */
const DESCRIPTIONS = { burst: 10, perSecond: 1 };
/** Polling interval, in ms, and maximum number of polls for a new ICE candidate pair. */
const POLL_INTERVAL = 200;
const MAX_POLLS = 25;

export class Renegotiation {
  readonly #between: Negotiators;
  /** Signature of the local offer that has not been answered yet. */
  #offerSig: string | undefined;
  /** Recently received descriptions, remembered because each description arrives over two paths. */
  readonly #seen = new Set<string>();
  /** The description to process next; a newer description replaces it. */
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

  /** Handles a text from the peer; ignores texts that are not about renegotiation. */
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

  /** Runs steps one at a time; a failed step is ignored, and the link is replaced if its path stays dead. */
  #inTurn(step: () => Promise<void>): Promise<void> {
    const { link } = this.#between;
    return (this.#running = this.#running.then(() => (link.isClosed ? undefined : step())).catch(() => undefined));
  }

  async #offer(): Promise<void> {
    const { pc } = this.#between.link;
    // a negotiation that is already in progress serves the same purpose
    if (pc.signalingState !== 'stable' || !('restartIce' in pc)) return;
    await this.#describe('offer', await pc.createOffer({ iceRestart: true }));
  }

  async #take(sdp: string): Promise<void> {
    const { link, isOfferer, fqn, sid, peer, proof } = this.#between;
    const role = isOfferer ? 'answer' : 'offer';
    const expected = { role, fqn, username: peer.username, key: peer.publicKey, offerSig: this.#offerSig } as const;
    const { line } = await proof.open(sdp, expected);
    // copies are recognized by signature, because a server may alter their unsigned parts
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
   * Reports a newly successful candidate pair: connectivity checks have passed in both directions, and data follows once SCTP
   * retransmits. No event reports the new pair if ICE never considered the old pair lost.
   */
  async #watchPath(before: readonly string[]): Promise<void> {
    const { link } = this.#between;
    for (let poll = 0; poll < MAX_POLLS && !link.isClosed; poll++) {
      const good = await goodPairs(link.pc);
      if (good.some((pair) => !before.includes(pair))) return link.pathFound();
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
    }
  }

  #send(text: string): void {
    this.#between.link.control(text);
    this.#between.signal(text);
  }
}

/** Creates the renegotiation of a link; undefined if the link does not use WebRTC. */
export function renegotiationOf(link: Link, between: Omit<Negotiators, 'link'>): Renegotiation | undefined {
  return link instanceof WebRtcLink ? new Renegotiation({ link, ...between }) : undefined;
}

/** Ids of the candidate pairs that ICE has checked successfully. W3C webrtc-stats, RTCIceCandidatePairStats. */
async function goodPairs(pc: RTCPeerConnection): Promise<string[]> {
  try {
    const stats = [...(await pc.getStats()).values()] as { type: string; id: string; state?: string }[];
    return stats.filter(({ type, state }) => type === 'candidate-pair' && state === 'succeeded').map(({ id }) => id);
  } catch {
    return []; // closed in the meantime
  }
}

/**
 * Waits, up to a time limit, for the end-of-candidates event, because `iceGatheringState` still refers to the previous ICE
 * generation.
 */
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
