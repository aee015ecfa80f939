/**
 * Store on Redis 7 or Valkey that several servers can share. Each script (see redis-scripts.ts) changes the Redis keys of one
 * service name, and checks the claim to the username on whose behalf it writes. Usernames, ids and the indexes of instances
 * have separate Redis keys, which are written in such an order that an interrupted write may leave a dangling entry but never a
 * missing entry. Documented in store.ts.
 */
import { createHash, randomUUID } from 'node:crypto';
import { parseServiceName, type CandidateInfo, type WireCandidate } from 'rondevu-elements/protocol';
import { keyOf, principalOf, usernameOf, type NameHolder, type Principal } from './principal.js';
import type { RedisConnection, Reply } from './redis-connection.js';
import { toFound, toHash, toOffer, toService, toUser } from './redis-rows.js';
import * as scripts from './redis-scripts.js';
import {
  ANSWERED_TTL,
  CLAIM_TTL,
  MET_TTL,
  OLD_FORM_MAX_AGE,
  RENEW_INTERVAL,
  SERVICE_ID_TTL,
  MAX_ENDED,
  MAX_DELETED_ENDED,
  MAX_LISTED,
  MAX_POLLED,
  nameTaken,
  offerIdOf,
  type AnswerInput,
  type AnswerVerdict,
  type FoundService,
  type Holder,
  type OfferKey,
  type OfferRow,
  type PublishInput,
  type ServiceKey,
  type ServiceRow,
  type Side,
  type Store,
  type UserRow,
} from './store.js';

/** Expiry of the index of a user's own offers, in ms: longer than the lifetime of any offer. */
const OWN_TTL = 86_400_000 + ANSWERED_TTL;

/** Member of an instance's index whose score is the time of the last publication; no service has this name. */
const PUBLISHED_AT = '-';

export class RedisStore implements Store {
  readonly #redis: RedisConnection;

  /** @param redis connection, closed together with the store */
  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  async getUser(username: string, now: number): Promise<UserRow | undefined> {
    const user = toUser(toHash(await this.#redis.command('HGETALL', this.#key('user', username))));
    return user && user.expiresAt > now ? user : undefined;
  }

  async claim(
    username: string,
    publicKey: string,
    v2: boolean,
    now: number,
    known?: UserRow,
  ): Promise<'ok' | 'name-taken' | { keyHolds: string }> {
    const user = known ?? (await this.getUser(username, now));
    if (user && user.publicKey !== publicKey) return 'name-taken';
    if (user && user.expiresAt > now + CLAIM_TTL - RENEW_INTERVAL && (!v2 || now - user.lastV2At < RENEW_INTERVAL)) return 'ok';
    const ends = now + CLAIM_TTL;
    const holder = this.#key('key', publicKey);
    const [heldName, isNew] = (await this.#redis.run(scripts.CLAIM_KEY, [holder], [now, ends, username])) as [string, number];
    if (heldName !== username) return { keyHolds: heldName };
    const verdict = await this.#redis.run(
      scripts.CLAIM_NAME,
      [this.#key('user', username)],
      [now, ends, username, publicKey, v2 ? 1 : 0],
    );
    // a different public key was faster: this public key may claim a different username
    if (verdict !== 'ok' && isNew) await this.#redis.run(scripts.RELEASE_KEY, [holder], [username]);
    if (verdict === 'ok' && !user) await this.#deleteServices(username, publicKey, 'besides');
    return verdict as 'ok' | 'name-taken';
  }

  async publish(
    input: PublishInput,
    maxFree: number,
    now: number,
    maxEnded = MAX_ENDED,
  ): Promise<{ service: ServiceRow; offers: OfferRow[] }> {
    const { username, serviceFqn, instance = '', ttl } = input;
    const offers = input.offers.map(({ sdp, for: only = '' }) => ({
      id: offerIdOf(input, sdp),
      sdp,
      only,
    }));
    const index = this.#key('at', `${principalOf(input)}/${instance}`);
    const known = this.#redis.command('ZADD', index, 'GT', String(now + ttl), serviceFqn, String(now), PUBLISHED_AT);
    const kept = this.#extendExpiry(index, ttl + ANSWERED_TTL);
    const trimmedIndex = this.#redis.command('ZREMRANGEBYSCORE', index, '-inf', String(now - ANSWERED_TTL));
    const published = this.#redis.run(
      scripts.PUBLISH,
      [this.#slot(serviceFqn), this.#key('user', username)],
      [
        ...[now, ttl, maxFree, SERVICE_ID_TTL, serviceFqn, username, input.publicKey, input.name, input.version],
        ...[input.hidden ? 1 : 0, input.metadata === undefined ? '' : JSON.stringify(input.metadata), randomUUID(), instance],
        ...offers.flatMap(({ id, sdp, only }) => [id, sdp, only]),
      ],
    ) as Promise<[Reply, Reply[], string[]] | null>;
    const [, , , reply] = await Promise.all([known, kept, trimmedIndex, published]);
    if (!reply) throw nameTaken(username);
    const [serviceHash, offerHashes, trimmed] = reply;
    const service = { ...toFound(toHash(serviceHash)), metadata: input.metadata };
    const rows = offerHashes.map((hash) => toOffer(toHash(hash))!);
    const isFree = ({ offerId, answer }: OfferRow): boolean => !answer && !trimmed.includes(offerId);
    await Promise.all([
      this.#redis.command(
        ...['SET', this.#key('id', service.serviceId), serviceFqn, 'PX', String(service.expiresAt - now + SERVICE_ID_TTL)],
      ),
      this.#count(
        username,
        rows.filter(isFree).map(({ offerId, expiresAt }) => [offerId, expiresAt]),
        trimmed,
      ),
      this.#redis.command('ZADD', this.#key('services', username), 'GT', String(service.expiresAt), serviceFqn),
      this.#extendExpiry(this.#key('services', username), service.expiresAt - now + SERVICE_ID_TTL),
      this.#redis.command('ZADD', this.#key('publishers'), 'GT', String(service.expiresAt), username),
    ]);
    if (service.createdAt === now) await this.#deleteEnded(username, now, maxEnded);
    return { service, offers: rows };
  }

  /**
   * Deletes surplus ended services of a username; called for each new service, so that the memory for ended services is
   * bounded.
   */
  async #deleteEnded(username: string, now: number, maxEnded: number): Promise<void> {
    const services = this.#key('services', username);
    const fqns = (await this.#redis.command(
      ...['ZRANGE', services, String(now), '-inf', 'BYSCORE', 'REV', 'LIMIT', String(maxEnded), String(MAX_DELETED_ENDED)],
    )) as string[];
    if (!fqns.length) return;
    await Promise.all(
      fqns.map(async (fqn) => {
        const id = await this.#redis.run(scripts.FORGET_SERVICE, [this.#slot(fqn)], [fqn, username, now]);
        if (id !== null) await this.#redis.command('DEL', this.#key('id', String(id)));
      }),
    );
    await this.#redis.run(scripts.REMOVE_ENDED, [services], [now, ...fqns]);
  }

  async findServices(name: string, username: string | undefined, now: number, from: 'anywhere' | 'first'): Promise<string[]> {
    const slot = this.#slotOf(name);
    const index = username === undefined ? `${slot}live` : `${slot}of:${username}`;
    const range = async (offset: number): Promise<string[]> =>
      (await this.#redis.command(
        ...(['ZRANGE', index, `(${now}`, '+inf', 'BYSCORE', 'LIMIT', String(offset), String(MAX_LISTED)] as const),
      )) as string[];
    const fqns = await range(0);
    if (fqns.length < MAX_LISTED || from === 'first') return fqns;
    const more = Number(await this.#redis.command('ZCOUNT', index, `(${now}`, '+inf')) - MAX_LISTED;
    return range(Math.floor(Math.random() * (Math.max(0, more) + 1)));
  }

  async readServices(serviceFqns: string[], now: number): Promise<FoundService[]> {
    const { services } = await this.#read(serviceFqns, now, '');
    return services;
  }

  async offering(
    serviceFqns: string[],
    now: number,
    to: Holder | 'all',
  ): Promise<{ services: FoundService[]; examined: number }> {
    return to === 'all'
      ? this.#read(serviceFqns, now, 'all')
      : this.#read(serviceFqns, now, principalOf(to), to.username, to.instance ?? '');
  }

  async #read(
    serviceFqns: string[],
    now: number,
    ...to: [holder: string, username?: string, instance?: string]
  ): Promise<{ services: FoundService[]; examined: number }> {
    if (!serviceFqns.length) return { services: [], examined: 0 };
    const [holder, username = '', instance = ''] = to;
    const [found, examined] = (await this.#redis.run(
      scripts.READ_SERVICES,
      [this.#slot(serviceFqns[0]!)],
      [now, holder, username, instance, ...serviceFqns],
    )) as [Reply[], number];
    return { services: found.map((hash) => toFound(toHash(hash))), examined: Number(examined) };
  }

  async getService(serviceId: string, now: number): Promise<ServiceRow | undefined> {
    const fqn = await this.#redis.command('GET', this.#key('id', serviceId));
    const service = fqn === null ? undefined : await this.#service(String(fqn));
    return service?.serviceId === serviceId && service.expiresAt > now ? service : undefined;
  }

  async deleteService({ username, publicKey }: NameHolder, serviceFqn: string): Promise<string | undefined> {
    return this.#deleteService(username, publicKey, serviceFqn, 'of');
  }

  async #deleteService(
    username: string,
    publicKey: string,
    serviceFqn: string,
    whose: 'of' | 'besides',
  ): Promise<string | undefined> {
    const args = [serviceFqn, username, publicKey, whose];
    const removed = (await this.#redis.run(scripts.DELETE_SERVICE, [this.#slot(serviceFqn)], args)) as [string, string[]] | null;
    if (!removed) return undefined;
    const [serviceId, free] = removed;
    await Promise.all([
      this.#redis.command('DEL', this.#key('id', serviceId)),
      this.#count(username, [], free),
      this.#redis.command('ZREM', this.#key('services', username), serviceFqn),
    ]);
    return serviceId;
  }

  /** Deletes all services of a username that this public key published, or all services that other public keys published. */
  async #deleteServices(username: string, publicKey: string, whose: 'of' | 'besides'): Promise<string[]> {
    const fqns = (await this.#redis.command('ZRANGE', this.#key('services', username), '0', '-1')) as string[];
    const ids = await Promise.all(fqns.map((fqn) => this.#deleteService(username, publicKey, fqn, whose)));
    return ids.filter((id) => id !== undefined);
  }

  async withdraw({ username, publicKey }: NameHolder, serviceFqn: string, offerIds: string[]): Promise<number> {
    const args = [serviceFqn, username, publicKey, ...offerIds];
    const removed = (await this.#redis.run(scripts.WITHDRAW, [this.#slot(serviceFqn)], args)) as string[];
    await this.#count(username, [], removed);
    return removed.length;
  }

  async withdrawInstance(owner: Principal, instance: string, now: number): Promise<ServiceKey[]> {
    const username = usernameOf(owner);
    const of = `${owner}/${instance}`;
    // polls still need the index for answered offers
    await this.#redis.run(scripts.SHORTEN, [this.#key('at', of)], [now, ANSWERED_TTL, PUBLISHED_AT]);
    const fqns = await this.#publishedAt(of);
    const removed = await Promise.all(
      fqns.map(async (fqn) => {
        const args = [fqn, instance, now, username, keyOf(owner) ?? ''];
        const reply = await this.#redis.run(scripts.WITHDRAW_INSTANCE, [this.#slot(fqn)], args);
        const [serviceId, ids] = reply as [string | null, string[]];
        return ids.map((id) => ({ id, service: { serviceId: serviceId ?? '', serviceFqn: fqn } }));
      }),
    );
    await this.#count(
      username,
      [],
      removed.flat().map(({ id }) => id),
    );
    return removed.flat().map(({ service }) => service);
  }

  /** Returns the full names of the services that an instance published. */
  async #publishedAt(instance: string): Promise<string[]> {
    const members = (await this.#redis.command('ZRANGE', this.#key('at', instance), '0', '-1')) as string[];
    return members.filter((member) => member !== PUBLISHED_AT);
  }

  async countFreeOffers(now: number): Promise<number> {
    return Number(await this.#redis.command('ZCOUNT', this.#key('free'), `(${now}`, '+inf'));
  }

  async countAnswered(now: number): Promise<number> {
    return Number(await this.#redis.command('ZCOUNT', this.#key('answered'), `(${now}`, '+inf'));
  }

  async countPublishers(now: number): Promise<number> {
    return Number(await this.#redis.command('ZCOUNT', this.#key('publishers'), `(${now}`, '+inf'));
  }

  async countOf(username: string, serviceFqn: string, now: number): Promise<{ offers: number; otherServices: number }> {
    const services = this.#key('services', username);
    const [offers, all, own] = await Promise.all([
      this.#redis.command('ZCOUNT', this.#key('own', username), `(${now}`, '+inf'),
      this.#redis.command('ZCOUNT', services, `(${now}`, '+inf'),
      this.#redis.command('ZSCORE', services, serviceFqn),
    ]);
    return { offers: Number(offers), otherServices: Number(all) - (Number(own) > now ? 1 : 0) };
  }

  async release(username: string, publicKey: string): Promise<string[]> {
    const user = toUser(toHash(await this.#redis.command('HGETALL', this.#key('user', username))));
    if (user?.publicKey !== publicKey) return [];
    const ids = await this.#deleteServices(username, publicKey, 'of');
    await this.#redis.run(scripts.RELEASE_NAME, [this.#key('user', username)], [publicKey]);
    await this.#redis.run(scripts.RELEASE_KEY, [this.#key('key', publicKey)], [username]);
    return ids;
  }

  async listInstances(): Promise<{ owner: Principal; instance: string }[]> {
    return [];
  }

  async lease({ serviceFqn }: ServiceKey, by: Holder, until: number, now: number): Promise<OfferRow | undefined> {
    const at = [now, until, now - OLD_FORM_MAX_AGE, serviceFqn];
    const args = [...at, by.username, by.instance ?? '', randomUUID(), principalOf(by)];
    return toOffer(toHash(await this.#redis.run(scripts.LEASE, [this.#slot(serviceFqn)], args)));
  }

  async listUnanswered({ serviceFqn }: ServiceKey, limit: number, now: number): Promise<OfferRow[]> {
    const args = [now, now - OLD_FORM_MAX_AGE, serviceFqn, limit];
    const found = (await this.#redis.run(scripts.LIST, [this.#slot(serviceFqn)], args)) as Reply[];
    return found.map((hash) => toOffer(toHash(hash))!);
  }

  async getOffer({ offerId, serviceFqn }: OfferKey, now: number): Promise<OfferRow | undefined> {
    const offer = toOffer(toHash(await this.#redis.command('HGETALL', `${this.#slot(serviceFqn)}offer:${offerId}`)));
    return offer && offer.serviceFqn === serviceFqn && offer.expiresAt > now ? offer : undefined;
  }

  async answer({ offerId, serviceFqn }: OfferKey, input: AnswerInput, now: number): Promise<AnswerVerdict> {
    const { username, publicKey, instance = '', sdp } = input;
    const answerer = principalOf(input);
    const index = this.#key('by', `${answerer}/${instance}`);
    const args = [now, ANSWERED_TTL, serviceFqn, offerId, username, publicKey, instance, sdp, answerer];
    const [, , , [verdict, owner, ownerKey]] = await Promise.all([
      // the index is written before the answer, so that a poll finds the answer even if the call is interrupted
      this.#redis.command('ZADD', index, String(now + ANSWERED_TTL), `${offerId} ${serviceFqn}`),
      this.#extendExpiry(index, 60 * ANSWERED_TTL),
      this.#redis.command('ZREMRANGEBYSCORE', index, '-inf', String(now)),
      this.#redis.run(scripts.ANSWER, [this.#slot(serviceFqn), this.#key('user', username)], args) as Promise<
        [AnswerVerdict | 'name-taken', string, string]
      >,
    ]);
    if (verdict === 'name-taken') throw nameTaken(username);
    // if the answer is repeated, the earlier call may have been interrupted before these writes
    if (verdict === 'answered' || verdict === 'repeated') {
      await Promise.all([
        this.#redis.command(
          'SET',
          this.#met(answerer, principalOf({ username: owner, publicKey: ownerKey })),
          String(now + MET_TTL),
          'PX',
          String(MET_TTL),
        ),
        this.#redis.command('ZREM', this.#key('free'), offerId),
        this.#redis.command('ZADD', this.#key('own', owner), String(now + ANSWERED_TTL), offerId),
        this.#redis.command('ZADD', this.#key('answered'), String(now + ANSWERED_TTL), offerId),
      ]);
    }
    return verdict;
  }

  async addCandidates(
    offer: OfferRow,
    from: NameHolder & { role: Side; parkedUntil?: number | undefined; max?: number | undefined },
    candidates: WireCandidate[],
    now: number,
  ): Promise<CandidateInfo[] | { wait: number } | 'too-many' | 'gone'> {
    const texts = [...new Set(candidates.map((c) => JSON.stringify(c)))];
    const { username, role } = from;
    const [word, first, fresh] = (await this.#redis.run(
      scripts.ADD_CANDIDATES,
      [this.#slot(offer.serviceFqn), this.#key('user', username)],
      [now, offer.offerId, principalOf(from), role, from.parkedUntil ?? '', from.max ?? '', from.publicKey, ...texts],
    )) as [string, string, string[]];
    if (word === 'name-taken') throw nameTaken(username);
    if (word === 'too-many' || word === 'gone') return word;
    if (word === 'wait') return { wait: Number(first) };
    return fresh.map((text, index) => ({
      candidate: JSON.parse(text) as WireCandidate,
      role,
      username,
      createdAt: Number(first) + index,
    }));
  }

  async countCandidates(offer: OfferKey, of: Principal, now: number): Promise<number> {
    return (await this.#candidates(offer, now)).filter(({ author }) => author === of).length;
  }

  async countParkingUsers(offer: OfferKey, besides: Principal, now: number): Promise<number> {
    const parked = (await this.#candidates(offer, now)).filter((each) => each.isParked && each.author !== besides);
    return new Set(parked.map(({ author }) => author)).size;
  }

  async takeCandidates(offer: OfferRow, side: Side, since: number, now: number): Promise<CandidateInfo[]> {
    const role = side === 'offerer' ? 'answerer' : 'offerer';
    const from = role === 'offerer' ? offer : offer.answer;
    if (!from) return [];
    const { username } = from;
    const found = (await this.#redis.run(
      scripts.TAKE_CANDIDATES,
      [this.#slot(offer.serviceFqn)],
      [now, offer.offerId, side === 'offerer' ? 'givenOfferer' : 'givenAnswerer', since, role, principalOf(from)],
    )) as [string, string][];
    return found
      .map(([text, at]) => ({ candidate: JSON.parse(text) as WireCandidate, role, username, createdAt: Number(at) }) as const)
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  /** Lists the candidates of one role; for the answerer, only candidates from the user who answered, never from other users. */
  async listCandidates(offer: OfferRow, role: Side, now: number): Promise<CandidateInfo[]> {
    const from = role === 'offerer' ? offer : offer.answer;
    if (!from) return [];
    const wanted = principalOf(from);
    return (await this.#candidates(offer, now))
      .filter((each) => each.role === role && each.author === wanted)
      .map(({ candidate, createdAt }) => ({ candidate, role, username: from.username, createdAt }))
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  async pollOffers(
    user: NameHolder,
    instance: string | undefined,
    since: number,
    now: number,
  ): Promise<{ offers: OfferRow[]; examined: number }> {
    const { username, publicKey } = user;
    const of = `${principalOf(user)}/${instance ?? ''}`;
    const by = this.#key('by', of);
    const [fqns, answered] = (await Promise.all([this.#publishedAt(of), this.#redis.command('ZRANGE', by, '0', '-1')])) as [
      string[],
      string[],
    ];
    const answeredByFqn = new Map<string, string[]>();
    for (const entry of answered) {
      const [offerId, serviceFqn] = [entry.slice(0, 64), entry.slice(65)];
      answeredByFqn.set(serviceFqn, [...(answeredByFqn.get(serviceFqn) ?? []), offerId]);
    }
    const polls = await Promise.all([
      ...fqns.map((fqn) => this.#poll(fqn, ['offerer', username, instance ?? '', publicKey], since, now)),
      ...[...answeredByFqn].map(([fqn, ids]) =>
        this.#poll(fqn, ['answerer', username, instance ?? '', publicKey, ...ids], since, now),
      ),
    ]);
    const removed = polls.flatMap(({ removed: ids, serviceFqn }) => ids.map((offerId) => `${offerId} ${serviceFqn}`));
    if (removed.length) await this.#redis.command('ZREM', by, ...removed);
    const found = polls
      .flatMap(({ offers }) => offers)
      .sort((a, b) => Number(b.isNew) - Number(a.isNew) || a.answeredAt - b.answeredAt)
      .slice(0, MAX_POLLED);
    const rows = await Promise.all(found.map((key) => this.getOffer(key, now)));
    return {
      offers: rows.filter((row) => row?.answer !== undefined) as OfferRow[],
      examined: polls.reduce((sum, { examined }) => sum + examined, 0),
    };
  }

  /**
   * For one service, returns the offers that a poll reports on, the offers that have ended, and the number of offers examined.
   */
  async #poll(
    serviceFqn: string,
    about: string[],
    since: number,
    now: number,
  ): Promise<{
    serviceFqn: string;
    offers: (OfferKey & { isNew: boolean; answeredAt: number })[];
    removed: string[];
    examined: number;
  }> {
    const args = [now, since, serviceFqn, ...about];
    const [found, removed, examined] = (await this.#redis.run(scripts.POLL, [this.#slot(serviceFqn)], args)) as [
      string[][],
      string[],
      number,
    ];
    const offers = found.map(([offerId, isNew, answeredAt]) => ({
      ...{ offerId: offerId!, serviceFqn, isNew: isNew === '1', answeredAt: Number(answeredAt) },
    }));
    return { serviceFqn, offers, removed, examined };
  }

  async takeAnswer(offer: OfferRow, since: number): Promise<boolean> {
    if (!offer.answer) return false;
    if (offer.answer.isGiven) return offer.answer.answeredAt > since;
    const mark = randomUUID();
    const taker = await this.#redis.run(scripts.TAKE_ANSWER, [this.#slot(offer.serviceFqn)], [offer.offerId, mark]);
    return taker === mark || offer.answer.answeredAt > since;
  }

  async haveMet(one: Principal, other: Principal, now: number): Promise<boolean> {
    return Number(await this.#redis.command('GET', this.#met(one, other))) > now;
  }

  async useOnce(token: string, until: number, now: number): Promise<boolean> {
    const key = this.#key('used', createHash('sha256').update(token).digest('base64url'));
    // the mark distinguishes a retried call from a replay
    const mark = randomUUID();
    const before = await this.#redis.command('SET', key, mark, 'PX', String(until - now + 1), 'NX', 'GET');
    return before === null || before === mark;
  }

  /** Redis keys expire by themselves; only the sorted sets used for counting need sweeping. */
  async sweep(now: number): Promise<void> {
    await Promise.all(
      [this.#key('free'), this.#key('answered'), this.#key('publishers')].map((key) =>
        this.#redis.command('ZREMRANGEBYSCORE', key, '-inf', String(now)),
      ),
    );
  }

  /** Returns the time on the Redis server's own clock. */
  async lastUse(): Promise<number | undefined> {
    const [seconds] = (await this.#redis.command('TIME')) as string[];
    return Number(seconds) * 1000;
  }

  async ping(): Promise<void> {
    await this.#redis.probe();
  }

  async close(): Promise<void> {
    await this.#redis.close();
  }

  #key(kind: string, of = ''): string {
    return `${this.#redis.prefix}${kind}:{${of}}`;
  }

  #slot(serviceFqn: string): string {
    return this.#slotOf(parseServiceName(serviceFqn).name);
  }

  #slotOf(name: string): string {
    return `${this.#redis.prefix}{${name}}:`;
  }

  #met(one: Principal, other: Principal): string {
    return this.#key('met', [one, other].sort().join(' '));
  }

  async #service(fqn: string): Promise<ServiceRow | undefined> {
    const slot = this.#slot(fqn);
    const [hash, metadata] = await Promise.all([
      this.#redis.command('HGETALL', `${slot}service:${fqn}`),
      this.#redis.command('GET', `${slot}metadata:${fqn}`),
    ]);
    // earlier versions of the server kept the metadata in the hash
    return toService({ ...toHash(hash), ...(metadata !== null && { metadata: String(metadata) }) });
  }

  /** Extends the expiry of an index to `ms` from now; never shortens it. */
  async #extendExpiry(key: string, ms: number): Promise<void> {
    await Promise.all([
      this.#redis.command('PEXPIRE', key, String(ms), 'NX'),
      this.#redis.command('PEXPIRE', key, String(ms), 'GT'),
    ]);
  }

  /** Updates the number of free offers, in total and per user. */
  async #count(username: string, added: (readonly [string, number])[], removed: string[]): Promise<void> {
    const own = this.#key('own', username);
    const scores = added.flatMap(([id, ends]) => [String(ends), id]);
    await Promise.all(
      [this.#key('free'), own].flatMap((key) => [
        added.length ? this.#redis.command('ZADD', key, ...scores) : Promise.resolve(),
        removed.length ? this.#redis.command('ZREM', key, ...removed) : Promise.resolve(),
      ]),
    );
    if (added.length) await this.#redis.command('PEXPIRE', own, String(OWN_TTL));
  }

  async #candidates(
    { offerId, serviceFqn }: OfferKey,
    now: number,
  ): Promise<(Omit<CandidateInfo, 'username'> & { author: Principal; isParked: boolean })[]> {
    const hash = toHash(await this.#redis.command('HGETALL', `${this.#slot(serviceFqn)}candidates:${offerId}`));
    return Object.entries(hash).flatMap(([field, value]) => {
      const [at, role, parkedUntil] = value.split(' ') as [string, Side, string];
      if (parkedUntil !== '' && Number(parkedUntil) <= now) return [];
      const separator = field.indexOf('\n');
      const candidate = JSON.parse(field.slice(separator + 1)) as WireCandidate;
      return [{ candidate, role, author: field.slice(0, separator), createdAt: Number(at), isParked: parkedUntil !== '' }];
    });
  }
}
