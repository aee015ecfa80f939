/**
 * The state of the server: usernames, services, offers with their leases and answers, candidates. Time is always an argument.
 * Sockets, signatures and queues are handled elsewhere. Every method is atomic.
 */
import { createHash } from 'node:crypto';
import type { CandidateInfo, WireCandidate } from 'rondevu-elements/protocol';
import type { NameHolder, Principal } from './principal.js';
import { NameLostError, type RpcError } from './rpc-error.js';

export interface UserRow {
  username: string;
  publicKey: string;
  claimedAt: number;
  expiresAt: number;
  /** When this key last signed in the v2 form, to the hour; 0 for never. */
  lastV2At: number;
}

export interface ServiceRow {
  serviceId: string;
  username: string;
  publicKey: string;
  name: string;
  version: string;
  serviceFqn: string;
  hidden: boolean;
  metadata: unknown;
  createdAt: number;
  expiresAt: number;
}

export interface OfferRow {
  offerId: string;
  serviceId: string;
  serviceFqn: string;
  /** The owner's name and key. */
  username: string;
  publicKey: string;
  /** Undefined for offers in the old form. */
  instance?: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
  leaseHolder?: Principal;
  leaseUntil: number;
  /** `isGiven`: whether the answer had already been given to the offerer when this row was read. */
  answer?: { username: string; publicKey: string; instance?: string; sdp: string; answeredAt: number; isGiven: boolean };
}

export interface PublishInput {
  username: string;
  publicKey: string;
  name: string;
  version: string;
  serviceFqn: string;
  /** `for`: the only user to whom the offer is handed out. */
  offers: { sdp: string; for?: Principal | undefined }[];
  ttl: number;
  instance?: string | undefined;
  hidden?: boolean | undefined;
  metadata?: unknown;
}

export interface AnswerInput {
  username: string;
  publicKey: string;
  instance?: string | undefined;
  sdp: string;
}

/** A user, with the instance if there is one, to whom an offer may be leased. */
export type Holder = NameHolder & { instance?: string | undefined };

/** A service without its metadata, which may be large and is only needed for the service that is chosen. */
export type FoundService = Omit<ServiceRow, 'metadata'>;

export type AnswerVerdict = 'answered' | 'repeated' | 'already-answered' | 'reserved' | 'gone';

/** Identifies a service, or one of its offers. */
export type ServiceKey = Pick<ServiceRow, 'serviceId' | 'serviceFqn'>;
export type OfferKey = Pick<OfferRow, 'offerId' | 'serviceFqn'>;

export type Side = 'offerer' | 'answerer';

export interface Store {
  getUser(username: string, now: number): Promise<UserRow | undefined>;
  /**
   * Claims a free name or renews the caller's claim; otherwise reports why it cannot. Deletes services that a former holder of
   * the name published.
   * @param known the result of a `getUser` call just before, to save a second read
   */
  claim(
    username: string,
    publicKey: string,
    v2: boolean,
    now: number,
    known?: UserRow,
  ): Promise<'ok' | 'name-taken' | { keyHolds: string }>;

  /**
   * Appends offers; an SDP that is live already keeps its offer and its id. Beyond `maxFree` free offers, the oldest are deleted.
   * Of the ended services of the username, the newest `maxEnded` keep their ids; MAX_ENDED by default.
   * @throws RpcError `name-taken` when another key holds the username at this moment
   */
  publish(
    input: PublishInput,
    maxFree: number,
    now: number,
    maxEnded?: number,
  ): Promise<{ service: ServiceRow; offers: OfferRow[] }>;
  /**
   * Full names of the live services of a name that are not hidden, of one user if `username` is given; at most about MAX_LISTED.
   * @param from where to start if there are more: at random, so that each is found eventually, or at the service that ends first
   */
  findServices(name: string, username: string | undefined, now: number, from: 'anywhere' | 'first'): Promise<string[]>;
  /** Returns the given services that are live, in the given order. All full names must have the same name. */
  readServices(serviceFqns: string[], now: number): Promise<FoundService[]>;
  /**
   * Returns the given services that are live and have an offer that `lease` may give to this user or, for `all`, that
   * `listUnanswered` would return.
   * @returns also how many full names were examined, at least one: a store may examine fewer than all, to answer in time
   */
  offering(serviceFqns: string[], now: number, to: Holder | 'all'): Promise<{ services: FoundService[]; examined: number }>;
  getService(serviceId: string, now: number): Promise<ServiceRow | undefined>;
  /** Deletes a service with all its offers, including answered ones. @returns its id */
  deleteService(owner: NameHolder, serviceFqn: string): Promise<string | undefined>;
  /** Withdraws free offers of a service; answered ones stay. Returns how many were withdrawn. */
  withdraw(owner: NameHolder, serviceFqn: string, offerIds: string[]): Promise<number>;
  /** Withdraws the free offers that an instance published up to `now`. Returns the service of each withdrawn offer. */
  withdrawInstance(owner: Principal, instance: string, now: number): Promise<ServiceKey[]>;
  /** Releases a name that this key holds: deletes the claim, its services and their offers. Returns the ids of the services. */
  release(username: string, publicKey: string): Promise<string[]>;
  /** Counts the live, unanswered offers of all users. */
  countFreeOffers(now: number): Promise<number>;
  /** Counts the answered offers of all users that are still kept. */
  countAnswered(now: number): Promise<number>;
  /** Counts the users who have free offers. */
  countPublishers(now: number): Promise<number>;
  /** Counts a user's offers, free and answered, and its live services other than `serviceFqn`. */
  countOf(username: string, serviceFqn: string, now: number): Promise<{ offers: number; otherServices: number }>;
  /** Every instance that has a free offer, to restore presence after a restart; empty if presence is stored elsewhere. */
  listInstances(now: number): Promise<{ owner: Principal; instance: string }[]>;

  /**
   * Leases the newest free offer of a service until `until`. Offers directed to this user come first, old-form offers older than
   * 30 s last. A joiner without an instance may get the offer that it holds already, until the same time as before.
   */
  lease(service: ServiceKey, by: Holder, until: number, now: number): Promise<OfferRow | undefined>;
  /** Unanswered offers in the order in which they would be handed out, leased ones last. Does not lease any. */
  listUnanswered(service: ServiceKey, limit: number, now: number): Promise<OfferRow[]>;
  getOffer(offer: OfferKey, now: number): Promise<OfferRow | undefined>;
  /**
   * Answers an offer. A leased offer may be answered only by the holder of the lease, a directed offer only by the user it is
   * for; the verdict for anybody else is `reserved`.
   * @throws RpcError `name-taken` when another key holds the answerer's username at this moment
   */
  answer(offer: OfferKey, input: AnswerInput, now: number): Promise<AnswerVerdict>;

  /**
   * Stores candidates, dated strictly after all earlier ones of the offer; repeats are left out. If the dates would be ahead of
   * the clock, stores nothing and returns the time to wait, in ms.
   * @throws RpcError `name-taken` when another key holds the username at this moment
   */
  addCandidates(
    offer: OfferRow,
    from: NameHolder & { role: Side; parkedUntil?: number | undefined; max?: number | undefined },
    candidates: WireCandidate[],
    now: number,
  ): Promise<CandidateInfo[] | { wait: number } | 'too-many' | 'gone'>;
  /** How many candidates a user has on an offer, including parked ones. */
  countCandidates(offer: OfferKey, of: Principal, now: number): Promise<number>;
  /** How many other users have candidates parked on an offer. */
  countParkingUsers(offer: OfferKey, besides: Principal, now: number): Promise<number>;
  /**
   * Candidates of the peer that `side` has not been given yet, or may not have received: dated after `since`
   * or after the newest candidate that was given, whichever is earlier.
   */
  takeCandidates(offer: OfferRow, side: Side, since: number, now: number): Promise<CandidateInfo[]>;
  /** All candidates of a role that an offer has, given or not. */
  listCandidates(offer: OfferRow, role: Side, now: number): Promise<CandidateInfo[]>;
  /**
   * Offers of this user that were answered, and offers that it answered, about which a poll with `since` has something to report;
   * MAX_POLLED at most, offers with something not given yet first. No instance means old-form offers.
   * @returns the offers, and how many answered offers were examined
   */
  pollOffers(
    user: NameHolder,
    instance: string | undefined,
    since: number,
    now: number,
  ): Promise<{ offers: OfferRow[]; examined: number }>;
  /** Whether the answer must be given to a poll with this `since`; marks it as given. */
  takeAnswer(offer: OfferRow, since: number): Promise<boolean>;

  /** Whether one of two users answered an offer of the other in the last 24 hours. */
  haveMet(one: Principal, other: Principal, now: number): Promise<boolean>;

  /** Whether a token is used for the first time; it is remembered until `until`. */
  useOnce(token: string, until: number, now: number): Promise<boolean>;

  /** Deletes expired rows. */
  sweep(now: number): Promise<void>;
  /**
   * When a claim was used last, in ms, to the hour, as far as the store knows it independently of this process's clock; undefined
   * if there is no claim.
   */
  lastUse(): Promise<number | undefined>;
  /** Rejects when nothing can be written. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Services of one name that a discovery or a listing considers; if there are more, a listing considers those that end first. */
export const MAX_LISTED = 1000;
/** Offers that one poll reports on. */
export const MAX_POLLED = 50;

const DAY = 86_400_000;
/** How long a claim lasts after its last use, in ms. This and the following constants apply to every store. */
export const CLAIM_TTL = 365 * DAY;
/** Minimum time between two renewals of a claim, in ms: each renewal costs a write. */
export const RENEW_INTERVAL = 3_600_000;
/** Offers in the old form that are older than this, in ms, are handed out last. */
export const OLD_FORM_MAX_AGE = 30_000;
/** How long the id of a service is kept after it ended, in ms. */
export const SERVICE_ID_TTL = 30 * DAY;
/** How many ended services of one username keep their ids. */
export const MAX_ENDED = 100;
/** Maximum number of surplus ended services that one publication deletes: a database from an older server may hold many. */
export const MAX_DELETED_ENDED = 1000;
/** How long an answered offer is kept with its answer and candidates, in ms, regardless of its own TTL. */
export const ANSWERED_TTL = 60_000;
/** How long after an answer its two users may send `signal` to each other, in ms. */
export const MET_TTL = DAY;

/** The error for a write under a username that another key now holds. */
export const nameTaken = (username: string): RpcError =>
  new NameLostError('name-taken', `Username "${username}" now belongs to another key: choose another name`);

/** The id of an offer: a hash of its content, so an SDP that is live, or is published again after a restart, keeps its id. */
export function offerIdOf({ serviceFqn, instance = '' }: Pick<PublishInput, 'serviceFqn' | 'instance'>, sdp: string): string {
  return createHash('sha256').update(`${serviceFqn}\n${instance}\n${sdp}`).digest('hex');
}
