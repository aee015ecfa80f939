/**
 * ServiceConnections: the connections of one service, each from its first answer until it is closed. Creates the connections,
 * watches for candidates from their peers, and tracks which connections have been announced.
 */
import type { Peer } from '../connection/connection-events.js';
import { OffererConnection } from '../connection/offerer-connection.js';
import * as runtime from '../connection/link-runtime.js';
import { RondevuError } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { AnswerInfo, CandidateInfo } from '../protocol/rpc.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import type { Offer } from './offer.js';
import type { OfferPoolOptions } from './offer-pool-options.js';

export interface ServiceConnectionsHandlers {
  /**
   * Called when the state of a connection has changed.
   * @param isFirst whether the first link of the connection is up
   */
  onState(connection: OffererConnection, isFirst: boolean): void;
  /** Called when a connection has lost its peer and waits for it to return. */
  onNeedsOffer(connection: OffererConnection): void;
  onClosed(connection: OffererConnection, reason: string): void;
  /** Called when a connection has released its resources and no longer counts towards the limits. */
  onEnded(connection: OffererConnection): void;
  onFailed(offerId: string, error: RondevuError): void;
}

export class ServiceConnections {
  /** All connections that are not closed. */
  readonly all: ReadonlySet<OffererConnection>;
  readonly #all = new Set<OffererConnection>();
  readonly #opened = new Set<OffererConnection>();
  readonly #watches = new Map<OffererConnection, () => void>();
  readonly #options: OfferPoolOptions;
  readonly #port: PublisherPort;
  readonly #proof: HandshakeProof;
  readonly #handlers: ServiceConnectionsHandlers;

  constructor(options: OfferPoolOptions, port: PublisherPort, proof: HandshakeProof, handlers: ServiceConnectionsHandlers) {
    this.all = this.#all;
    this.#options = options;
    this.#port = port;
    this.#proof = proof;
    this.#handlers = handlers;
  }

  /** Connections whose first link has been up, whether or not they have a link now. */
  get opened(): OffererConnection[] {
    return [...this.#opened];
  }

  /** Creates a connection for a new peer that answered an offer. @param sid session id; undefined for an older client */
  open(offer: Offer, peer: Peer, sid: string | undefined): OffererConnection {
    const { serviceFqn, connectionConfig } = this.#options;
    const handlers = this.#handlers;
    const connection = new OffererConnection(
      { offerId: offer.id, serviceFqn, link: offer.link },
      connectionConfig,
      this.#port,
      this.#proof,
      { needsOffer: handlers.onNeedsOffer, ended: (ended) => this.#remove(ended) },
      runtime,
      sid,
    );
    connection.setPeer(peer);
    if (connection.getState() === 'closed') {
      const text = `the peer connection of offer ${offer.id} was closed before ${peer.username} answered the offer`;
      handlers.onFailed(offer.id, new RondevuError('offer-gone', text));
      return connection;
    }
    this.#all.add(connection);
    connection.on('state:changed', ({ newState }) => {
      const isConnected = newState === 'connected';
      const isFirst = isConnected && !this.#opened.has(connection);
      if (isConnected) this.#watches.get(connection)?.();
      if (isFirst) this.#opened.add(connection);
      handlers.onState(connection, isFirst);
    });
    connection.on('closed', (reason) => handlers.onClosed(connection, reason));
    connection.on('reconnect:exhausted', (attempts) => {
      const text = `${peer.username} could not be reached in ${attempts} attempts`;
      handlers.onFailed(connection.getOfferId(), new RondevuError('timeout', text));
    });
    return connection;
  }

  /** Passes an answer to its connection. @param isFramed whether both peers use frames */
  async takeAnswer(connection: OffererConnection, answer: AnswerInfo, isFramed: boolean): Promise<void> {
    // a listener may have closed the connection; nothing would end a watch that is started now
    if (!this.#all.has(connection)) return;
    this.#watch(connection, answer.offerId);
    try {
      await connection.processAnswer(answer.sdp, answer.answererId, isFramed);
    } catch (cause) {
      const text = `invalid answer from ${answer.answererId}: ${String(cause)}`;
      this.#handlers.onFailed(answer.offerId, new RondevuError('bad-request', text, { cause }));
    }
  }

  /**
   * Reports an answer to an offer that is already bound: the answer was both pushed and polled, or sent twice. The answer has
   * not been examined.
   */
  reportDuplicate({ offerId, sdp }: AnswerInfo): void {
    for (const connection of this.#all) if (connection.getOfferId() === offerId) connection.reportDuplicate(sdp);
  }

  #watch(connection: OffererConnection, offerId: string): void {
    this.#watches.get(connection)?.();
    const { serviceFqn, connectionConfig } = this.#options;
    const onCandidates = (candidates: CandidateInfo[]) => {
      for (const { candidate } of candidates) void connection.addCandidate(candidate);
    };
    const stop = this.#port.watch(offerId, serviceFqn, false, { onCandidates }, connectionConfig);
    this.#watches.set(connection, stop);
  }

  #remove(connection: OffererConnection): void {
    this.#all.delete(connection);
    this.#opened.delete(connection);
    this.#watches.get(connection)?.();
    this.#watches.delete(connection);
    this.#handlers.onEnded(connection);
  }
}
