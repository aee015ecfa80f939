/**
 * The state of the server: usernames, services, offers with their leases and answers, and candidates. Methods get the current
 * time as an argument. Sockets, signatures and queues are handled elsewhere. Every method is atomic.
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
  /** Time of the key's last v2 signature, accurate to the hour; 0 if the key never signed in the v2 form. */
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
  /** Username and public key of the offerer. */
  username: string;
  publicKey: string;
  /** Instance that published the offer; undefined for offers in the old form. */
  instance?: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
  leaseHolder?: Principal;
  leaseUntil: number;
  /** `isGiven` is whether the answer had already been delivered to the offerer when this row was read. */
  answer?: { username: string; publicKey: string; instance?: string; sdp: string; answeredAt: number; isGiven: boolean };
}

export interface PublishInput {
  username: string;
  publicKey: string;
  name: string;
  version: string;
  serviceFqn: string;
  /** `for` is the only user to whom the offer is handed out. */
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

/** A user to whom an offer may be leased, with the instance if there is one. */
export type Holder = NameHolder & { instance?: string | undefined };

/** A service without its metadata, which may be large and is needed only for the chosen service. */
export type FoundService = Omit<ServiceRow, 'metadata'>;

export type AnswerVerdict = 'answered' | 'repeated' | 'already-answered' | 'reserved' | 'gone';

/** Identifies a service, or one of its offers. */
export type ServiceKey = Pick<ServiceRow, 'serviceId' | 'serviceFqn'>;
export type OfferKey = Pick<OfferRow, 'offerId' | 'serviceFqn'>;

export type Side = 'offerer' | 'answerer';

export interface Store {
  getUser(username: string, now: number): Promise<UserRow | undefined>;
  /**
   * Claims a free username or renews the caller's claim; otherwise, returns the reason for the refusal. Deletes services that a
   * former holder of the username published.
   * @param known result of a preceding `getUser` call, to avoid a second read
   */
  claim(
    username: string,
    publicKey: string,
    v2: boolean,
    now: number,
    known?: UserRow,
  ): Promise<'ok' | 'name-taken' | { keyHolds: string }>;

  /**
   * Publishes a service and appends offers; if an SDP is already live, its offer and id are kept. If there are more than
   * `maxFree` free offers, the oldest are deleted. The newest `maxEnded` ended services of the username keep their ids; the
   * default is MAX_ENDED.
   * @throws RpcError `name-taken` if a different public key currently holds the username
   */
  publish(
    input: PublishInput,
    maxFree: number,
    now: number,
    maxEnded?: number,
  ): Promise<{ service: ServiceRow; offers: OfferRow[] }>;
  /**
   * Returns the full names of the live services of a name that are not hidden, limited to one user if `username` is given; at
   * most about MAX_LISTED.
   * @param from where to start if there are more services: `anywhere` starts at random, so that each service is found
   *   eventually; `first` starts at the service that ends first
   */
  findServices(name: string, username: string | undefined, now: number, from: 'anywhere' | 'first'): Promise<string[]>;
  /** Returns the given services that are live, in the given order. All full names must contain the same service name. */
  readServices(serviceFqns: string[], now: number): Promise<FoundService[]>;
  /**
   * Returns the given services that are live and have an offer that `lease` may give to this user or, for `all`, that
   * `listUnanswered` would return.
   * @returns the services, and the number of full names examined, at least one: to answer in time, a store may examine only
   *   some of them
   */
  offering(serviceFqns: string[], now: number, to: Holder | 'all'): Promise<{ services: FoundService[]; examined: number }>;
  getService(serviceId: string, now: number): Promise<ServiceRow | undefined>;
  /** Deletes a service with all its offers, including answered offers. @returns the id of the service */
  deleteService(owner: NameHolder, serviceFqn: string): Promise<string | undefined>;
  /** Withdraws free offers of a service; answered offers are kept. Returns the number of withdrawn offers. */
  withdraw(owner: NameHolder, serviceFqn: string, offerIds: string[]): Promise<number>;
  /** Withdraws the free offers that an instance published up to `now`. Returns the service of each withdrawn offer. */
  withdrawInstance(owner: Principal, instance: string, now: number): Promise<ServiceKey[]>;
  /**
   * Releases a username that this public key holds: deletes the claim, and the services of the username with their offers.
   * Returns the ids of the deleted services.
   */
  release(username: string, publicKey: string): Promise<string[]>;
  /** Counts the live, unanswered offers of all users. */
  countFreeOffers(now: number): Promise<number>;
  /** Counts the answered offers of all users that are still stored. */
  countAnswered(now: number): Promise<number>;
  /** Counts the users who have free offers. */
  countPublishers(now: number): Promise<number>;
  /** Counts a user's free and answered offers, and the user's live services other than `serviceFqn`. */
  countOf(username: string, serviceFqn: string, now: number): Promise<{ offers: number; otherServices: number }>;
  /**
   * Returns every instance that has a free offer, to restore presence after a restart; empty if presence is stored elsewhere.
   */
  listInstances(now: number): Promise<{ owner: Principal; instance: string }[]>;

  /**
   * Leases the newest free offer of a service until `until`. Offers directed to this user come first, old-form offers older
   * than 30 s last. A joiner without an instance may get the offer that it already holds; the lease is not extended.
   */
  lease(service: ServiceKey, by: Holder, until: number, now: number): Promise<OfferRow | undefined>;
  /** Returns unanswered offers without leasing them, in the order in which they would be handed out, leased offers last. */
  listUnanswered(service: ServiceKey, limit: number, now: number): Promise<OfferRow[]>;
  getOffer(offer: OfferKey, now: number): Promise<OfferRow | undefined>;
  /**
   * Answers an offer. A leased offer may be answered only by the holder of the lease, a directed offer only by its intended
   * user; the verdict for anybody else is `reserved`.
   * @throws RpcError `name-taken` if a different public key currently holds the answerer's username
   */
  answer(offer: OfferKey, input: AnswerInput, now: number): Promise<AnswerVerdict>;

  /**
   * Stores candidates with timestamps strictly later than all earlier timestamps of the offer; duplicates are skipped. If the
   * timestamps would be ahead of the clock, stores nothing and returns the time to wait, in ms.
   * @throws RpcError `name-taken` if a different public key currently holds the username
   */
  addCandidates(
    offer: OfferRow,
    from: NameHolder & { role: Side; parkedUntil?: number | undefined; max?: number | undefined },
    candidates: WireCandidate[],
    now: number,
  ): Promise<CandidateInfo[] | { wait: number } | 'too-many' | 'gone'>;
  /** Counts the candidates of a user on an offer, including parked candidates. */
  countCandidates(offer: OfferKey, of: Principal, now: number): Promise<number>;
  /** Counts the other users that have candidates parked on an offer. */
  countParkingUsers(offer: OfferKey, besides: Principal, now: number): Promise<number>;
  /**
   * Returns the peer's candidates that have not been delivered to `side`, or that `side` may not have received: dated after
   * `since` or after the newest delivered candidate, whichever is earlier.
   */
  takeCandidates(offer: OfferRow, side: Side, since: number, now: number): Promise<CandidateInfo[]>;
  /** Returns all candidates of one role on an offer, including candidates that were already delivered. */
  listCandidates(offer: OfferRow, role: Side, now: number): Promise<CandidateInfo[]>;
  /**
   * Returns the answered offers that a poll with `since` reports on, published or answered by this user; at most MAX_POLLED,
   * beginning with offers that have undelivered data. An undefined instance selects old-form offers.
   * @returns the offers, and the number of answered offers examined
   */
  pollOffers(
    user: NameHolder,
    instance: string | undefined,
    since: number,
    now: number,
  ): Promise<{ offers: OfferRow[]; examined: number }>;
  /** Whether a poll with this `since` must report the answer; marks the answer as delivered. */
  takeAnswer(offer: OfferRow, since: number): Promise<boolean>;

  /** Whether either of two users answered an offer from the other in the last 24 hours. */
  haveMet(one: Principal, other: Principal, now: number): Promise<boolean>;

  /** Whether a token is used for the first time; the token is remembered until `until`. */
  useOnce(token: string, until: number, now: number): Promise<boolean>;

  /** Deletes expired rows. */
  sweep(now: number): Promise<void>;
  /**
   * Returns the time at which a claim was last used, in ms, accurate to the hour, as far as the store can determine it
   * independently of this process's clock; undefined if there is no claim.
   */
  lastUse(): Promise<number | undefined>;
  /** Rejects if the store cannot be written to. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Maximum number of services of one name that a discovery or a listing considers; if there are more, a listing considers the
 * services that end first.
 */
export const MAX_LISTED = 1000;
/** Maximum number of offers that one poll reports on. */
export const MAX_POLLED = 50;

const DAY = 86_400_000;
// the following constants apply to every store
/** How long a claim lasts after its last use, in ms. */
export const CLAIM_TTL = 365 * DAY;
/** Minimum time between two renewals of a claim, in ms: each renewal costs a write. */
export const RENEW_INTERVAL = 3_600_000;
/** Age, in ms, above which offers in the old form are handed out last. */
export const OLD_FORM_MAX_AGE = 30_000;
/** How long the id of a service is kept after the service ends, in ms. */
export const SERVICE_ID_TTL = 30 * DAY;
/** Maximum number of ended services per username that keep their ids. */
export const MAX_ENDED = 100;
/** Maximum number of surplus ended services that one publication deletes: a database from an older server may contain many. */
export const MAX_DELETED_ENDED = 1000;
/** How long an answered offer is kept with its answer and candidates, in ms, regardless of its own TTL. */
export const ANSWERED_TTL = 60_000;
/** How long after an answer the two users may send `signal` to each other, in ms. */
export const MET_TTL = DAY;

/** Creates the error for a write under a username that a different public key now holds. */
export const nameTaken = (username: string): RpcError =>
  new NameLostError('name-taken', `Username "${username}" now belongs to another key: choose another name`);

/**
 * Returns the id of an offer: a hash of its content, so that an SDP that is published again, even after a restart, gets the
 * same id.
 */
export function offerIdOf({ serviceFqn, instance = '' }: Pick<PublishInput, 'serviceFqn' | 'instance'>, sdp: string): string {
  return createHash('sha256').update(`${serviceFqn}\n${instance}\n${sdp}`).digest('hex');
}
