/**
 * Offer: one offer of a service, with its link, its id on the server and the time of its renewal.
 */
import type { WebRtcLink } from '../connection/webrtc-link.js';
import { gathered, isStalled, trickle } from '../connection/negotiation.js';
import { RondevuError, ValidationError } from '../errors.js';
import type { OfferFactoryResult, PublishOptions } from '../options.js';
import type { WireCandidate } from '../protocol/rpc.js';

/** Maximum time to gather candidates before an offer is published, in ms; later candidates are trickled. */
const OFFER_GATHERING = 1000;
const LATE_CANDIDATES = 50;

/** @param own creates the peer connection instead of the platform */
export type MakeLink = (own?: (configuration: RTCConfiguration) => Promise<RTCPeerConnection>) => Promise<WebRtcLink>;

export interface OfferMaking {
  factory: PublishOptions['offerFactory'];
  /** Maximum time to wait for candidates, in ms, if shorter than the default. */
  gatheringTimeout: number;
  /** Whether message buffering is enabled. */
  durable: boolean;
  /** The only user who may answer the offer; undefined if any user may. */
  only: string | undefined;
  /** Adds the signed SDP line to the description. */
  seal(sdp: string, caps: string[]): Promise<{ sdp: string; sig: string }>;
}

export class Offer {
  readonly link: WebRtcLink;
  readonly sdp: string;
  /** The signature in `sdp`. */
  readonly sig: string;
  /** Whether the offer announces support for frames. */
  readonly durable: boolean;
  /** The only user who may answer the offer; undefined if any user may. */
  readonly only: string | undefined;
  /** Id assigned by the server; empty until the offer is published. */
  id = '';
  /**
   * Time at which the offer must be renewed, in ms of `performance.now()`; 0 until it is published, Infinity while it is being
   * renewed.
   */
  renewAt = 0;
  /** Whether a server that replaces offers (v0.5.4) hands out this offer. */
  isListed = false;
  readonly #candidatesSent: number;

  private constructor(link: WebRtcLink, sealed: { sdp: string; sig: string }, sent: number, durable: boolean, only?: string) {
    this.link = link;
    this.sdp = sealed.sdp;
    this.sig = sealed.sig;
    this.durable = durable;
    this.only = only;
    this.#candidatesSent = sent;
  }

  /** @throws ValidationError if the factory does not return an offer; any error that the factory throws */
  static async create(makeLink: MakeLink, { factory, durable, only, seal, gatheringTimeout }: OfferMaking): Promise<Offer> {
    const gather = async () => {
      const link = await makeOffer(makeLink, factory);
      await gathered(link, Math.min(OFFER_GATHERING, gatheringTimeout), false);
      return link;
    };
    let link = await gather();
    if (isStalled(link)) {
      link.close();
      link = await gather();
    }
    const sent = link.localCandidates.length;
    const isDurable = durable && link.durable !== undefined;
    try {
      const sealed = await seal(link.pc.localDescription!.sdp, isDurable ? ['durable'] : []);
      return new Offer(link, sealed, sent, isDurable, only);
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** Sends the candidates that were found after `sdp` was created. */
  trickle(send: (offerId: string, candidates: WireCandidate[]) => Promise<unknown>): void {
    trickle(this.link, this.#candidatesSent, LATE_CANDIDATES, (candidates) => send(this.id, candidates));
  }
}

/** Creates a link with a local offer and starts to gather its candidates. */
async function makeOffer(makeLink: MakeLink, factory: PublishOptions['offerFactory']): Promise<WebRtcLink> {
  if (factory && ownPeerConnection.has(factory)) return linkOfOwn(makeLink, factory);
  let link: WebRtcLink;
  try {
    link = await makeLink();
  } catch (error) {
    // without WebRTC on this platform, only a factory with its own implementation can make an offer
    if (!factory || !(error instanceof RondevuError) || error.code !== 'unsupported') throw error;
    return linkOfOwn(makeLink, factory);
  }
  const { pc } = link;
  try {
    if (factory) link = await useFactory(makeLink, link, factory);
    else {
      link.useRaw(pc.createDataChannel('rondevu'));
      await pc.setLocalDescription(await pc.createOffer());
    }
  } catch (error) {
    link.close();
    throw error;
  }
  return link;
}

type OfferFactory = NonNullable<PublishOptions['offerFactory']>;
type Made = OfferFactoryResult & { pc?: RTCPeerConnection };

/** Factories written for v0.18, which take an RTCConfiguration and return their own peer connection. */
const ownPeerConnection = new WeakSet<OfferFactory>();
let isWarned = false;

async function useFactory(makeLink: MakeLink, link: WebRtcLink, factory: OfferFactory): Promise<WebRtcLink> {
  const { pc } = link;
  // a v0.18 factory treats its argument as an RTCConfiguration, from which Firefox also reads `peerIdentity`
  const { iceServers, iceTransportPolicy } = pc.getConfiguration();
  for (const [name, value] of Object.entries({ iceServers, iceTransportPolicy, peerIdentity: undefined }))
    Object.defineProperty(pc, name, { value, configurable: true });
  const made = checkMade((await factory(pc)) as Made);
  if (made.pc && made.pc !== pc) {
    link.close();
    return linkOfOwn(makeLink, factory, made);
  }
  // the channel that the factory created is left unchanged, alongside the message channels
  if (made.durable) link.addDurable();
  else if (made.dc) {
    keepHandlers(made.dc, CHANNEL_EVENTS);
    link.useRaw(made.dc);
  }
  if (!pc.localDescription) await pc.setLocalDescription(made.offer);
  return link;
}

/** Creates a raw link over the peer connection that a v0.18 factory created. */
async function linkOfOwn(makeLink: MakeLink, factory: OfferFactory, made?: Made): Promise<WebRtcLink> {
  let dc: RTCDataChannel | undefined;
  const link = await makeLink(async (configuration) => {
    const { pc, offer, dc: channel } = made ?? checkMade((await factory(configuration as RTCPeerConnection)) as Made);
    if (!pc) throw new ValidationError(WRONG_FACTORY);
    if (!ownPeerConnection.has(factory) && !isWarned) {
      isWarned = true;
      console.warn(
        'rondevu: an offerFactory that returns a peer connection of its own is deprecated and makes raw connections, which do ' +
          'not survive their link: use the one passed to it, see docs/migrating.md',
      );
    }
    ownPeerConnection.add(factory);
    if (!pc.localDescription) await pc.setLocalDescription(offer);
    keepHandlers(pc, PEER_CONNECTION_EVENTS);
    dc = channel;
    return pc;
  });
  if (dc) {
    keepHandlers(dc, CHANNEL_EVENTS);
    link.useRaw(dc);
  }
  return link;
}

const WRONG_FACTORY =
  'offerFactory must use the peer connection passed to it and return { offer, dc? }: ' +
  "async (pc) => { const dc = pc.createDataChannel('x'); const offer = await pc.createOffer(); return { dc, offer }; }";

/** @throws ValidationError that shows the expected form of a factory */
function checkMade(made: Made | undefined): Made {
  if (!made?.offer || (made.pc !== undefined && typeof made.pc?.setRemoteDescription !== 'function'))
    throw new ValidationError(WRONG_FACTORY);
  return made;
}

const CHANNEL_EVENTS = ['open', 'message', 'bufferedamountlow', 'error', 'closing', 'close'];
const PEER_CONNECTION_EVENTS = [
  ...['connectionstatechange', 'iceconnectionstatechange', 'icegatheringstatechange'],
  ...['icecandidate', 'datachannel'],
];

/** Preserves handlers that the user has set as properties, because the link replaces these handlers with its own. */
function keepHandlers(target: EventTarget, names: string[]): void {
  for (const name of names) {
    const handler = (target as unknown as Record<string, unknown>)[`on${name}`];
    if (typeof handler === 'function') target.addEventListener(name, (event) => void handler.call(target, event));
  }
}
