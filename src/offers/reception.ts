/**
 * Reception: decides which connection an answer belongs to, and holds the connections of a service. The buffer of a connection belongs
 * to its peer and reaches nobody else: a peer is identified by its key and session, an old client by its name. docs/delivery.md.
 */
import type { Peer } from '../connection/connection-events.js';
import { OffererConnection } from '../connection/offerer-connection.js';
import * as talk from '../connection/talk.js';
import { RondevuError } from '../errors.js';
import type { HandshakeProof } from '../identity/handshake-proof.js';
import type { AnswerInfo } from '../protocol/rpc.js';
import type { SdpLine } from '../protocol/sdp-line.js';
import type { PublisherPort } from '../signaling/signaling-port.js';
import type { Offer } from './offer.js';
import type { OfferPoolOptions } from './offer-pool-options.js';

/** If the peer of a connection that looks alive answers another offer, how long that connection has to prove it is alive, in ms. */
const PROBE = 500;

/** Why a joiner is refused; sent to it over the server. */
type Refusal = 'service-full' | 'forbidden';

/** Callbacks of a reception to its pool. */
export interface ReceptionHooks {
  opened(connection: OffererConnection): void;
  rotated(oldOfferId: string, newOfferId: string, connection: OffererConnection): void;
  closed(connection: OffererConnection, reason: string): void;
  failed(offerId: string, error: RondevuError): void;
  changed(): void;
  /** Whether joiners may still be accepted. */
  isOpen(): boolean;
  /** A connection lost its peer and waits for it. */
  needsOffer(connection: OffererConnection): void;
  /** It no longer waits: the peer is back, or will not return. */
  waitsNoMore(connection: OffererConnection): void;
  ended(): void;
}

export class Reception {
  readonly #options: OfferPoolOptions;
  readonly #port: PublisherPort;
  readonly #proof: HandshakeProof;
  readonly #hooks: ReceptionHooks;
  readonly #connections = new Set<OffererConnection>();
  readonly #opened = new Set<OffererConnection>();
  readonly #watches = new Map<OffererConnection, () => void>();
  /** Accepted answers without a connection yet. */
  answering = 0;

  constructor(options: OfferPoolOptions, port: PublisherPort, proof: HandshakeProof, hooks: ReceptionHooks) {
    this.#options = options;
    this.#port = port;
    this.#proof = proof;
    this.#hooks = hooks;
  }

  /** All connections that are not closed. */
  get connections(): ReadonlySet<OffererConnection> {
    return this.#connections;
  }

  /** Connections that were opened, whether or not their link is up. */
  get opened(): OffererConnection[] {
    return [...this.#opened];
  }

  /** An answer to an offer that is already bound: it was pushed and polled, or sent twice. */
  repeated({ offerId, sdp }: AnswerInfo): void {
    // only reported: the answer was not examined
    for (const connection of this.#connections) if (connection.getOfferId() === offerId) connection.tellDuplicate(sdp);
  }

  /** Takes an answer to an offer that the pool handed over; false if it is not wanted and the offer should be dropped. */
  async receive(offer: Offer, answer: AnswerInfo): Promise<boolean> {
    this.answering++;
    let found: { peer: Peer; line?: SdpLine } | undefined;
    let connection: OffererConnection | Refusal | undefined;
    try {
      found = await this.#verify(offer, answer);
      connection = (await this.#refusal(found.peer)) ?? (await this.#claim(offer, found.peer, found.line));
    } catch (error) {
      this.#hooks.failed(answer.offerId, error as RondevuError);
    } finally {
      this.answering--;
    }
    if (!connection || !found) return false;
    if (typeof connection === 'string') {
      const { peer, line } = found;
      if (line?.sid) void this.#port.signal({ to: peer.username, sid: line.sid, sdp: `refuse ${connection}` });
      return false;
    }
    this.#watch(connection, answer.offerId);
    try {
      const framed = offer.durable && (found.line?.caps.includes('durable') ?? false);
      await connection.processAnswer(answer.sdp, answer.answererId, framed);
    } catch (cause) {
      const text = `the answer of ${answer.answererId} does not fit: ${String(cause)}`;
      this.#hooks.failed(answer.offerId, new RondevuError('bad-request', text, { cause }));
    }
    this.#hooks.changed();
    return true;
  }

  /** Binds a waiting connection to another offer. */
  rebind(connection: OffererConnection, offer: Offer): void {
    const old = connection.getOfferId();
    connection.bind(offer.id, offer.link);
    this.#hooks.rotated(old, offer.id, connection);
  }

  #verify({ sig }: Offer, answer: AnswerInfo) {
    const { answererId: username, answererKey: key, sdp } = answer;
    return this.#proof.open(sdp, { role: 'answer', fqn: this.#options.serviceFqn, username, key, offerSig: sig });
  }

  /** Why a peer is refused, if it is. */
  async #refusal(peer: Peer): Promise<Refusal | undefined> {
    const { accept } = this.#options;
    if (this.#isFullFor(peer)) return 'service-full';
    try {
      return !accept || (await accept(peer)) ? undefined : 'forbidden';
    } catch (error) {
      console.error('rondevu: accept threw, the joiner is turned away', error);
      return 'forbidden';
    }
  }

  /** A connection that waits for its peer keeps its place. */
  #isFullFor(peer: Peer): boolean {
    return this.#connections.size >= this.#options.maxConnections && !this.#of(peer).length;
  }

  /** Connections with the same peer: by its proven key, an old client by its name. */
  #of(peer: Peer): OffererConnection[] {
    return [...this.#connections].filter(({ peer: other }) =>
      peer.verified
        ? other?.verified && other.publicKey === peer.publicKey
        : !other?.verified && other?.username === peer.username,
    );
  }

  /** The connection that an answer belongs to; undefined if it is refused. */
  async #claim(offer: Offer, peer: Peer, line: SdpLine | undefined): Promise<OffererConnection | Refusal | undefined> {
    const same = this.#of(peer);
    const resuming = line && same.find(({ sessionId }) => sessionId === line.sid);
    // its link may look alive here but be gone there; if both were alive, there would be one too many
    if (resuming?.isConnected() && (await resuming.probe(PROBE)) && resuming.isConnected()) return undefined;
    const returning = resuming ?? (await this.#down(same));
    // the state may have changed in the meantime
    if (!this.#hooks.isOpen()) return undefined;
    if (this.#isFullFor(peer)) return 'service-full';
    const stranger = offer.waiting;
    offer.waiting = undefined;
    if (!returning || returning.getState() === 'closed') {
      stranger?.leaveOffer(offer.id);
      const connection = this.#open(offer, peer, line?.sid);
      if (stranger) this.#hooks.needsOffer(stranger);
      return connection;
    }
    if (returning.isConnected()) returning.supersede();
    this.#hooks.waitsNoMore(returning);
    if (stranger !== returning) {
      stranger?.leaveOffer(offer.id);
      if (stranger) this.#hooks.needsOffer(stranger);
    }
    if (returning.getOfferId() !== offer.id) this.rebind(returning, offer);
    returning.setPeer(peer, line?.sid);
    return returning;
  }

  /** The one connection of a peer that is down, if there is exactly one: a reloaded page returns to it. */
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

  #open(offer: Offer, peer: Peer, sid: string | undefined): OffererConnection {
    const { serviceFqn, connectionConfig } = this.#options;
    const at = { offerId: offer.id, serviceFqn, link: offer.link };
    const connection = new OffererConnection(
      at,
      connectionConfig,
      this.#port,
      this.#proof,
      { needsOffer: this.#hooks.needsOffer, ended: (ended) => this.#ended(ended) },
      talk,
      sid,
    );
    connection.setPeer(peer);
    this.#connections.add(connection);
    connection.on('connected', () => {
      this.#watches.get(connection)?.();
      this.#hooks.waitsNoMore(connection);
    });
    connection.on('state:changed', ({ newState }) => {
      // emitted before `connected`, so that a `connected` listener added in `connection:opened` is called
      if (newState === 'connected' && !this.#opened.has(connection)) {
        this.#opened.add(connection);
        this.#hooks.opened(connection);
      }
      this.#hooks.changed();
    });
    connection.on('closed', (reason) => this.#hooks.closed(connection, reason));
    connection.on('reconnect:exhausted', (attempts) => {
      const text = `${peer.username} could not be reached in ${attempts} attempts`;
      this.#hooks.failed(connection.getOfferId(), new RondevuError('timeout', text));
    });
    return connection;
  }

  #watch(connection: OffererConnection, offerId: string): void {
    this.#watches.get(connection)?.();
    const stop = this.#port.watch(offerId, this.#options.serviceFqn, false, {
      onCandidates: (candidates) => {
        for (const { candidate } of candidates) void connection.addCandidate(candidate);
      },
    });
    this.#watches.set(connection, stop);
  }

  #ended(connection: OffererConnection): void {
    this.#connections.delete(connection);
    this.#opened.delete(connection);
    this.#watches.get(connection)?.();
    this.#watches.delete(connection);
    this.#hooks.waitsNoMore(connection);
    this.#hooks.changed();
    this.#hooks.ended();
  }
}
