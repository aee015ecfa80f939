/**
 * OlderNames: the methods of the Rondevu clients 0.20 and 0.9, and the low-level calls of the wire protocol, on top of the
 * current methods, which this class declares and the client implements. Has no state; larger parts are loaded on the first call.
 */
import { chunk } from '../base/chunk.js';
import { Emitter } from '../base/emitter.js';
import type { DurableConnectionConfig } from './durable/config.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { DurableConnection } from './durable/durable-connection.js';
import type { DurableService, DurableServiceConfig } from './durable/durable-service.js';
import type { DurableClient } from './durable/index.js';
import type { Keypair } from '../identity/index.js';
import type { OfferPool } from '../offers/offer-pool.js';
import type { ConnectOptions, FindOptions, PublishOptions } from '../options.js';
import type { AnswererConnection } from '../connection/answerer-connection.js';
import type { ServiceEntry, ServicePage, WireCandidate } from '../protocol/rpc.js';
import type { ActiveOffer } from './types.js';
import type { RondevuAPI, RpcClient } from '../signaling/index.js';

const durable = () => chunk('durable', () => import('./durable/index.js'));
const api = () => chunk('rondevu-api', () => import('../signaling/rondevu-api.js'));

/** Array methods that `getActiveConnections()` has in addition to the methods of a Map. */
const ARRAY_METHODS = ['at', 'every', 'filter', 'find', 'flatMap', 'map', 'some'] as const;

/** A Map by offer id, as in v0.20, with indices, `length` and the most common array methods. A snapshot. */
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

export abstract class OlderNames<Events extends object> extends Emitter<Events> implements DurableClient {
  abstract readonly api: RpcClient;
  abstract getUsername(): string;
  abstract getKeypair(): Keypair;
  abstract publishService(options: PublishOptions): Promise<OfferPool>;
  abstract unpublishService(serviceFqn: string): Promise<void>;
  abstract prepareConnection(options: ConnectOptions): Promise<AnswererConnection>;
  abstract findService(serviceFqn: string, options: FindOptions & { mode: 'paginated' }): Promise<ServicePage>;
  abstract findService(serviceFqn: string, options?: FindOptions & { mode?: 'direct' | 'random' }): Promise<ServiceEntry>;

  /** `findService(fqn, { mode: 'direct' })` */
  getService(serviceFqn: string): Promise<ServiceEntry> {
    return this.findService(serviceFqn, { mode: 'direct' });
  }

  /** `findService(service, { mode: 'random' })` */
  discoverService(service: string): Promise<ServiceEntry> {
    return this.findService(service, { mode: 'random' });
  }

  /** `findService(service, { mode: 'paginated', limit, offset })` */
  discoverServices(service: string, limit = 10, offset = 0): Promise<ServicePage> {
    return this.findService(service, { mode: 'paginated', limit, offset });
  }

  postOfferAnswer(serviceFqn: string, offerId: string, sdp: string) {
    return this.api.call('answerOffer', { serviceFqn, offerId, sdp });
  }

  /** Resolves to null while the offer is not answered. */
  async getOfferAnswer(serviceFqn: string, offerId: string) {
    return (await api()).offerAnswer(this.api, serviceFqn, offerId);
  }

  abstract getActiveConnections(): ActiveConnections;

  /** v0.20: the opened connections. @deprecated Use `getActiveConnections()`. */
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

  /** v0.20: the calls of the wire protocol, signed by this client. @deprecated Use `api.call()`, or make a `RondevuAPI`. */
  getAPIPublic(): RondevuAPI {
    const { baseUrl, username, identity } = this.api;
    let made: RondevuAPI | undefined;
    // all its methods are asynchronous, so the first call loads it
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
   * v0.9: declares a service whose channels are passed to a handler; call its `start()`.
   * @throws ValidationError; RondevuError `already-published`
   */
  async exposeService(config: DurableServiceConfig): Promise<DurableService> {
    return (await durable()).exposeService(this, config);
  }

  /** v0.9: a connection to a user's service; call its `connect()`. @throws ValidationError */
  async connect(username: string, serviceFqn: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connect(this, username, serviceFqn, config);
  }

  /** v0.9: a connection to a service by its id; call its `connect()`. @throws ValidationError */
  async connectByUuid(uuid: string, config?: DurableConnectionConfig): Promise<DurableConnection> {
    return (await durable()).connectByUuid(this, uuid, config);
  }
}
