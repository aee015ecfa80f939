/**
 * DirectedOffers: maps connections to the offers with which they wait for their peers. A directed offer is published for a
 * single user; after a while, the offer is withdrawn, and the peer can answer any free offer of the service instead.
 */
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { Offer } from './offer.js';

/** How long a connection keeps its directed offer before it waits without an offer, in ms. */
const PARK_AFTER = 30_000;

/** The part of the pool that directed offers use. */
export interface DirectedOffersHost {
  /** Returns the maximum time that an offer may wait for an answer, in ms. */
  maxWait(): number;
  create(username: string): Promise<Offer>;
  /** Publishes the offer if it is still wanted when its turn comes. */
  publish(offer: Offer, isWanted: () => boolean): Promise<void>;
  /** Binds the connection to an offer that has been published. */
  bind(connection: OffererConnection, offer: Offer): void;
  /** Withdraws the offer and closes its link. */
  withdraw(offer: Offer): void;
  /** Called when the offer of the connection has been withdrawn and the connection waits without an offer. */
  parked(connection: OffererConnection): void;
}

interface Entry {
  /** The directed offer; undefined while it is being created. */
  offer: Offer | undefined;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class DirectedOffers {
  readonly #host: DirectedOffersHost;
  readonly #entries = new Map<OffererConnection, Entry>();

  constructor(host: DirectedOffersHost) {
    this.#host = host;
  }

  /** Whether an offer for the connection's peer is published or being created. */
  has(connection: OffererConnection): boolean {
    return this.#entries.has(connection);
  }

  get offers(): Offer[] {
    return [...this.#entries.values()].flatMap(({ offer }) => offer ?? []);
  }

  /**
   * Publishes an offer for the connection's peer. Never rejects: the other offers remain available, and the pool tries again
   * when the next link is lost.
   */
  async publishFor(connection: OffererConnection, username: string): Promise<void> {
    const park = () => {
      this.cancel(connection);
      this.#host.parked(connection);
    };
    const entry: Entry = { offer: undefined, timer: setTimeout(park, Math.min(PARK_AFTER, this.#host.maxWait())) };
    this.#entries.set(connection, entry);
    // the peer may return, and leave again, while the offer is being created
    const isWanted = () => this.#entries.get(connection) === entry && connection.isRotating();
    try {
      const offer = await this.#host.create(username);
      if (!isWanted()) return this.#host.withdraw(offer);
      // the answer may arrive before the server's reply with the offer id
      entry.offer = offer;
      await this.#host.publish(offer, isWanted);
    } catch {
      // see above
    }
    // the offer was answered or cancelled in the meantime
    if (!entry.offer || this.#entries.get(connection) !== entry) return;
    if (entry.offer.id && isWanted()) this.#host.bind(connection, entry.offer);
    else this.cancel(connection);
  }

  /** Removes an offer that was answered, and returns the connection that waited with this offer. */
  take(offer: Offer): OffererConnection | undefined {
    const [connection] = [...this.#entries].find(([, entry]) => entry.offer === offer) ?? [];
    if (connection) this.#remove(connection);
    return connection;
  }

  /** Withdraws the offer of a connection, because its peer is back, will not return, or has not answered in time. */
  cancel(connection: OffererConnection): void {
    const offer = this.#remove(connection);
    if (offer) this.#host.withdraw(offer);
  }

  /** Removes all offers and returns them. */
  clear(): Offer[] {
    return [...this.#entries.keys()].flatMap((connection) => this.#remove(connection) ?? []);
  }

  #remove(connection: OffererConnection): Offer | undefined {
    const entry = this.#entries.get(connection);
    clearTimeout(entry?.timer);
    this.#entries.delete(connection);
    return entry?.offer;
  }
}
