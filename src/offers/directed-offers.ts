/**
 * DirectedOffers: maps connections to the offers with which they wait for their peers. A directed offer is published for a
 * single user.
 */
import { timerDelay } from '../base/timers.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { Offer } from './offer.js';

/** A connection that is waiting for its peer, and its directed offer. */
export interface Waiting {
  readonly connection: OffererConnection;
  /** The directed offer; undefined while it is being created. */
  offer: Offer | undefined;
}

export class DirectedOffers {
  readonly #entries = new Map<OffererConnection, { waiting: Waiting; timer: ReturnType<typeof setTimeout> }>();

  /** Whether an offer for the connection's peer is published or being created. */
  has(connection: OffererConnection): boolean {
    return this.#entries.has(connection);
  }

  get offers(): Offer[] {
    return [...this.#entries.values()].flatMap(({ waiting }) => waiting.offer ?? []);
  }

  /**
   * Adds a connection, which has no offer yet.
   * @param maxWait time in ms after which `onTimeout` is called, unless the connection is removed first
   */
  add(connection: OffererConnection, maxWait: number, onTimeout: () => void): Waiting {
    const waiting: Waiting = { connection, offer: undefined };
    this.#entries.set(connection, { waiting, timer: setTimeout(onTimeout, timerDelay(maxWait)) });
    return waiting;
  }

  /** Whether the connection is still waiting with this offer: its peer may have returned, and may even have left again. */
  includes(waiting: Waiting): boolean {
    return this.#entries.get(waiting.connection)?.waiting === waiting;
  }

  /** Removes an offer that was answered, and returns the connection that waited with this offer. */
  take(offer: Offer): OffererConnection | undefined {
    const [connection] = [...this.#entries].find(([, { waiting }]) => waiting.offer === offer) ?? [];
    if (connection) this.remove(connection);
    return connection;
  }

  /** Removes a connection, and returns its offer, if it has one, for the caller to withdraw. */
  remove(connection: OffererConnection): Offer[] {
    const entry = this.#entries.get(connection);
    clearTimeout(entry?.timer);
    this.#entries.delete(connection);
    return entry?.waiting.offer ? [entry.waiting.offer] : [];
  }

  /** Removes all connections, and returns their offers. */
  clear(): Offer[] {
    return [...this.#entries.keys()].flatMap((connection) => this.remove(connection));
  }
}
