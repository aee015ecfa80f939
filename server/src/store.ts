/**
 * What the server remembers, as one interface: names, services, offers with their leases and answers, candidates.
 * It knows time only as an argument, and nothing of sockets, signatures or waiting lines. Every method is atomic.
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
  /** `for`: the one user who is handed it. */
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

/** A user, and the instance if it has one, to whom an offer may be leased. */
export type Holder = NameHolder & { instance?: string | undefined };

/** A service without its metadata, which may be large and is only needed for the service that is chosen. */
export type FoundService = Omit<ServiceRow, 'metadata'>;

export type AnswerVerdict = 'answered' | 'repeated' | 'already-answered' | 'reserved' | 'gone';

/** What a service, and an offer of it, is found by. */
export type ServiceKey = Pick<ServiceRow, 'serviceId' | 'serviceFqn'>;
export type OfferKey = Pick<OfferRow, 'offerId' | 'serviceFqn'>;

export type Side = 'offerer' | 'answerer';

export interface Store {
  getUser(username: string, now: number): Promise<UserRow | undefined>;
  /**
   * Claims a free name or renews one's own. Tells who stands in the way otherwise. What a former holder of the name published
   * is deleted.
   * @param known what `getUser` has just said, so that it is not read again
   */
  claim(
    username: string,
    publicKey: string,
    v2: boolean,
    now: number,
    known?: UserRow,
  ): Promise<'ok' | 'name-taken' | { keyHolds: string }>;

  /**
   * Appends offers; an SDP that is live already keeps its offer and its id. Past `maxFree` free ones the oldest go. Of the ended
   * services of the username, the newest `maxEnded` keep their ids; MAX_ENDED by default.
   * @throws RpcError `name-taken` when another key holds the username at this moment
   */
  publish(
    input: PublishInput,
    maxFree: number,
    now: number,
    maxEnded?: number,
  ): Promise<{ service: ServiceRow; offers: OfferRow[] }>;
  /**
   * Full names of the live services of a name that are not hidden, of one user if one is named; at most about MAX_LISTED.
   * @param from where to start if there are more: anywhere, so that each is found sooner or later, or at the one that ends first
   */
  findServices(name: string, username: string | undefined, now: number, from: 'anywhere' | 'first'): Promise<string[]>;
  /** Those of the given services that are live, in the given order. All full names must have the same name. */
  readServices(serviceFqns: string[], now: number): Promise<FoundService[]>;
  /**
   * Those of the given services that are live and have an offer that `lease` may give to this user or, for `all`, that
   * `listUnanswered` would return.
   * @returns also how many full names were examined, at least one: a store may examine fewer than all, to answer in time
   */
  offering(serviceFqns: string[], now: number, to: Holder | 'all'): Promise<{ services: FoundService[]; looked: number }>;
  getService(serviceId: string, now: number): Promise<ServiceRow | undefined>;
  /** The id of what was deleted, with its offers, answered ones too. */
  deleteService(owner: NameHolder, serviceFqn: string): Promise<string | undefined>;
  /** Withdraws free offers of a service; answered ones stay. Returns how many went. */
  withdraw(owner: NameHolder, serviceFqn: string, offerIds: string[]): Promise<number>;
  /** Withdraws what an instance published up to `now` and has free. Returns the service of each offer that went. */
  withdrawInstance(owner: Principal, instance: string, now: number): Promise<ServiceKey[]>;
  /** Gives a name up that this key holds: the claim, its services and their offers. Returns the ids of the services. */
  release(username: string, publicKey: string): Promise<string[]>;
  /** Live offers without an answer, of all. */
  countFreeOffers(now: number): Promise<number>;
  /** Offers that were answered and are still kept, of all. */
  countAnswered(now: number): Promise<number>;
  /** Users who have free offers. */
  countPublishers(now: number): Promise<number>;
  /** What a user has: offers, free and answered, and live services beside the one named. */
  countOf(username: string, serviceFqn: string, now: number): Promise<{ offers: number; otherServices: number }>;
  /** Every instance that has a free offer, for the first moments after a restart; none where their lives are kept elsewhere. */
  listInstances(now: number): Promise<{ owner: Principal; instance: string }[]>;

  /** The newest free offer of a service, one that is for this user before all others, leased until `until`; old-form ones older than 30 s come last. A joiner without an instance may get what it holds already, until the same time as before. */
  lease(service: ServiceKey, by: Holder, until: number, now: number): Promise<OfferRow | undefined>;
  /** Unanswered offers in the order in which they would be handed out, leased ones last; leases none. */
  listUnanswered(service: ServiceKey, limit: number, now: number): Promise<OfferRow[]>;
  getOffer(offer: OfferKey, now: number): Promise<OfferRow | undefined>;
  /**
   * Answers an offer. Nobody but its holder answers a leased offer (`reserved`), and nobody but the user it is for a directed one.
   * @throws RpcError `name-taken` when another key holds the answerer's username at this moment
   */
  answer(offer: OfferKey, input: AnswerInput, now: number): Promise<AnswerVerdict>;

  /**
   * Keeps candidates, dated strictly after all earlier ones of the offer; repeats are left out. Where they cannot be dated
   * without running ahead of the clock, nothing is kept and the ms to wait are told.
   * @throws RpcError `name-taken` when another key holds the username at this moment
   */
  addCandidates(
    offer: OfferRow,
    from: NameHolder & { role: Side; parkedUntil?: number | undefined; max?: number | undefined },
    candidates: WireCandidate[],
    now: number,
  ): Promise<CandidateInfo[] | { wait: number } | 'too-many' | 'gone'>;
  /** How many candidates a user has on an offer, parked ones included. */
  countCandidates(offer: OfferKey, of: Principal, now: number): Promise<number>;
  /** How many other users have candidates parked on an offer. */
  countParkingUsers(offer: OfferKey, besides: Principal, now: number): Promise<number>;
  /** What the other side sent and `side` has not been given yet, or may not have got: dated after the smaller of `since` and the newest given. */
  takeCandidates(offer: OfferRow, side: Side, since: number, now: number): Promise<CandidateInfo[]>;
  /** All candidates of a role that an offer has, given or not. */
  listCandidates(offer: OfferRow, role: Side, now: number): Promise<CandidateInfo[]>;
  /**
   * Answered offers, own ones and those this user answered, on which a poll since then has something to report; MAX_POLLED at
   * most, those with something that was not given yet first. No instance means old-form offers.
   * @returns the offers, and how many answered offers were examined
   */
  pollOffers(
    user: NameHolder,
    instance: string | undefined,
    since: number,
    now: number,
  ): Promise<{ offers: OfferRow[]; looked: number }>;
  /** Whether the answer must be given to an asker whose `since` is this; marks it as given. */
  takeAnswer(offer: OfferRow, since: number): Promise<boolean>;

  /** Whether one of two users answered an offer of the other in the last 24 hours. */
  haveMet(one: Principal, other: Principal, now: number): Promise<boolean>;

  /** Whether a token is used for the first time; it is remembered until `until`. */
  useOnce(token: string, until: number, now: number): Promise<boolean>;

  /** Deletes what is over. */
  sweep(now: number): Promise<void>;
  /**
   * When a claim was used last, as far as the store can know without this process' clock, in ms; undefined where nothing is
   * claimed. To the hour.
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
/** How long a claim lasts after its last use, in ms. This and the following are the same in every store. */
export const CLAIM_TTL = 365 * DAY;
/** How often a claim is renewed at most, in ms: each renewal costs a write. */
export const RENEW_EVERY = 3_600_000;
/** Offers in the old form that are older than this, in ms, are handed out last. */
export const OLD_FORM_FRESH = 30_000;
/** How long the id of a service is kept after it ended, in ms. */
export const SERVICE_MEMORY = 30 * DAY;
/** How many ended services of one username keep their ids. */
export const MAX_ENDED = 100;
/** Ended services beyond that which one publication forgets: a database of an older server may hold many. */
export const MAX_FORGOTTEN = 1000;
/** How long an answered offer is kept with its answer and candidates, in ms, whatever its own TTL was. */
export const ANSWERED_MEMORY = 60_000;
/** How long two users may `signal` each other after an answer, in ms. */
export const MET_FOR = DAY;

/** The refusal of a write in a name that another key holds by now. */
export const nameTaken = (username: string): RpcError =>
  new NameLostError('name-taken', `Username "${username}" belongs to another key by now: choose another name`);

/** Follows from the content, so an SDP that is live, or comes back after a restart, keeps its id. */
export function offerIdOf({ serviceFqn, instance = '' }: Pick<PublishInput, 'serviceFqn' | 'instance'>, sdp: string): string {
  return createHash('sha256').update(`${serviceFqn}\n${instance}\n${sdp}`).digest('hex');
}
