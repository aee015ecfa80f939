/**
 * WebRTC for tests in Node, and a host and a joiner that behave like the v0.20.0 client. Both use the old signature format, send no
 * instance, and open a single in-band channel. Their descriptions contain no candidates: each candidate is sent in a separate
 * call. Both poll for candidates on a separate schedule, which starts too late.
 */
import wrtc from '@roamhq/wrtc';
import type { CandidateInfo, ServiceEntry, WireCandidate } from '../../src/protocol/index.js';
import { Client, type Identity } from '../server/helpers.js';

/** libwebrtc, as in browsers. */
export const NodePeerConnection = wrtc.RTCPeerConnection as typeof RTCPeerConnection;

/** How long a slow link delays each remote candidate, in ms. */
const SLOW = 1000;

/** A peer connection that delays remote candidates, so that its link opens about a second after the answer. */
export class SlowPeerConnection extends NodePeerConnection {
  override async addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, SLOW));
    if (this.signalingState !== 'closed') await super.addIceCandidate(candidate);
  }
}

/** A data channel of an old client, which records the received messages. */
export class OldChannel {
  readonly received: string[] = [];
  readonly pc: RTCPeerConnection;
  #channel: RTCDataChannel | undefined;

  constructor(pc: RTCPeerConnection) {
    this.pc = pc;
  }

  use(channel: RTCDataChannel): void {
    this.#channel = channel;
    channel.onmessage = ({ data }: { data: unknown }) => void this.received.push(String(data));
  }

  get isOpen(): boolean {
    return this.#channel?.readyState === 'open';
  }

  send(text: string): void {
    this.#channel!.send(text);
  }

  close(): void {
    this.#channel?.close();
    this.pc.close();
  }
}

/** Interval at which the host polls for answers, in ms. */
const POLL = 1000;
/** Interval at which host and joiner poll for candidates once ICE is checking, in ms. */
const POLL_CANDIDATES = 500;

/** Candidate exchange, shared by host and joiner. */
class OldSignaling {
  /** Accepted candidates from the peer, and the number of candidates dropped because of their role. */
  readonly taken: CandidateInfo[] = [];
  dropped = 0;
  readonly #client: Client;
  readonly #offer: { serviceFqn: string; offerId: string };
  readonly #pc: RTCPeerConnection;
  /** The only role whose candidates are accepted; undefined on the host, which accepts all candidates. */
  readonly #role: 'offerer' | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #since = 0;

  /** Starts sending candidates; a host loses candidates gathered before its offer was published. */
  constructor(
    client: Client,
    offer: { serviceFqn: string; offerId: string },
    pc: RTCPeerConnection,
    role: 'offerer' | undefined,
  ) {
    this.#client = client;
    this.#offer = { serviceFqn: offer.serviceFqn, offerId: offer.offerId };
    this.#pc = pc;
    this.#role = role;
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      const candidates = [candidate.toJSON() as WireCandidate];
      this.#client.call('addIceCandidates', { ...this.#offer, candidates }).catch(() => undefined);
    };
    pc.oniceconnectionstatechange = () => {
      if (pc.iceConnectionState === 'checking') this.#startPolling();
      else if (/^(connected|completed|failed|closed)$/.test(pc.iceConnectionState)) this.stop();
    };
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #startPolling(): void {
    if (this.#timer) return;
    this.#since = Date.now(); // older candidates are missed, as in the old client
    this.#timer = setInterval(() => void this.#poll().catch(() => undefined), POLL_CANDIDATES);
  }

  async #poll(): Promise<void> {
    const { candidates } = await this.#client.call('getIceCandidates', { ...this.#offer, since: this.#since });
    for (const info of candidates) {
      if (this.#role !== undefined && info.role !== this.#role) {
        this.dropped++;
        continue;
      }
      this.taken.push(info);
      this.#since = Math.max(this.#since, info.createdAt);
      await addCandidate(this.#pc, info.candidate);
    }
  }
}

/** A v0.20 host: publishes one offer per call and polls for answers every second. */
export class OldHost {
  readonly client: Client;
  readonly serviceFqn: string;
  /** Latest answered link per joiner username. */
  readonly links = new Map<string, OldChannel>();
  readonly #offers = new Map<string, { link: OldChannel; signaling: OldSignaling }>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #since = 0;

  constructor(url: string, identity: Identity, service: string) {
    this.client = new Client(url, identity, 'old');
    this.serviceFqn = `${service}@${identity.username}`;
  }

  async offer(): Promise<string> {
    const link = new OldChannel(new SlowPeerConnection({ iceServers: [] }));
    link.use(link.pc.createDataChannel('default'));
    const { sdp } = await link.pc.createOffer();
    await link.pc.setLocalDescription({ type: 'offer', sdp: sdp! });
    const { offers } = await this.client.publish(this.serviceFqn, [sdp!], { ttl: 300_000 });
    const { offerId } = offers[0]!;
    const at = { serviceFqn: this.serviceFqn, offerId };
    this.#offers.set(offerId, { link, signaling: new OldSignaling(this.client, at, link.pc, undefined) });
    this.#timer ??= setInterval(() => void this.#poll().catch(() => undefined), POLL);
    return offerId;
  }

  /** Polls for answers; the candidates in the reply are ignored. */
  async #poll(): Promise<void> {
    const { answers } = await this.client.call('poll', { since: this.#since });
    for (const { offerId, answererId, sdp, answeredAt } of answers) {
      const offer = this.#offers.get(offerId);
      if (offer?.link.pc.signalingState !== 'have-local-offer') continue;
      await offer.link.pc.setRemoteDescription({ type: 'answer', sdp });
      this.#since = Math.max(this.#since, answeredAt);
      this.links.set(answererId, offer.link);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { link, signaling } of this.#offers.values()) {
      signaling.stop();
      link.close();
    }
  }
}

/** A v0.20 joiner: its candidates may arrive before its answer, and it accepts only candidates marked as the offerer's. */
export class OldJoiner {
  readonly client: Client;
  readonly link = new OldChannel(new SlowPeerConnection({ iceServers: [] }));
  #signaling: OldSignaling | undefined;

  constructor(url: string, identity: Identity) {
    this.client = new Client(url, identity, 'old');
    // as in the old client, the last incoming channel replaces earlier channels
    this.link.pc.ondatachannel = ({ channel }) => this.link.use(channel);
  }

  get signaling(): OldSignaling | undefined {
    return this.#signaling;
  }

  async join(serviceFqn: string): Promise<ServiceEntry> {
    const { pc } = this.link;
    const entry = await this.client.take(serviceFqn);
    this.#signaling = new OldSignaling(this.client, entry, pc, 'offerer');
    await pc.setRemoteDescription({ type: 'offer', sdp: entry.sdp });
    const { sdp } = await pc.createAnswer();
    await pc.setLocalDescription({ type: 'answer', sdp: sdp! });
    await this.client.answer({ serviceFqn: entry.serviceFqn, offerId: entry.offerId }, sdp!);
    return entry;
  }

  close(): void {
    this.#signaling?.stop();
    this.link.close();
  }
}

async function addCandidate(pc: RTCPeerConnection, candidate: WireCandidate): Promise<void> {
  // candidates that do not match are dropped, as in the old client
  await pc.addIceCandidate(candidate as RTCIceCandidateInit).catch(() => undefined);
}
