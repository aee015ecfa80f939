/**
 * DirectedOffers: maps connections to the offers at which they wait for their peers. A directed offer is published for one user
 * alone; after a while the connection gives it up, and its peer can answer any free offer of the service instead.
 */
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { Offer } from './offer.js';

/** How long a connection waits with a directed offer before it waits without one, in ms. */
const PARK_AFTER = 30_000;

/** The pool as seen by its directed offers. */
export interface DirectedOffersHost {
  /** Maximum time that an offer may wait, in ms. */
  maxWait(): number;
  create(username: string): Promise<Offer>;
  /** Publishes the offer if it is still wanted when it is its turn. */
  publish(offer: Offer, isWanted: () => boolean): Promise<void>;
  /** The offer is published: the connection waits there from now on. */
  bind(connection: OffererConnection, offer: Offer): void;
  /** Withdraws the offer and closes its link. */
  withdraw(offer: Offer): void;
  /** The connection gave up its offer and waits without one. */
  parked(connection: OffererConnection): void;
}

interface Entry {
  /** Undefined while the offer is being made. */
  offer: Offer | undefined;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class DirectedOffers {
  readonly #host: DirectedOffersHost;
  readonly #entries = new Map<OffererConnection, Entry>();

  constructor(host: DirectedOffersHost) {
    this.#host = host;
  }

  /** Whether an offer for the connection's peer is published or being made. */
  has(connection: OffererConnection): boolean {
    return this.#entries.has(connection);
  }

  get offers(): Offer[] {
    return [...this.#entries.values()].flatMap(({ offer }) => offer ?? []);
  }

  /** Publishes an offer for the connection's peer. Never rejects: the other offers remain, and the next lost link tries again. */
  async publishFor(connection: OffererConnection, username: string): Promise<void> {
    const park = () => {
      this.cancel(connection);
      this.#host.parked(connection);
    };
    const entry: Entry = { offer: undefined, timer: setTimeout(park, Math.min(PARK_AFTER, this.#host.maxWait())) };
    this.#entries.set(connection, entry);
    // the peer may return, and leave again, while the offer is being made
    const isWanted = () => this.#entries.get(connection) === entry && connection.isRotating();
    try {
      const offer = await this.#host.create(username);
      if (!isWanted()) return this.#host.withdraw(offer);
      // its answer may arrive before the reply with its id
      entry.offer = offer;
      await this.#host.publish(offer, isWanted);
    } catch {
      // see above
    }
    // answered or cancelled in the meantime
    if (!entry.offer || this.#entries.get(connection) !== entry) return;
    if (entry.offer.id && isWanted()) this.#host.bind(connection, entry.offer);
    else this.cancel(connection);
  }

  /** An offer was answered: removes it, and returns the connection that waited there. */
  take(offer: Offer): OffererConnection | undefined {
    const [connection] = [...this.#entries].find(([, entry]) => entry.offer === offer) ?? [];
    if (connection) this.#remove(connection);
    return connection;
  }

  /** The connection no longer waits: its peer is back, will not return, or is waited for without a directed offer. */
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
