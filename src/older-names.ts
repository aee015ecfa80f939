/** Names of the Rondevu clients 0.20 and 0.9, and the low-level calls of the wire. Stateless; larger parts are loaded on use. */
import { chunk } from './base/chunk.js';
import { Emitter } from './base/emitter.js';
import type { DurableConnectionConfig } from './durable/config.js';
import type { OffererConnection } from './connection/offerer-connection.js';
import type { DurableConnection } from './durable/durable-connection.js';
import type { DurableService, DurableServiceConfig } from './durable/durable-service.js';
import type { ServiceEntry, ServicePage, WireCandidate } from './protocol/rpc.js';
import type { Rondevu } from './rondevu.js';
import type { ActiveOffer } from './legacy/types.js';
import type { RondevuAPI, RpcClient } from './signaling/index.js';

const durable = () => chunk('durable', () => import('./durable/index.js'));
const api = () => chunk('rondevu-api', () => import('./signaling/rondevu-api.js'));

/** Methods of an array that `getActiveConnections()` has beside those of a Map. */
const ARRAY_METHODS = ['at', 'every', 'filter', 'find', 'flatMap', 'map', 'some'] as const;

/** A Map by offer id, as in v0.20, with indices, `length` and the commonest methods of an array. A snapshot. */
export type ActiveConnections = Map<string, OffererConnection> &
  Pick<readonly OffererConnection[], 'length' | number | (typeof ARRAY_METHODS)[number]>;

export function activeConnections(connections: OffererConnection[]): ActiveConnections {
  const map = new Map(connections.map((connection) => [connection.getOfferId(), connection]));
  const { length } = connections;
  const methods = ARRAY_METHODS.map((name) => [name, connections[name].bind(connections)] as const);
  for (const [name, value] of [...Object.entries(connections), ['length', length] as const, ...methods])
    Object.defineProperty(map, name, { value });
  return map as ActiveConnections;
}

export abstract class OlderNames<Events extends object> extends Emitter<Events> {
  abstract readonly api: RpcClient;
  abstract findService(
    serviceFqn: string,
    options?: { mode?: 'direct' | 'random' | 'paginated'; limit?: number; offset?: number },
  ): Promise<ServiceEntry | ServicePage>;

  /** `findService(fqn, { mode: 'direct' })` */
  getService(serviceFqn: string): Promise<ServiceEntry> {
    return this.findService(serviceFqn, { mode: 'direct' }) as Promise<ServiceEntry>;
  }

  /** `findService(service, { mode: 'random' })` */
  discoverService(service: string): Promise<ServiceEntry> {
    return this.findService(service, { mode: 'random' }) as Promise<ServiceEntry>;
  }

  /** `findService(service, { mode: 'paginated', limit, offset })` */
  discoverServices(service: string, limit = 10, offset = 0): Promise<ServicePage> {
    return this.findService(service, { mode: 'paginated', limit, offset }) as Promise<ServicePage>;
  }

  postOfferAnswer(serviceFqn: string, offerId: string, sdp: string) {
    return this.api.call('answerOffer', { serviceFqn, offerId, sdp });
  }

  /** Resolves with null while the offer is not answered. */
  async getOfferAnswer(serviceFqn: string, offerId: string) {
    return (await api()).offerAnswer(this.api, serviceFqn, offerId);
  }

  abstract getActiveConnections(): ActiveConnections;

  /** v0.20: opened connections in the old form. @deprecated Use `getActiveConnections()`. */
  getActiveOffers(): ActiveOffer[] {
    return this.getActiveConnections().flatMap((connection) => {
      const pc = connection.getPeerConnection();
      const dc = connection.getDataChannel();
      if (!pc) return [];
      const { serviceFqn } = connection;
      return [
        {
          offerId: connection.getOfferId(),
          serviceFqn,
          pc,
          ...(dc && { dc }),
          answered: connection.isConnected(),
          createdAt: Date.now(),
        },
      ];
    });
  }

  /** v0.20: the calls of the wire under this client's name and key. @deprecated Use `api.call()`, or make a `RondevuAPI`. */
  getAPIPublic(): RondevuAPI {
    const { baseUrl, username, identity } = this.api;
    let made: RondevuAPI | undefined;
    // every method of it is asynchronous, so it is loaded by the first call
    return new Proxy({ baseUrl, username } as RondevuAPI, {
      get: (target, name: keyof RondevuAPI | 'then') =>
        name === 'then' || name in target
          ? target[name as keyof RondevuAPI]
          : async (...args: never[]) => {
              const { RondevuAPI } = await api();
              made ??= new RondevuAPI(baseUrl, username, identity);
              return (made as unknown as Record<string, (...args: never[]) => unknown>)[name]!(...args);
            },
    });
  }

  /** @param since ms */
  poll(since = 0) {
    return this.api.call('poll', { since });
  }

  /** @param since ms */
  pollOffers(since = 0) {
    return this.poll(since);
  }

  addOfferIceCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]) {
    return this.api.call('addIceCandidates', { serviceFqn, offerId, candidates });
  }

  /** @param since ms */
  getOfferIceCandidates(serviceFqn: string, offerId: string, since = 0) {
    return this.api.call('getIceCandidates', { serviceFqn, offerId, since });
  }

  /**
   * v0.9: declares a service whose channels a handler takes; its `start()` begins to accept.
   * @throws ValidationError; RondevuError `already-published`
   */
  async exposeService(config: DurableServiceConfig): Promise<DurableService> {
    return (await durable()).exposeService(this as unknown as Rondevu, config);
  }

  /** v0.9: a connection to a service of that user; its `connect()` makes it. @throws ValidationError */
  async connect(username: string, serviceFqn: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connect(this as unknown as Rondevu, username, serviceFqn, config);
  }

  /** v0.9: the same by the id of the service. @throws ValidationError */
  async connectByUuid(uuid: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connectByUuid(this as unknown as Rondevu, uuid, config);
  }
}
