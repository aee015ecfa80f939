/**
 * Implements the methods of the 0.20 and 0.9 Rondevu clients with the current methods. This module is loaded on the first call to
 * such a method.
 */
import { chunk } from '../base/chunk.js';
import type { RondevuAPI } from '../signaling/index.js';
import type { OlderClient, OlderNames } from './older-types.js';

const durable = () => chunk('durable', () => import('./durable/index.js'));
const api = () => chunk('rondevu-api', () => import('../signaling/rondevu-api.js'));

/** A client method as a function that takes the client as its first argument. */
type Call<Name extends keyof OlderNames> = (
  client: OlderClient,
  ...args: Parameters<OlderNames[Name]>
) => ReturnType<OlderNames[Name]>;

export const getService: Call<'getService'> = (client, fqn) => client.findService(fqn, { mode: 'direct' });

export const discoverService: Call<'discoverService'> = (client, service) => client.findService(service, { mode: 'random' });

export const discoverServices: Call<'discoverServices'> = (client, service, limit = 10, offset = 0) =>
  client.findService(service, { mode: 'paginated', limit, offset });

export const postOfferAnswer: Call<'postOfferAnswer'> = (client, serviceFqn, offerId, sdp) =>
  client.api.call('answerOffer', { serviceFqn, offerId, sdp });

export const getOfferAnswer: Call<'getOfferAnswer'> = async (client, serviceFqn, offerId) =>
  (await api()).offerAnswer(client.api, serviceFqn, offerId);

export const poll: Call<'poll'> = (client, since = 0) => client.api.call('poll', { since });

export { poll as pollOffers };

export const addOfferIceCandidates: Call<'addOfferIceCandidates'> = (client, serviceFqn, offerId, candidates) =>
  client.api.call('addIceCandidates', { serviceFqn, offerId, candidates });

export const getOfferIceCandidates: Call<'getOfferIceCandidates'> = (client, serviceFqn, offerId, since = 0) =>
  client.api.call('getIceCandidates', { serviceFqn, offerId, since });

export const exposeService: Call<'exposeService'> = async (client, config) => (await durable()).exposeService(client, config);

export const connect: Call<'connect'> = async (client, username, serviceFqn, config) =>
  (await durable()).connect(client, username, serviceFqn, config);

export const connectByUuid: Call<'connectByUuid'> = async (client, uuid, config) =>
  (await durable()).connectByUuid(client, uuid, config);

/** The result of `getAPIPublic`. */
export async function makeAPI(client: OlderClient): Promise<RondevuAPI> {
  const { RondevuAPI } = await api();
  const { baseUrl, username, identity } = client.api;
  return new RondevuAPI(baseUrl, username, identity);
}
