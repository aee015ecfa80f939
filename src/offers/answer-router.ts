/**
 * AnswerRouter: decides which connection an answer belongs to. The buffer of a connection is for its peer only: a peer is
 * identified by its key and session, an old client by its name. docs/delivery.md.
 */
import type { Peer } from '../connection/connection-events.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { SdpLine } from '../protocol/sdp-line.js';
import type { Offer } from './offer.js';
import type { OfferPoolOptions } from './offer-pool-options.js';

/** How long to wait for a reply to a ping when the peer of a connection that looks alive answers another offer, in ms. */
const PROBE = 500;

/** Decision about an answer. */
export type Verdict =
  /** It belongs to the connection that waits at this offer. */
  | { kind: 'resume'; connection: OffererConnection }
  /** It belongs to a connection at another offer: bind that connection to this one. */
  | { kind: 'rebind'; connection: OffererConnection }
  /** It belongs to a new connection. */
  | { kind: 'new' }
  /** It is refused. The reason is sent to the joiner; without one, the answer is ignored. */
  | { kind: 'refuse'; reason?: 'service-full' | 'forbidden' };

/** An answer whose sender was verified. */
export interface Examined {
  readonly peer: Peer;
  /** Undefined for an older client. */
  readonly line?: SdpLine;
  readonly refusal?: Verdict & { kind: 'refuse' };
  /** The connection that the peer had before. */
  readonly returning?: OffererConnection;
}

export class AnswerRouter {
  readonly #options: OfferPoolOptions;
  readonly #proof: HandshakeProof;
  readonly #connections: ReadonlySet<OffererConnection>;

  /** @param connections all connections of the service; the pool adds and removes them */
  constructor(options: OfferPoolOptions, proof: HandshakeProof, connections: ReadonlySet<OffererConnection>) {
    this.#options = options;
    this.#proof = proof;
    this.#connections = connections;
  }

  /**
   * Verifies the sender of an answer, and finds the connection that it had before.
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
    // the link may look alive here but be gone at the peer; if it is alive at both ends, the answer is superfluous
    if (resuming?.isConnected() && (await resuming.probe(PROBE)) && resuming.isConnected())
      return { ...verified, refusal: { kind: 'refuse' } };
    const returning = resuming ?? (await this.#down(same));
    return { ...verified, ...(returning && { returning }) };
  }

  /** Decides according to the current state, so the caller must carry out the verdict at once. */
  decide({ peer, refusal, returning }: Examined, offer: Offer): Verdict {
    if (refusal) return refusal;
    if (this.#isFullFor(peer)) return { kind: 'refuse', reason: 'service-full' };
    if (!returning || returning.getState() === 'closed') return { kind: 'new' };
    return { kind: returning.getOfferId() === offer.id ? 'resume' : 'rebind', connection: returning };
  }

  /** Why a peer is refused; undefined if it is accepted. */
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

  /** A connection that waits for its peer keeps its place. */
  #isFullFor(peer: Peer): boolean {
    return this.#connections.size >= this.#options.maxConnections && !this.#of(peer).length;
  }

  /** Connections with the same peer, identified by its proven key; for an old client, by its name. */
  #of(peer: Peer): OffererConnection[] {
    return [...this.#connections].filter(({ peer: other }) =>
      peer.verified
        ? other?.verified && other.publicKey === peer.publicKey
        : !other?.verified && other?.username === peer.username,
    );
  }

  /** The peer's connection that is down, if there is exactly one: a reloaded page returns to it. */
  async #down(same: OffererConnection[]): Promise<OffererConnection | undefined> {
    let down = same.filter((connection) => connection.isRotating());
    if (!down.length && same.length) {
      // a reload is faster than the heartbeat
      const dead = await Promise.all(
        same.map(async (connection) => connection.isConnected() && !(await connection.probe(PROBE))),
      );
      down = same.filter((connection, index) => dead[index] && connection.getState() !== 'closed');
    }
    return down.length === 1 ? down[0] : undefined;
  }
}
