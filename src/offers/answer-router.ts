/**
 * AnswerRouter: decides which connection an answer belongs to. The buffered messages of a connection are for its peer only: a
 * peer is identified by its public key and session, an older client by its username. See docs/delivery.md.
 */
import type { Peer } from '../connection/connection-events.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { SdpLine } from '../protocol/sdp-line.js';
import type { Offer } from './offer.js';
import type { OfferPoolOptions } from './offer-pool-options.js';

/** How long to wait for a ping reply when the peer of a connection that looks alive answers another offer, in ms. */
const PROBE = 500;

/** Decision about an answer. */
export type Verdict =
  /** The answer belongs to the connection that is already bound to this offer. */
  | { kind: 'resume'; connection: OffererConnection }
  /** The answer belongs to a connection that is bound to another offer and must be bound to this offer. */
  | { kind: 'rebind'; connection: OffererConnection }
  /** The answer belongs to a new connection. */
  | { kind: 'new' }
  /** The answer is refused. The reason is sent to the joiner; without a reason, the answer is ignored. */
  | { kind: 'refuse'; reason?: 'service-full' | 'forbidden' };

/** An answer whose sender has been verified. */
export interface Examined {
  readonly peer: Peer;
  /** The signed SDP line; undefined for an older client. */
  readonly line?: SdpLine;
  readonly refusal?: Verdict & { kind: 'refuse' };
  /** The existing connection of the peer, if any. */
  readonly returning?: OffererConnection;
}

export class AnswerRouter {
  readonly #options: OfferPoolOptions;
  readonly #proof: HandshakeProof;
  readonly #connections: ReadonlySet<OffererConnection>;

  /** @param connections all connections of the service; this set changes over time */
  constructor(options: OfferPoolOptions, proof: HandshakeProof, connections: ReadonlySet<OffererConnection>) {
    this.#options = options;
    this.#proof = proof;
    this.#connections = connections;
  }

  /**
   * Verifies the sender of an answer, and finds the sender's existing connection.
   * @throws RondevuError if the proof is not valid
   */
  async examine({ sig: offerSig }: Offer, { answererId: username, answererKey: key, sdp }: AnswerInfo): Promise<Examined> {
    const fqn = this.#options.serviceFqn;
    const verified = await this.#proof.open(sdp, { role: 'answer', fqn, username, key, offerSig });
    const { peer, line } = verified;
    const reason = await this.#refusal(peer);
    if (reason) return { ...verified, refusal: { kind: 'refuse', reason } };
    const same = this.#of(peer);
    const resuming = line && same.find(({ sessionId }) => sessionId === line.sid);
    // the link may look alive although the peer has lost it; if the link is alive on both sides, the answer is superfluous
    if (resuming?.isConnected() && (await resuming.probe(PROBE)) && resuming.isConnected())
      return { ...verified, refusal: { kind: 'refuse' } };
    const returning = resuming ?? (await this.#down(same));
    return { ...verified, ...(returning && { returning }) };
  }

  /** Decides according to the current state, so the caller must carry out the verdict immediately. */
  decide({ peer, refusal, returning }: Examined, offer: Offer): Verdict {
    if (refusal) return refusal;
    if (this.#isFullFor(peer)) return { kind: 'refuse', reason: 'service-full' };
    if (!returning || returning.getState() === 'closed') return { kind: 'new' };
    return { kind: returning.getOfferId() === offer.id ? 'resume' : 'rebind', connection: returning };
  }

  /** Resolves to the reason for refusing the peer; undefined if the peer is accepted. */
  async #refusal(peer: Peer): Promise<'service-full' | 'forbidden' | undefined> {
    const { accept } = this.#options;
    if (this.#isFullFor(peer)) return 'service-full';
    try {
      return !accept || (await accept(peer)) ? undefined : 'forbidden';
    } catch (error) {
      console.error('rondevu: accept threw; the joiner is refused', error);
      return 'forbidden';
    }
  }

  /** Whether the service is full for this peer; a peer with an existing connection keeps its place. */
  #isFullFor(peer: Peer): boolean {
    return this.#connections.size >= this.#options.maxConnections && !this.#of(peer).length;
  }

  /** Returns the connections of a peer, identified by its proven public key; an older client is identified by its username. */
  #of(peer: Peer): OffererConnection[] {
    return [...this.#connections].filter(({ peer: other }) =>
      peer.verified
        ? other?.verified && other.publicKey === peer.publicKey
        : !other?.verified && other?.username === peer.username,
    );
  }

  /** Resolves to the peer's connection whose link is down, if there is exactly one; a reloaded page returns to it. */
  async #down(same: OffererConnection[]): Promise<OffererConnection | undefined> {
    let down = same.filter((connection) => connection.isRotating());
    if (!down.length && same.length) {
      // a page may reload faster than the heartbeat detects the lost link
      const dead = await Promise.all(
        same.map(async (connection) => connection.isConnected() && !(await connection.probe(PROBE))),
      );
      down = same.filter((connection, index) => dead[index] && connection.getState() !== 'closed');
    }
    return down.length === 1 ? down[0] : undefined;
  }
}
