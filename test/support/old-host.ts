/**
 * WebRTC for tests in Node, and two clients of v0.20 played by hand with it: an old host and an old joiner, as protocol.md
 * part 1 describes them. They sign in the old form, know no instance, and have one in-band channel and nothing else.
 */
import wrtc from '@roamhq/wrtc';
import type { CandidateInfo, ServiceEntry, WireCandidate } from '../../src/protocol/index.js';
import { Client, until, type Identity } from '../server/helpers.js';

/** libwebrtc, as browsers have it. */
export const NodePeerConnection = wrtc.RTCPeerConnection as typeof RTCPeerConnection;

/** How long after the answer a slow link learns of the other side's candidates, in ms. */
const SLOW = 1000;

/** A second passes between answer and link. */
export class SlowPeerConnection extends NodePeerConnection {
  override async addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, SLOW));
    if (this.signalingState !== 'closed') await super.addIceCandidate(candidate);
  }
}

/** A data channel of an old client: what it got, and how to send. */
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

const gatheredAll = (pc: RTCPeerConnection) => until(() => pc.iceGatheringState === 'complete', 'gathering');

/** A host of v0.20: publishes one offer a call, polls for answers, gives candidates by addIceCandidates. */
export class OldHost {
  readonly client: Client;
  readonly serviceFqn: string;
  /** Links that were answered, by the answerer's name; the latest of each. */
  readonly links = new Map<string, OldChannel>();
  readonly #offers = new Map<string, OldChannel>();
  #since = 0;

  constructor(url: string, identity: Identity, service: string) {
    this.client = new Client(url, identity, 'old');
    this.serviceFqn = `${service}@${identity.username}`;
  }

  async offer(): Promise<string> {
    const link = new OldChannel(new SlowPeerConnection({ iceServers: [] }));
    link.use(link.pc.createDataChannel('rondevu'));
    const candidates: WireCandidate[] = [];
    link.pc.onicecandidate = ({ candidate }) => void (candidate && candidates.push(candidate.toJSON() as WireCandidate));
    await link.pc.setLocalDescription(await link.pc.createOffer());
    await gatheredAll(link.pc);
    const sdp = link.pc.localDescription!.sdp.replace(/^a=candidate:.*\r?\n/gm, '');
    const { offers } = await this.client.publish(this.serviceFqn, [sdp], { ttl: 300_000 });
    const { offerId } = offers[0]!;
    this.#offers.set(offerId, link);
    if (candidates.length) await this.client.call('addIceCandidates', { serviceFqn: this.serviceFqn, offerId, candidates });
    return offerId;
  }

  /** One round of its polling, every second in the real one. */
  async poll(): Promise<void> {
    const { answers, iceCandidates } = await this.client.call('poll', { since: this.#since });
    for (const { offerId, answererId, sdp, answeredAt } of answers) {
      this.#since = Math.max(this.#since, answeredAt);
      const link = this.#offers.get(offerId);
      if (!link || link.pc.signalingState !== 'have-local-offer') continue;
      await link.pc.setRemoteDescription({ type: 'answer', sdp });
      this.links.set(answererId, link);
    }
    for (const [offerId, candidates] of Object.entries(iceCandidates)) {
      const link = this.#offers.get(offerId);
      if (!link?.pc.remoteDescription) continue;
      for (const { candidate, role } of candidates) if (role === 'answerer') await addCandidate(link.pc, candidate);
    }
  }

  close(): void {
    for (const link of this.#offers.values()) link.close();
  }
}

/** A joiner of v0.20: its candidates may be there before its answer; it asks for those of the offerer from now on. */
export class OldJoiner {
  readonly client: Client;
  readonly link = new OldChannel(new SlowPeerConnection({ iceServers: [] }));
  /** Candidates of the other side that it was given, and those it dropped for want of a role. */
  readonly taken: CandidateInfo[] = [];
  dropped = 0;
  #entry: ServiceEntry | undefined;
  #since = 0;

  constructor(url: string, identity: Identity) {
    this.client = new Client(url, identity, 'old');
    // it takes the last incoming channel for its own
    this.link.pc.ondatachannel = ({ channel }) => this.link.use(channel);
  }

  async join(serviceFqn: string): Promise<ServiceEntry> {
    const { pc } = this.link;
    const entry = (this.#entry = await this.client.take(serviceFqn));
    const offer = { serviceFqn: entry.serviceFqn, offerId: entry.offerId };
    const candidates: WireCandidate[] = [];
    pc.onicecandidate = ({ candidate }) => void (candidate && candidates.push(candidate.toJSON() as WireCandidate));
    await pc.setRemoteDescription({ type: 'offer', sdp: entry.sdp });
    await pc.setLocalDescription(await pc.createAnswer());
    await gatheredAll(pc);
    // what was gathered goes before the answer
    if (candidates.length) await this.client.call('addIceCandidates', { ...offer, candidates });
    this.#since = Date.now();
    const sdp = pc.localDescription!.sdp.replace(/^a=candidate:.*\r?\n/gm, '');
    await this.client.answer(offer, sdp);
    return entry;
  }

  /** One round of asking for candidates, every 500 ms in the real one. */
  async askForCandidates(): Promise<void> {
    const { serviceFqn, offerId } = this.#entry!;
    const { candidates } = await this.client.call('getIceCandidates', { serviceFqn, offerId, since: this.#since });
    for (const info of candidates) {
      this.#since = Math.max(this.#since, info.createdAt);
      if (info.role !== 'offerer') this.dropped++;
      else {
        this.taken.push(info);
        await addCandidate(this.link.pc, info.candidate);
      }
    }
  }

  close(): void {
    this.link.close();
  }
}

async function addCandidate(pc: RTCPeerConnection, candidate: WireCandidate): Promise<void> {
  // one that does not fit is dropped, as the old client does
  await pc.addIceCandidate(candidate as RTCIceCandidateInit).catch(() => undefined);
}
