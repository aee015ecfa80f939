/**
 * One published offer: its link, its life on the server, and who waits at it.
 */
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { Link } from '../connection/link.js';
import { gathered, isStalled, trickle } from '../connection/negotiation.js';
import { ValidationError } from '../errors.js';
import type { OfferFactoryResult, PublishOptions } from '../options.js';
import type { WireCandidate } from '../protocol/rpc.js';

/** Offers are published when gathering is complete, or after this, in ms; later candidates follow. */
const OFFER_GATHERING = 1000;
const LATE_CANDIDATES = 50;

export interface OfferMaking {
  factory: PublishOptions['offerFactory'];
  /** Whether messages may be kept for later at all. */
  durable: boolean;
  /** The one user whom it is for. */
  only: string | undefined;
  /** Puts our line into the description. */
  seal(sdp: string, caps: string[]): Promise<{ sdp: string; sig: string }>;
}

export class Offer {
  readonly link: Link;
  readonly sdp: string;
  /** The signature in it. */
  readonly sig: string;
  /** Whether it says that we speak frames. */
  readonly durable: boolean;
  /** The one user whom it is for. */
  readonly only: string | undefined;
  /** Given by the server; empty before. */
  id = '';
  /** When it must be renewed, in ms; 0 while it is not published, Infinity while it is being renewed. */
  renewAt = 0;
  /** Whether a server that replaces (v0.5.4) hands it out. */
  isListed = false;
  /** A connection that lost its peer and waits here. */
  waiting: OffererConnection | undefined;
  readonly #candidatesSent: number;

  private constructor(link: Link, sealed: { sdp: string; sig: string }, sent: number, durable: boolean, only?: string) {
    this.link = link;
    this.sdp = sealed.sdp;
    this.sig = sealed.sig;
    this.durable = durable;
    this.only = only;
    this.#candidatesSent = sent;
  }

  /** @throws ValidationError when the factory returns something else than an offer; whatever the factory throws */
  static async create(makeLink: () => Promise<Link>, { factory, durable, only, seal }: OfferMaking): Promise<Offer> {
    let link = await gather(await makeLink(), factory);
    if (isStalled(link)) {
      link.close();
      link = await gather(await makeLink(), factory);
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

  /** Sends the candidates that came after the offer was written down. */
  trickle(send: (offerId: string, candidates: WireCandidate[]) => Promise<unknown>): void {
    trickle(this.link, this.#candidatesSent, LATE_CANDIDATES, (candidates) => send(this.id, candidates));
  }
}

/** A link with an offer and its candidates. */
async function gather(link: Link, factory: PublishOptions['offerFactory']): Promise<Link> {
  const { pc } = link;
  try {
    if (factory) await useFactory(link, factory);
    else {
      link.useRaw(pc.createDataChannel('rondevu'));
      await pc.setLocalDescription(await pc.createOffer());
    }
    await gathered(link, OFFER_GATHERING, false);
    return link;
  } catch (error) {
    link.close();
    throw error;
  }
}

async function useFactory(link: Link, factory: NonNullable<PublishOptions['offerFactory']>): Promise<void> {
  const { pc } = link;
  const made = (await factory(pc)) as OfferFactoryResult & { pc?: unknown };
  if (!made?.offer || made.pc !== undefined) {
    throw new ValidationError(
      'offerFactory must use the peer connection that it is given and return { offer, dc? }: ' +
        "async (pc) => { const dc = pc.createDataChannel('x'); const offer = await pc.createOffer(); return { dc, offer }; }",
    );
  }
  // beside the channels for messages the user's own is none of our business
  if (made.durable) link.addDurable();
  else if (made.dc) {
    keepHandlers(made.dc);
    link.useRaw(made.dc);
  }
  if (!pc.localDescription) await pc.setLocalDescription(made.offer);
}

/** The link listens by the same properties as the user may have: his are called too. */
function keepHandlers(channel: RTCDataChannel): void {
  for (const name of ['open', 'message', 'bufferedamountlow', 'error', 'closing', 'close'] as const) {
    const handler = channel[`on${name}`] as ((event: Event) => void) | null;
    if (handler) channel.addEventListener(name, (event) => handler.call(channel, event));
  }
}
