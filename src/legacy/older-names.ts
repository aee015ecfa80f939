/**
 * Adds the methods of the 0.20 and 0.9 Rondevu clients to the client class. All but two of these methods are loaded from
 * older-calls.ts on the first call.
 */
import { chunk } from '../base/chunk.js';
import type { OffererConnection } from '../connection/offerer-connection.js';
import type { RondevuAPI } from '../signaling/index.js';
import type { ActiveConnections, OlderClient } from './older-types.js';
import type { ActiveOffer } from './types.js';

const calls = () => chunk('older-calls', () => import('./older-calls.js'));

/** Array methods that the result of `getActiveConnections()` has in addition to the Map methods. */
const ARRAY_METHODS = ['at', 'every', 'filter', 'find', 'flatMap', 'map', 'some'] as const;

export function activeConnections(connections: OffererConnection[]): ActiveConnections {
  const map = new Map(connections.map((connection) => [connection.getOfferId(), connection]));
  const { length } = connections;
  const methods = ARRAY_METHODS.map((name) => [name, connections[name].bind(connections)] as const);
  for (const [name, value] of [...Object.entries(connections), ['length', length] as const, ...methods])
    Object.defineProperty(map, name, { value });
  return map as ActiveConnections;
}

const LOADED_ON_CALL =
  'getService discoverService discoverServices postOfferAnswer getOfferAnswer poll pollOffers addOfferIceCandidates ' +
  'getOfferIceCandidates exposeService connect connectByUuid';

function getActiveOffers(this: OlderClient): ActiveOffer[] {
  return this.getActiveConnections().flatMap((connection) => {
    const pc = connection.getPeerConnection();
    const dc = connection.getDataChannel();
    if (!pc) return [];
    const { serviceFqn } = connection;
    const answered = connection.isConnected();
    return [{ offerId: connection.getOfferId(), serviceFqn, pc, ...(dc && { dc }), answered, createdAt: Date.now() }];
  });
}

function getAPIPublic(this: OlderClient): RondevuAPI {
  const { baseUrl, username } = this.api;
  let made: RondevuAPI | undefined;
  // all methods of RondevuAPI are asynchronous, so the class can be loaded on the first call
  return new Proxy({ baseUrl, username } as RondevuAPI, {
    get: (target, name: keyof RondevuAPI | 'then') =>
      name === 'then' || name in target
        ? target[name as keyof RondevuAPI]
        : async (...args: never[]) => {
            made ??= await (await calls()).makeAPI(this);
            return (made as unknown as Record<string, (...args: never[]) => unknown>)[name]!(...args);
          },
  });
}

/** Adds the methods to the prototype of the client class. */
export function addOlderNames(prototype: object): void {
  const methods: Record<string, unknown> = { getActiveOffers, getAPIPublic };
  for (const name of LOADED_ON_CALL.split(' '))
    methods[name] = async function (this: OlderClient, ...args: never[]) {
      return ((await calls()) as Record<string, (client: OlderClient, ...args: never[]) => unknown>)[name]!(this, ...args);
    };
  // non-enumerable, like all class methods
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
}
