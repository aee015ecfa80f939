/**
 * Implements the calls. The caller has been authenticated and the params have been validated. Error messages that v0.20 clients
 * read are unchanged since v0.20; the error codes are new. See "Calls" in docs/protocol.md.
 */
import {
  compareVersions,
  formatServiceName,
  isAnonymousName,
  parseServiceName,
  type AnswerInfo,
  type OfferInfo,
  type RpcMethod,
  type RpcResult,
  type ServiceEntry,
  type ServiceName,
  type ServicePage,
} from 'rondevu-elements/protocol';
import type { Caller, DisconnectSignal } from './caller.js';
import type { ClaimClock } from './claim-clock.js';
import type { Discovery } from './discovery.js';
import type { Limits } from './limits.js';
import type { Hub } from './hub.js';
import { ITEMS_PER_POINT } from './limiter.js';
import type { Joiner, Match, Query } from './joiner.js';
import type { Matchmaker } from './matchmaker.js';
import { principalOf, type Principal } from './principal.js';
import type { Quotas } from './quotas.js';
import { RpcError } from './rpc-error.js';
import type { Params } from './schemas.js';
import type { Slots } from './slots.js';
import { MAX_ENDED, type OfferRow, type ServiceRow, type Side, type Store } from './store.js';
import type { Turn } from './turn.js';

/**
 * Maximum number of parked candidates per user and offer. Candidates are parked if they arrive before the offer is answered and
 * are sent by a user who is neither the offerer nor the lease holder.
 */
export const MAX_PARKED = 16;
/** How long parked candidates are kept, in ms. */
export const PARKED_TTL = 10_000;
/** Maximum number of users with parked candidates per offer. */
export const MAX_PARKING_USERS = 8;
/** Number of services on a page that are read before other calls get a turn. */
const ROWS_PER_TURN = 20;
/** Cost of parking candidates, in points, in addition to the cost of the call. */
export const PARKING_COST = 20;
/** Number of answered offers that a poll examines for each additional point. */
export const POLLED_PER_POINT = 250;
/** Number of bytes of a `signal` that cost one point when sent to an additional socket of the user. */
export const SIGNAL_BYTES_PER_POINT = 8192;
/** Assumed size of a candidate, in bytes. */
const CANDIDATE_SIZE = 200;
/** A principal that matches no user. */
const NOBODY: Principal = '-';

export interface Services {
  store: Store;
  hub: Hub;
  discovery: Discovery;
  matchmaker: Matchmaker;
  limits: Limits;
  turn: Turn;
  quotas: Quotas;
  /** Charges points for costs that become known during the call, and waits for the caller's turn. */
  charge(caller: Caller, points: number): Promise<void>;
  /**
   * Charges points for work already done; the points count against later calls, because a call that holds a slot in `large`
   * must not wait for a turn.
   */
  chargeInArrears(caller: Caller, points: number): Promise<void>;
  /** Rejects if the caller has overspent its points, for example on large replies. */
  checkPoints(caller: Caller): Promise<void>;
  /** Limits concurrent calls that may need a lot of memory, by address. */
  large: Slots;
  /** Called when a key has released its username. */
  onRelease(caller: Caller): Promise<void>;
  clock: Pick<ClaimClock, 'at'>;
  authorize?: Authorize | undefined;
}

/** Description of the action that a caller requests, passed to the `authorize` option of `createServer`. */
export interface AuthorizeContext {
  /** `join` is a look-up that hands out an offer; `get` is a look-up that does not. */
  action: 'publish' | 'get' | 'join' | 'answer' | 'signal';
  username: string;
  /** 32 bytes, standard base64. */
  publicKey: string;
  /** IPv6 as its /64. */
  address: string;
  /** Requested service name: without a username for a discovery; undefined for a look-up by id and for `signal`. */
  serviceFqn?: string;
  /** With `getServiceById`. */
  serviceId?: string;
  /** With `signal`: the recipient. */
  to?: string;
}

/**
 * Decides whether a call is allowed: true allows the call, false refuses it, and a string refuses it and is sent to the client
 * as the error message. If the function throws, the call fails with `unavailable`.
 */
export type Authorize = (context: AuthorizeContext) => boolean | string | Promise<boolean | string>;

type Handler<M extends RpcMethod> = (
  params: Params<M>,
  caller: Caller,
  disconnectSignal: DisconnectSignal,
) => Promise<RpcResult<M>>;
export type Handlers = { [M in RpcMethod]: Handler<M> };

export function createHandlers(services: Services): Handlers {
  const { store, hub, discovery, matchmaker, limits, turn, quotas, clock, authorize } = services;

  async function permit(
    action: AuthorizeContext['action'],
    { username, publicKey, address }: Caller,
    of: Pick<AuthorizeContext, 'serviceFqn' | 'serviceId' | 'to'>,
  ): Promise<void> {
    if (!authorize) return;
    const verdict = await authorize({ action, username, publicKey, address, ...of });
    if (verdict !== true) throw new RpcError('forbidden', verdict || `This server does not allow ${username} to ${action} here`);
  }

  /** Charges a call for the offers that it deletes, at the same rate as for publishing. @throws RpcError `rate-limited` */
  async function chargeOffers(caller: Caller, serviceFqn = ''): Promise<void> {
    const { offers } = await store.countOf(caller.username, serviceFqn, Date.now());
    const points = Math.floor(offers / ITEMS_PER_POINT);
    if (points) await services.charge(caller, points);
  }

  async function requireOffer(offerId: string, serviceFqn: string): Promise<OfferRow> {
    const offer = await store.getOffer({ offerId, serviceFqn }, Date.now());
    if (!offer) throw offerGoneError(offerId);
    return offer;
  }

  /**
   * Returns whether a user is the offerer or the answerer of an offer; undefined for any other user. Until the offer is
   * answered, the holder of its lease counts as the answerer.
   */
  function sideOf(offer: OfferRow, caller: Caller, instance: string | undefined): Side | undefined {
    // eslint-disable-next-line no-restricted-syntax -- the other time is from the wall clock
    const holder = offer.leaseUntil > Date.now() ? offer.leaseHolder : undefined;
    const answerer = offer.answer ? principalOf(offer.answer) : holder;
    const own = principalOf(caller);
    // both peers may be instances of the same user
    if (own === principalOf(offer) && (own !== answerer || instance === offer.instance)) return 'offerer';
    return own === answerer ? 'answerer' : undefined;
  }

  /** Returns the current holder of a username. */
  async function holderOf(username: string): Promise<Principal | undefined> {
    if (isAnonymousName(username)) return username;
    const user = await store.getUser(username, clock.at(Date.now()));
    return user && principalOf(user);
  }

  /** An offer directed to an unclaimed username is handed to nobody, because a later claimant is not the intended user. */
  async function resolveRecipients(
    offers: { sdp: string; for?: string | undefined }[],
  ): Promise<{ sdp: string; for?: Principal | undefined }[]> {
    const names = [...new Set(offers.flatMap(({ for: name }) => name ?? []))];
    if (!names.length) return offers.map(({ sdp }) => ({ sdp }));
    const holders = new Map(await Promise.all(names.map(async (name) => [name, await holderOf(name)] as const)));
    return offers.map(({ sdp, for: name }) => (name === undefined ? { sdp } : { sdp, for: holders.get(name) ?? NOBODY }));
  }

  async function pushAnswer(offer: OfferRow): Promise<void> {
    await hub.push(principalOf(offer), offer.instance, 'answer', { ...answerInfo(offer), serviceFqn: offer.serviceFqn });
  }

  /**
   * Waits for a free slot, then runs a call that may need a lot of memory, unless the caller has overspent its points in the
   * meantime.
   */
  const large = <T>(caller: Caller, disconnectSignal: DisconnectSignal, run: () => Promise<T>): Promise<T> =>
    services.large.run(caller.address, async (hasWaited) => {
      if (hasWaited && disconnectSignal().aborted) throw new RpcError('closed', 'The client disconnected');
      if (hasWaited) await services.checkPoints(caller);
      return run();
    });

  /**
   * Returns one page of services. A page ends at its byte limit but has at least one service, so that a client that reads page
   * after page makes progress.
   */
  async function page(
    target: ServiceName,
    caller: Caller,
    limit: number,
    offset: number,
    disconnectSignal: DisconnectSignal,
  ): Promise<ServicePage> {
    const now = Date.now();
    // the order is fixed so that pages do not overlap
    const listed = await discovery.list(target, (points) => services.chargeInArrears(caller, points));
    const found = listed.sort(
      (a, b) => compareVersions(b.version, a.version) || a.createdAt - b.createdAt || (a.serviceId < b.serviceId ? -1 : 1),
    );
    const entries: ServiceEntry[] = [];
    let bytes = 0;
    let next = offset;
    for (; next < found.length && entries.length < limit && bytes < limits.maxReplyBytes; next++) {
      if (entries.length % ROWS_PER_TURN === ROWS_PER_TURN - 1) {
        await new Promise(setImmediate);
        if (disconnectSignal().aborted) throw new RpcError('closed', 'The client disconnected');
      }
      const service = await store.getService(found[next]!.serviceId, now);
      const [offer] = service ? await store.listUnanswered(service, 1, now) : [];
      if (!service || !offer) continue;
      const shown = entry(service, offer);
      const size = Buffer.byteLength(JSON.stringify(shown));
      if (entries.length && bytes + size > limits.maxReplyBytes) break;
      entries.push(shown);
      bytes += size;
    }
    return { services: entries, count: entries.length, limit, offset, ...(next < found.length && { next }) };
  }

  /** Returns the result of a poll: answers and candidates, up to the byte limit. */
  async function pollResult(caller: Caller, instance: string | undefined, since: number): Promise<RpcResult<'poll'>> {
    const now = Date.now();
    const result: RpcResult<'poll'> = { answers: [], iceCandidates: {} };
    let bytes = 0;
    const { offers, examined } = await store.pollOffers(caller, instance, since, now);
    const points = Math.floor(examined / POLLED_PER_POINT);
    if (points) await services.chargeInArrears(caller, points);
    for (const offer of offers) {
      // the remaining offers are left for the next poll
      if (bytes >= limits.maxReplyBytes) break;
      const own = principalOf(offer) === principalOf(caller) && offer.instance === instance;
      if (own && (await store.takeAnswer(offer, since))) {
        const answer = answerInfo(offer);
        bytes += Buffer.byteLength(JSON.stringify(answer));
        result.answers.push(answer);
        // the reply counts as the acknowledgement, because a polling client does not send acknowledgements
        await hub.push(principalOf(offer.answer!), offer.answer!.instance, 'taken', { offerId: offer.offerId });
      }
      const candidates = await store.takeCandidates(offer, own ? 'offerer' : 'answerer', since, now);
      if (!candidates.length) continue;
      bytes += Buffer.byteLength(JSON.stringify(candidates));
      result.iceCandidates[offer.offerId] = candidates;
    }
    return result;
  }

  const find = (query: Query, joiner: Caller & Joiner, wait: number, disconnectSignal: DisconnectSignal): Promise<Match> =>
    matchmaker.find(query, joiner, wait, disconnectSignal, (points) => services.charge(joiner, points));

  async function leasedEntry({ service, offer }: Match, caller: Caller): Promise<ServiceEntry> {
    const candidates = (await store.listCandidates(offer, 'offerer', Date.now())).map(({ candidate }) => candidate);
    const ice = turn.iceServersIfAvailable(caller, !isAnonymousName(caller.username), Date.now());
    return {
      ...entry({ ...service, metadata: (await store.getService(service.serviceId, Date.now()))?.metadata }, offer),
      // v0.20 clients expect `offers` in the reply to every look-up, and use the list to reconnect
      offers: [offerInfo(offer)],
      ...(candidates.length && { candidates }),
      ...(ice && { iceServers: ice.iceServers, iceTtl: ice.ttl }),
    };
  }

  return {
    async getUser({ username }) {
      const user = await store.getUser(username, clock.at(Date.now()));
      if (!user) return { username, available: true };
      return { username, available: false, claimedAt: user.claimedAt, expiresAt: user.expiresAt, publicKey: user.publicKey };
    },

    async publishService(params, caller) {
      const { serviceFqn, offers, ttl, instance, hidden, metadata } = params;
      const target = parseServiceName(serviceFqn);
      requireOwner(target.username, caller, serviceFqn);
      await permit('publish', caller, { serviceFqn });
      const now = Date.now();
      const own = principalOf(caller);
      // a call that is refused because the user has too many instances must not publish
      await Promise.all([quotas.check(caller.username, serviceFqn, offers.length, now), hub.touch(own, instance, now)]);
      const published = await store.publish(
        {
          ...target,
          username: caller.username,
          publicKey: caller.publicKey,
          serviceFqn,
          offers: await resolveRecipients(offers),
          ttl,
          instance,
          hidden,
          metadata,
        },
        limits.maxFreeOffers,
        now,
        Math.max(MAX_ENDED, limits.maxServicesPerUser),
      );
      const { service } = published;
      await hub.published(own, instance, service.serviceId, service.expiresAt - now);
      matchmaker.published(service.serviceId, caller.address);
      matchmaker.offersAdded(
        service,
        offers.flatMap(({ for: user }) => user ?? []),
      );
      return {
        serviceId: service.serviceId,
        username: caller.username,
        serviceFqn,
        offers: published.offers.map(offerInfo),
        createdAt: service.createdAt,
        expiresAt: service.expiresAt,
      };
    },

    async getService({ serviceFqn, limit, offset, wait, instance }, caller, disconnectSignal) {
      const target = parseServiceName(serviceFqn);
      await permit(limit === undefined ? 'join' : 'get', caller, { serviceFqn });
      await hub.touch(principalOf(caller), instance, Date.now());
      if (limit === undefined)
        return leasedEntry(await find({ target }, { ...caller, instance }, wait, disconnectSignal), caller);
      return large(caller, disconnectSignal, () => page(target, caller, limit, offset, disconnectSignal));
    },

    async getServiceById({ serviceId, wait, instance }, caller, disconnectSignal) {
      await permit('join', caller, { serviceId });
      await hub.touch(principalOf(caller), instance, Date.now());
      return leasedEntry(await find({ serviceId }, { ...caller, instance }, wait, disconnectSignal), caller);
    },

    async deleteService({ serviceFqn }, caller) {
      requireOwner(parseServiceName(serviceFqn).username, caller, serviceFqn);
      await chargeOffers(caller, serviceFqn);
      const serviceId = await store.deleteService(caller, serviceFqn);
      if (serviceId === undefined) throw new RpcError('not-found', 'Service not found');
      await hub.unpublished(principalOf(caller), serviceId);
      return { success: true };
    },

    async releaseUsername(_params, caller) {
      await chargeOffers(caller);
      for (const serviceId of await store.release(caller.username, caller.publicKey))
        await hub.unpublished(principalOf(caller), serviceId);
      await services.onRelease(caller);
      return { success: true };
    },

    async withdrawOffers({ serviceFqn, offerIds }, caller) {
      requireOwner(parseServiceName(serviceFqn).username, caller, serviceFqn);
      return { count: await store.withdraw(caller, serviceFqn, offerIds) };
    },

    async answerOffer({ serviceFqn, offerId, sdp, instance }, caller) {
      await permit('answer', caller, { serviceFqn });
      const now = Date.now();
      await hub.touch(principalOf(caller), instance, now);
      const offer = await store.getOffer({ offerId, serviceFqn }, now);
      if (!offer) {
        // a joiner is not penalized if the offer was withdrawn before its answer arrived
        matchmaker.offerWithdrawn(offerId, serviceFqn, caller.publicKey);
        throw offerGoneError(offerId);
      }
      if (principalOf(offer) === principalOf(caller) && offer.instance === instance)
        throw new RpcError('own-offer', 'Cannot answer your own offer');
      const answer = { username: caller.username, publicKey: caller.publicKey, instance, sdp };
      const verdict = await store.answer(offer, answer, now);
      if (verdict === 'gone') throw offerGoneError(offerId);
      if (verdict === 'reserved')
        throw new RpcError('already-answered', 'Offer reserved for another joiner: look the service up again');
      if (verdict === 'already-answered') throw new RpcError('already-answered', 'Offer already answered');
      matchmaker.offerAnswered(offerId, caller.publicKey);
      // a repeated answer is pushed again, because the server that stored the answer may have stopped before pushing it
      const first = verdict === 'repeated' ? await store.getOffer(offer, now) : undefined;
      const answered = first ?? { ...offer, answer: { ...answer, answeredAt: now, isGiven: false } };
      const [parked, late] = await Promise.all([
        store.listCandidates(answered, 'answerer', now),
        // candidates that the offerer added since the offer was handed out
        store.listCandidates(answered, 'offerer', now),
      ]);
      await pushAnswer(answered);
      if (parked.length) await hub.push(principalOf(answered), answered.instance, 'candidates', { offerId, candidates: parked });
      if (late.length) await hub.push(principalOf(caller), instance, 'candidates', { offerId, candidates: late });
      return { success: true, offerId };
    },

    async getOfferAnswer({ serviceFqn, offerId }, caller) {
      const offer = await requireOffer(offerId, serviceFqn);
      if (principalOf(caller) !== principalOf(offer)) throw new RpcError('forbidden', 'Not authorized to access this offer');
      if (!offer.answer) throw new RpcError('not-found', 'Offer not yet answered');
      const { serviceId: _, ...info } = answerInfo(offer);
      return info;
    },

    async poll({ since, instance }, caller, disconnectSignal) {
      await hub.touch(principalOf(caller), instance, Date.now());
      return large(caller, disconnectSignal, () => pollResult(caller, instance, since));
    },

    async addIceCandidates({ serviceFqn, offerId, candidates, instance }, caller) {
      const offer = await requireOffer(offerId, serviceFqn);
      const side = sideOf(offer, caller, instance);
      if (!side && offer.answer) throw new RpcError('forbidden', 'Not authorized to access this offer');
      const now = Date.now();
      // parking costs extra, because candidates from users outside the exchange are rarely useful
      if (!side) await services.charge(caller, PARKING_COST);
      if (!side && (await store.countParkingUsers(offer, principalOf(caller), now)) >= MAX_PARKING_USERS) {
        throw new RpcError('rate-limited', 'Too many users sent candidates for this offer before any answered it', {
          retryAfter: PARKED_TTL,
        });
      }
      const from = {
        username: caller.username,
        publicKey: caller.publicKey,
        role: side ?? ('answerer' as const),
        max: side ? limits.maxCandidates : MAX_PARKED,
        ...(!side && { parkedUntil: now + PARKED_TTL }),
      };
      let added = await store.addCandidates(offer, from, candidates, now);
      while (typeof added === 'object' && 'wait' in added) {
        const { wait } = added;
        await new Promise((resolve) => setTimeout(resolve, wait));
        added = await store.addCandidates(offer, from, candidates, Date.now());
      }
      if (added === 'gone') throw offerGoneError(offerId);
      if (added === 'too-many') {
        throw new RpcError(
          'too-large',
          `At most ${from.max} candidates per user and offer, ${side ? '' : 'before its answer, '}got ${candidates.length} more`,
        );
      }
      // the offer may have been answered while this call waited for the clock
      const { answer } = (await store.getOffer(offer, Date.now())) ?? offer;
      if (answer && added.length) {
        const to = side === 'offerer' ? answer : offer;
        if (side === 'offerer' || principalOf(answer) === principalOf(caller))
          await hub.push(principalOf(to), to.instance, 'candidates', { offerId, candidates: added });
      }
      return { count: candidates.length, offerId };
    },

    async signal({ to, sid, sdp, candidates }, caller) {
      await permit('signal', caller, { to });
      const target = await holderOf(to);
      if (target === undefined || !(await store.haveMet(principalOf(caller), target, Date.now())))
        throw new RpcError('forbidden', `No offer between ${caller.username} and ${to} was answered in the last 24 hours`);
      // each additional socket costs as much as the first
      const sockets = await hub.countSessions(target);
      const size = (sdp?.length ?? 0) + (candidates?.length ?? 0) * CANDIDATE_SIZE;
      if (sockets > 1) await services.charge(caller, Math.ceil(((sockets - 1) * size) / SIGNAL_BYTES_PER_POINT));
      const recipients = await hub.pushToUser(target, 'signal', {
        from: caller.username,
        sid,
        ...(sdp !== undefined && { sdp }),
        ...(candidates && { candidates }),
      });
      if (!recipients) throw new RpcError('peer-gone', `${to} has no open push socket`);
      return { success: true };
    },

    async getIceCandidates({ serviceFqn, offerId, since, instance }, caller) {
      const offer = await requireOffer(offerId, serviceFqn);
      const side = sideOf(offer, caller, instance);
      if (!side) throw new RpcError('forbidden', 'Not authorized to access this offer');
      return { candidates: await store.takeCandidates(offer, side, since, Date.now()), offerId };
    },

    async getIceServers(_params, caller) {
      return turn.iceServers(caller, !isAnonymousName(caller.username), Date.now());
    },
  };
}

function requireOwner(username: string | undefined, caller: Caller, serviceFqn: string): void {
  if (username === caller.username) return;
  throw new RpcError(
    'forbidden',
    `Service "${serviceFqn}" does not belong to "${caller.username}"; its name must end with @${caller.username}`,
  );
}

const offerGoneError = (offerId: string): RpcError =>
  new RpcError('offer-gone', `Offer not found or expired: ${offerId.slice(0, 16)}…`);

const offerInfo = ({ offerId, sdp, createdAt, expiresAt }: OfferRow): OfferInfo => ({ offerId, sdp, createdAt, expiresAt });

function answerInfo({ offerId, serviceId, answer }: OfferRow): AnswerInfo {
  const { username, publicKey, instance, sdp, answeredAt } = answer!;
  return {
    offerId,
    serviceId,
    answererId: username,
    sdp,
    answeredAt,
    answererKey: publicKey,
    ...(instance !== undefined && { answererInstance: instance }),
  };
}

function entry(service: ServiceRow, offer: OfferRow): ServiceEntry {
  const { serviceId, username, publicKey, metadata } = service;
  return {
    serviceId,
    username,
    serviceFqn: formatServiceName(service),
    ...offerInfo(offer),
    publicKey,
    ...(metadata !== undefined && { metadata }),
  };
}
