/** Store in one SQLite file, with a write-ahead log, prepared statements and a versioned schema. Documented in store.ts. */
import { existsSync, statSync, type Stats } from 'node:fs';
import type { CandidateInfo, WireCandidate } from 'rondevu-elements/protocol';
import { keyOf, principalOf, usernameOf, type NameHolder, type Principal } from './principal.js';
import { CheckpointThread, LogFlusher, isSafe, type Checkpoints } from './sqlite-checkpoints.js';
import { Sql, openDatabase, type Database, type Row } from './sqlite-driver.js';
import { checkHolder, isTaken } from './sqlite-holder.js';
import { Publishing } from './sqlite-publish.js';
import { FOUND, OFFER, toFound, toOffer, toService, toUser } from './sqlite-rows.js';
import { migrate } from './sqlite-schema.js';
import {
  ANSWERED_TTL,
  CLAIM_TTL,
  MET_TTL,
  OLD_FORM_MAX_AGE,
  RENEW_INTERVAL,
  SERVICE_ID_TTL,
  MAX_ENDED,
  MAX_LISTED,
  MAX_POLLED,
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

/**
 * Minimum time between two writes for the same pair of users, in ms: the 24 hours of MET_TTL need a precision of only one
 * minute.
 */
const MET_PRECISION = 60_000;

/** Size of the test write after a failed write, in bytes. */
const LARGE_PROBE = 65_536;

const FREE = `o.answer_sdp IS NULL AND o.expires_at > ? AND o.lease_until <= ?`;
/** Maximum number of public services of one name that are counted to choose a random starting point. */
const MAX_COUNTED = 10_000;
const LIVE = `SELECT ${FOUND} FROM json_each(?) JOIN services s ON s.fqn = json_each.value WHERE s.expires_at > ?`;
// offers directed to the joiner come first; offers that were leased but never answered come last, because the joiner who had
// the lease may have made them unusable
const LEASE_ORDER = `ORDER BY (o.for_user IS NULL), (o.lease_until > 0), (o.instance IS NULL AND o.created_at < ?), o.created_at DESC, o.rowid DESC`;

// anonymous authors are stored by username alone, other authors by username and public key
// the pattern also matches other public keys of the same username; pollOffers filters out their offers
const newestOf = (role: string, from: string, given: string): string =>
  `(SELECT MAX(c.created_at) FROM candidates c WHERE c.offer_id = o.id AND c.role = '${role}' AND (c.username = ${from} OR c.username LIKE ${from} || ' %')
    AND (c.parked_until IS NULL OR c.parked_until > ?4) AND c.created_at > MIN(?3, ${given}))`;
/**
 * Query for the number of offers that a poll examines, and for `[rowid, isNew, answeredAt]` of each offer that the poll reports
 * on; `answeredAt` is 0 for offers that the caller answered. The query reads only indexes; the SDP is read later, for reported
 * offers.
 */
const POLLED = `WITH answered AS (
    SELECT o.rowid AS id, o.answered_at AS at, o.answer_given AS is_given, o.given_offerer AS given,
      ${newestOf('answerer', 'o.answer_user', 'o.given_offerer')} AS newest
    FROM services s JOIN offers o ON o.service_id = s.id
    WHERE s.username = ?1 AND s.public_key = ?5 AND o.instance IS ?2 AND o.answered_at IS NOT NULL AND o.expires_at > ?4
    UNION ALL
    SELECT o.rowid, 0, 1, o.given_answerer, ${newestOf('offerer', 's.username', 'o.given_answerer')}
    FROM offers o JOIN services s ON s.id = o.service_id
    WHERE o.answer_user = ?1 AND o.answer_instance IS ?2 AND o.expires_at > ?4
  )
  SELECT COUNT(*) AS examined,
    json_group_array(json_array(id, is_given = 0 OR IFNULL(newest > given, 0), at)) FILTER (WHERE is_given = 0 OR at > ?3 OR newest IS NOT NULL) AS news
  FROM answered`;

export class SqliteStore implements Store {
  readonly #sql: Sql;
  readonly #publishing: Publishing;
  readonly #used = new Map<string, number>();
  readonly #path: string;
  /** `stat` result of the database file when it was opened; undefined for an in-memory store. */
  readonly #file: Stats | undefined;
  #isClosed = false;

  /** @param path a file, or `:memory:` for a store that is lost when the process exits */
  constructor(path: string) {
    const { database, module } = openDatabase(path);
    migrate(database, path);
    this.#sql = new Sql(database, checkpointsOf(database, module, path));
    this.#publishing = new Publishing(this.#sql);
    this.#path = path;
    this.#file = existsSync(path) ? statSync(path) : undefined;
  }

  async getUser(username: string, now: number): Promise<UserRow | undefined> {
    const row = this.#sql.get('SELECT * FROM users WHERE username = ? AND expires_at > ?', username, now);
    return row && toUser(row);
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
    const lastV2At = v2 ? now : (user?.lastV2At ?? 0);
    if (user && user.expiresAt > now + CLAIM_TTL - RENEW_INTERVAL && lastV2At - user.lastV2At < RENEW_INTERVAL) return 'ok';
    return this.#sql.transaction(() => {
      // the name may have been claimed since the read
      if (isTaken(this.#sql, { username, publicKey }, now)) return 'name-taken';
      const other = this.#sql.get(
        'SELECT username FROM users WHERE public_key = ? AND username <> ? AND expires_at > ?',
        publicKey,
        username,
        now,
      );
      if (other) return { keyHolds: String(other['username']) };
      this.#sql.run('DELETE FROM users WHERE (username = ? OR public_key = ?) AND expires_at <= ?', username, publicKey, now);
      this.#sql.run(
        `INSERT INTO users (username, public_key, claimed_at, expires_at, last_v2_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (username) DO UPDATE SET expires_at = excluded.expires_at, last_v2_at = excluded.last_v2_at`,
        ...[username, publicKey, now, now + CLAIM_TTL, lastV2At],
      );
      this.#sql.run('DELETE FROM services WHERE username = ? AND public_key <> ?', username, publicKey);
      return 'ok' as const;
    });
  }

  async publish(
    input: PublishInput,
    maxFree: number,
    now: number,
    maxEnded = MAX_ENDED,
  ): Promise<{ service: ServiceRow; offers: OfferRow[] }> {
    return this.#sql.transaction(() => this.#publishing.publish(input, maxFree, now, maxEnded));
  }

  async findServices(name: string, username: string | undefined, now: number, from: 'anywhere' | 'first'): Promise<string[]> {
    if (username !== undefined)
      return this.#fqns('FROM services WHERE username = ? AND name = ? AND hidden = 0', now, username, name);
    // a service whose `kept_until` is more than SERVICE_ID_TTL from now is live, or ended within the last hour
    const rows = 'FROM services INDEXED BY services_public WHERE name = ? AND hidden = 0 AND kept_until > ?';
    const { count } = this.#sql.get(
      `SELECT COUNT(*) AS count FROM (SELECT 1 ${rows} LIMIT ${MAX_COUNTED})`,
      name,
      now + SERVICE_ID_TTL,
    )!;
    const more = from === 'first' ? 0 : Math.max(0, Number(count) - MAX_LISTED);
    return this.#fqns(
      `${rows} ORDER BY kept_until, rowid LIMIT ${MAX_LISTED} OFFSET ?`,
      ...[now, name, now + SERVICE_ID_TTL, Math.floor(Math.random() * (more + 1))],
    );
  }

  /**
   * Returns the full names of live services, read as one JSON value, because one row per name would take several times as long.
   */
  #fqns(rows: string, now: number, ...values: (string | number)[]): string[] {
    const { fqns } = this.#sql.get(
      `SELECT json_group_array(fqn) AS fqns FROM (SELECT fqn, expires_at ${rows}) WHERE expires_at > ?`,
      ...[...values, now],
    )!;
    return JSON.parse(String(fqns)) as string[];
  }

  async readServices(serviceFqns: string[], now: number): Promise<FoundService[]> {
    return this.#sql.all(`${LIVE} ORDER BY json_each.key`, JSON.stringify(serviceFqns), now).map(toFound);
  }

  async offering(
    serviceFqns: string[],
    now: number,
    to: Holder | 'all',
  ): Promise<{ services: FoundService[]; examined: number }> {
    const offers = `FROM offers o INDEXED BY offers_free WHERE o.service_id = s.id AND o.answer_sdp IS NULL AND o.expires_at > ?`;
    const values = [JSON.stringify(serviceFqns), now, now];
    const rows =
      to === 'all'
        ? this.#sql.all(`${LIVE} AND EXISTS (SELECT 1 ${offers} AND o.for_user IS NULL) ORDER BY json_each.key`, ...values)
        : this.#sql.all(
            `${LIVE} AND EXISTS (SELECT 1 ${offers} AND (o.for_user IS NULL OR o.for_user = ?)
               AND (o.lease_until <= ? AND NOT (s.username = ? AND o.instance IS ?) OR (? AND o.lease_user = ? AND s.username <> ?)))
             ORDER BY json_each.key`,
            ...[...values, principalOf(to), now, to.username, to.instance ?? null],
            ...[to.instance === undefined ? 1 : 0, principalOf(to), to.username],
          );
    return { services: rows.map(toFound), examined: serviceFqns.length };
  }

  async getService(serviceId: string, now: number): Promise<ServiceRow | undefined> {
    const row = this.#sql.get('SELECT * FROM services WHERE id = ? AND expires_at > ?', serviceId, now);
    return row && toService(row);
  }

  async deleteService({ username, publicKey }: NameHolder, serviceFqn: string): Promise<string | undefined> {
    return this.#sql.transaction(() => {
      const query = 'SELECT id FROM services WHERE fqn = ? AND username = ? AND public_key = ?';
      const row = this.#sql.get(query, serviceFqn, username, publicKey);
      if (!row) return undefined;
      this.#sql.run('DELETE FROM services WHERE id = ?', row['id']!);
      return String(row['id']);
    });
  }

  async withdraw({ username, publicKey }: NameHolder, serviceFqn: string, offerIds: string[]): Promise<number> {
    // one statement deletes all offers, because a thousand statements would delay other calls
    return this.#sql.transaction(() =>
      this.#sql.run(
        `DELETE FROM offers WHERE id IN (SELECT value FROM json_each(?)) AND answer_sdp IS NULL
         AND service_id = (SELECT id FROM services WHERE fqn = ? AND username = ? AND public_key = ?)`,
        ...[JSON.stringify(offerIds), serviceFqn, username, publicKey],
      ),
    );
  }

  async withdrawInstance(owner: Principal, instance: string): Promise<ServiceKey[]> {
    return this.#sql.transaction(() => {
      const free = 'o.instance = ? AND o.answer_sdp IS NULL AND s.username = ? AND s.public_key = COALESCE(?, s.public_key)';
      const rows = this.#sql.all(
        `SELECT o.rowid AS offer, s.id, s.fqn FROM services s JOIN offers o ON o.service_id = s.id WHERE ${free}`,
        ...[instance, usernameOf(owner), keyOf(owner) ?? null],
      );
      for (const row of rows) this.#sql.run('DELETE FROM offers WHERE rowid = ?', row['offer']!);
      return rows.map((row) => ({ serviceId: String(row['id']), serviceFqn: String(row['fqn']) }));
    });
  }

  async countFreeOffers(now: number): Promise<number> {
    // the query reads only the index, because the rows are large
    const row = this.#sql.get(
      'SELECT COUNT(*) AS free FROM offers INDEXED BY offers_free WHERE answer_sdp IS NULL AND expires_at > ?',
      now,
    );
    return Number(row?.['free'] ?? 0);
  }

  async countAnswered(): Promise<number> {
    // expired offers are included, because they are swept soon
    const row = this.#sql.get('SELECT COUNT(*) AS answered FROM offers INDEXED BY offers_answered WHERE answered_at IS NOT NULL');
    return Number(row?.['answered'] ?? 0);
  }

  async countPublishers(now: number): Promise<number> {
    const row = this.#sql.get(
      `SELECT COUNT(DISTINCT s.username) AS users FROM services s
       WHERE EXISTS (SELECT 1 FROM offers o WHERE o.service_id = s.id AND o.answer_sdp IS NULL AND o.expires_at > ?)`,
      now,
    );
    return Number(row?.['users'] ?? 0);
  }

  async countOf(username: string, serviceFqn: string, now: number): Promise<{ offers: number; otherServices: number }> {
    const row = this.#sql.get(
      `SELECT (SELECT COUNT(*) FROM services s JOIN offers o ON o.service_id = s.id
         WHERE s.username = ? AND o.answer_sdp IS NULL AND o.expires_at > ?)
       + (SELECT COUNT(*) FROM services s JOIN offers o ON o.service_id = s.id
         WHERE s.username = ? AND o.answered_at IS NOT NULL AND o.expires_at > ?) AS offers,
       (SELECT COUNT(*) FROM services WHERE username = ? AND fqn <> ? AND expires_at > ?) AS services`,
      ...[username, now, username, now, username, serviceFqn, now],
    );
    return { offers: Number(row!['offers']), otherServices: Number(row!['services']) };
  }

  async release(username: string, publicKey: string): Promise<string[]> {
    return this.#sql.transaction(() => {
      if (!this.#sql.run('DELETE FROM users WHERE username = ? AND public_key = ?', username, publicKey)) return [];
      const ids = this.#sql.all('SELECT id FROM services WHERE username = ?', username).map((row) => String(row['id']));
      this.#sql.run('DELETE FROM services WHERE username = ?', username);
      return ids;
    });
  }

  async listInstances(now: number): Promise<{ owner: Principal; instance: string }[]> {
    return this.#sql
      .all(
        `SELECT DISTINCT s.username, s.public_key, o.instance FROM offers o JOIN services s ON s.id = o.service_id
       WHERE o.instance IS NOT NULL AND o.answer_sdp IS NULL AND o.expires_at > ?`,
        now,
      )
      .map((row) => ({
        owner: principalOf({ username: String(row['username']), publicKey: String(row['public_key']) }),
        instance: String(row['instance']),
      }));
  }

  async lease({ serviceId }: ServiceKey, by: Holder, until: number, now: number): Promise<OfferRow | undefined> {
    return this.#sql.transaction(() => {
      // an instance cannot lease its own offers, but other instances of the same user can
      const query = `${OFFER} WHERE o.service_id = ? AND ${FREE} AND NOT (s.username = ? AND o.instance IS ?)
        AND (o.for_user IS NULL OR o.for_user = ?) ${LEASE_ORDER} LIMIT 1`;
      const { username, instance = null } = by;
      const holder = principalOf(by);
      const free = this.#sql.get(query, serviceId, now, now, username, instance, holder, now - OLD_FORM_MAX_AGE);
      const row = free ?? this.#ownLease(serviceId, by, now);
      if (!row) return undefined;
      // a repeated request does not extend the lease
      const end = free ? until : Number(row['lease_until']);
      this.#sql.run(
        'UPDATE offers SET lease_user = ?, lease_until = ?, given_answerer = 0 WHERE id = ?',
        ...[holder, end, row['id']!],
      );
      // an UPDATE to the same time would still rewrite the index entry
      const expiresAt = Math.max(Number(row['expires_at']), end + 2000);
      if (expiresAt > Number(row['expires_at']))
        this.#sql.run('UPDATE offers SET expires_at = ? WHERE id = ?', expiresAt, row['id']!);
      return toOffer({ ...row, lease_user: holder, lease_until: end, expires_at: expiresAt });
    });
  }

  /**
   * v0.20 clients look up a service twice to connect: if no other offer is free, a client gets the offer that it already holds.
   */
  #ownLease(serviceId: string, by: Holder, now: number): Row | undefined {
    if (by.instance !== undefined) return undefined;
    return this.#sql.get(
      `${OFFER} WHERE o.service_id = ? AND o.answer_sdp IS NULL AND o.expires_at > ? AND o.lease_user = ? AND s.username <> ? ORDER BY o.lease_until LIMIT 1`,
      ...[serviceId, now, principalOf(by), by.username],
    );
  }

  async listUnanswered({ serviceId }: ServiceKey, limit: number, now: number): Promise<OfferRow[]> {
    return this.#sql
      .all(
        `${OFFER} WHERE o.service_id = ? AND o.answer_sdp IS NULL AND o.expires_at > ? AND o.for_user IS NULL
       ORDER BY o.lease_until > ?, (o.instance IS NULL AND o.created_at < ?), o.created_at DESC, o.rowid DESC LIMIT ?`,
        ...[serviceId, now, now, now - OLD_FORM_MAX_AGE, limit],
      )
      .map(toOffer);
  }

  async getOffer({ offerId, serviceFqn }: OfferKey, now: number): Promise<OfferRow | undefined> {
    const row = this.#sql.get(`${OFFER} WHERE o.id = ? AND s.fqn = ? AND o.expires_at > ?`, offerId, serviceFqn, now);
    return row && toOffer(row);
  }

  async answer({ offerId, serviceFqn }: OfferKey, input: AnswerInput, now: number): Promise<AnswerVerdict> {
    return this.#sql.transaction(() => {
      const row = this.#sql.get(
        `SELECT o.answer_sdp, o.answer_user, o.answer_key, o.for_user, o.lease_user, o.lease_until, s.username, s.public_key
         FROM offers o JOIN services s ON s.id = o.service_id WHERE o.id = ? AND s.fqn = ? AND o.expires_at > ?`,
        ...[offerId, serviceFqn, now],
      );
      if (!row) return 'gone';
      checkHolder(this.#sql, input, now);
      const answerer = principalOf(input);
      const offerer = principalOf({ username: String(row['username']), publicKey: String(row['public_key']) });
      if (row['answer_sdp'] !== null) {
        const isSame = row['answer_user'] === input.username && row['answer_key'] === input.publicKey;
        return isSame && row['answer_sdp'] === input.sdp ? 'repeated' : 'already-answered';
      }
      const isOfOther = (user: unknown): boolean => user !== null && user !== answerer;
      if (isOfOther(row['for_user']) || (Number(row['lease_until']) > now && isOfOther(row['lease_user']))) return 'reserved';
      this.#sql.run(
        `UPDATE offers SET answer_sdp = ?, answer_user = ?, answer_key = ?, answer_instance = ?, answered_at = ?, expires_at = ?,
           given_answerer = CASE WHEN lease_user = ? THEN given_answerer ELSE 0 END WHERE id = ?`,
        ...[input.sdp, input.username, input.publicKey, input.instance ?? null, now, now + ANSWERED_TTL, answerer, offerId],
      );
      this.#sql.run(
        'UPDATE candidates SET parked_until = NULL WHERE offer_id = ? AND username = ? AND parked_until > ?',
        offerId,
        answerer,
        now,
      );
      this.#sql.run(
        `INSERT INTO met (a, b, until) VALUES (MIN(?, ?), MAX(?, ?), ?) ON CONFLICT (a, b) DO UPDATE SET until = excluded.until WHERE excluded.until > until + ?`,
        ...[answerer, offerer, answerer, offerer, now + MET_TTL, MET_PRECISION],
      );
      return 'answered';
    });
  }

  async addCandidates(
    offer: OfferRow,
    from: NameHolder & { role: Side; parkedUntil?: number | undefined; max?: number | undefined },
    candidates: WireCandidate[],
    now: number,
  ): Promise<CandidateInfo[] | { wait: number } | 'too-many' | 'gone'> {
    return this.#sql.transaction(() => {
      // the offer may have been deleted since it was read; candidates added now would never be deleted
      if (!this.#sql.get('SELECT 1 FROM offers WHERE id = ?', offer.offerId)) return 'gone';
      checkHolder(this.#sql, from, now);
      const author = principalOf(from);
      // a parked candidate that has expired may be sent again
      this.#sql.run('DELETE FROM candidates WHERE offer_id = ? AND parked_until <= ?', offer.offerId, now);
      const known = new Set(
        this.#sql
          .all('SELECT candidate FROM candidates WHERE offer_id = ? AND username = ?', offer.offerId, author)
          .map((r) => r['candidate']),
      );
      const texts = [...new Set(candidates.map((c) => JSON.stringify(c)))];
      const fresh = texts.filter((text) => !known.has(text));
      if (from.max !== undefined && known.size + fresh.length > from.max) return 'too-many';
      const last = Number(
        this.#sql.get('SELECT MAX(created_at) AS last FROM candidates WHERE offer_id = ?', offer.offerId)?.['last'] ?? 0,
      );
      const first = Math.max(last + 1, now - fresh.length + 1);
      const ahead = first + fresh.length - 1 - now;
      if (fresh.length && ahead > 0) return { wait: ahead };
      for (const text of texts.filter((each) => known.has(each))) {
        this.#sql.run(
          'UPDATE candidates SET parked_until = ? WHERE offer_id = ? AND username = ? AND candidate = ? AND parked_until IS NOT NULL',
          ...[from.parkedUntil ?? null, offer.offerId, author, text],
        );
      }
      return fresh.map((text, index) => {
        this.#sql.run(
          'INSERT INTO candidates (offer_id, created_at, username, role, candidate, parked_until) VALUES (?, ?, ?, ?, ?, ?)',
          ...[offer.offerId, first + index, author, from.role, text, from.parkedUntil ?? null],
        );
        return {
          candidate: JSON.parse(text) as WireCandidate,
          role: from.role,
          username: from.username,
          createdAt: first + index,
        };
      });
    });
  }

  async countCandidates({ offerId }: OfferKey, of: Principal, now: number): Promise<number> {
    return Number(
      this.#sql.get(
        'SELECT COUNT(*) AS count FROM candidates WHERE offer_id = ? AND username = ? AND (parked_until IS NULL OR parked_until > ?)',
        ...[offerId, of, now],
      )!['count'],
    );
  }

  async countParkingUsers({ offerId }: OfferKey, besides: Principal, now: number): Promise<number> {
    return Number(
      this.#sql.get(
        'SELECT COUNT(DISTINCT username) AS count FROM candidates WHERE offer_id = ? AND username <> ? AND parked_until > ?',
        ...[offerId, besides, now],
      )!['count'],
    );
  }

  async takeCandidates(offer: OfferRow, side: Side, since: number, now: number): Promise<CandidateInfo[]> {
    const column = side === 'offerer' ? 'given_offerer' : 'given_answerer';
    const given = Number(this.#sql.get(`SELECT ${column} AS given FROM offers WHERE id = ?`, offer.offerId)?.['given'] ?? 0);
    const after = Math.min(since, given);
    const found = this.#candidates(offer, side === 'offerer' ? 'answerer' : 'offerer', now).filter((c) => c.createdAt > after);
    const newest = found.at(-1)?.createdAt ?? 0;
    // nothing else runs between the read and this write
    if (newest > given)
      await this.#sql.transaction(() => this.#sql.run(`UPDATE offers SET ${column} = ? WHERE id = ?`, newest, offer.offerId));
    return found;
  }

  async listCandidates(offer: OfferRow, role: Side, now: number): Promise<CandidateInfo[]> {
    return this.#candidates(offer, role, now);
  }

  /** Lists the candidates of one role; for the answerer, only candidates from the user who answered, never from other users. */
  #candidates(offer: OfferRow, role: Side, now: number): CandidateInfo[] {
    const author = role === 'offerer' ? offer : offer.answer;
    if (!author) return [];
    const { username } = author;
    return this.#sql
      .all(
        'SELECT * FROM candidates WHERE offer_id = ? AND role = ? AND username = ? AND (parked_until IS NULL OR parked_until > ?) ORDER BY created_at',
        ...[offer.offerId, role, principalOf(author), now],
      )
      .map((row) => ({
        candidate: JSON.parse(String(row['candidate'])) as WireCandidate,
        role,
        username,
        createdAt: Number(row['created_at']),
      }));
  }

  async pollOffers(
    user: NameHolder,
    instance: string | undefined,
    since: number,
    now: number,
  ): Promise<{ offers: OfferRow[]; examined: number }> {
    const { username, publicKey } = user;
    const row = this.#sql.get(POLLED, username, instance ?? null, since, now, publicKey)!;
    const news = (JSON.parse(String(row['news'])) as [id: number, isNew: number, answeredAt: number][])
      .sort((a, b) => b[1] - a[1] || a[2] - b[2])
      .slice(0, MAX_POLLED);
    const ids = JSON.stringify(news.map(([id]) => id));
    const offers = (
      news.length ? this.#sql.all(`${OFFER} JOIN json_each(?) listed ON listed.value = o.rowid ORDER BY listed.key`, ids) : []
    )
      .map(toOffer)
      .filter((offer) => [offer, offer.answer].some((side) => side && principalOf(side) === principalOf(user)));
    return { offers, examined: Number(row['examined']) };
  }

  async takeAnswer(offer: OfferRow, since: number): Promise<boolean> {
    if (!offer.answer) return false;
    // a poll with `since: 0` reports every answer again, and must not begin a transaction for each answer
    if (offer.answer.isGiven) return offer.answer.answeredAt > since;
    const changed = await this.#sql.transaction(() =>
      this.#sql.run('UPDATE offers SET answer_given = 1 WHERE id = ? AND answer_given = 0', offer.offerId),
    );
    return changed > 0 || offer.answer.answeredAt > since;
  }

  async haveMet(one: Principal, other: Principal, now: number): Promise<boolean> {
    const query = 'SELECT 1 FROM met WHERE a = MIN(?, ?) AND b = MAX(?, ?) AND until > ?';
    return this.#sql.get(query, one, other, one, other, now) !== undefined;
  }

  async useOnce(token: string, until: number, now: number): Promise<boolean> {
    // tokens are kept in memory only: they are valid for a few minutes, and a replay would require a restart in that time
    if (this.#used.get(token)! >= now) return false;
    this.#used.set(token, until);
    return true;
  }

  async sweep(now: number): Promise<void> {
    // rows are deleted in batches, so that no call waits for thousands of rows
    const offers = (): number =>
      this.#sql.run('DELETE FROM offers WHERE rowid IN (SELECT rowid FROM offers WHERE expires_at <= ? LIMIT 200)', now);
    // `kept_until` includes up to an hour of slack, so metadata is deleted at most an hour after its service ends
    const metadata = (): number =>
      this.#sql.run(
        `UPDATE services SET metadata = NULL WHERE rowid IN
           (SELECT rowid FROM services WHERE metadata IS NOT NULL AND kept_until <= ? LIMIT 200)`,
        now + SERVICE_ID_TTL,
      );
    for (const piece of [offers, metadata]) {
      while ((await this.#sql.transaction(piece)) > 0) {
        await new Promise(setImmediate);
        if (this.#isClosed) return;
      }
    }
    for (const [token, until] of this.#used) if (until < now) this.#used.delete(token);
    await this.#sql.transaction(() => {
      this.#sql.run('DELETE FROM candidates WHERE parked_until <= ?', now);
      this.#sql.run('DELETE FROM met WHERE until <= ?', now);
      this.#sql.run('DELETE FROM services WHERE kept_until <= ?', now);
      this.#sql.run('DELETE FROM services WHERE username IN (SELECT username FROM users WHERE expires_at <= ?)', now);
      this.#sql.run('DELETE FROM users WHERE expires_at <= ?', now);
    });
  }

  async lastUse(): Promise<number | undefined> {
    const newest = this.#sql.get('SELECT MAX(expires_at) AS newest FROM users')?.['newest'];
    return typeof newest === 'number' ? newest - CLAIM_TTL : undefined;
  }

  /** After a failed write, writes as much as a large call, because a nearly full disk would still accept a small write. */
  async ping(): Promise<void> {
    this.#checkFile();
    const size = this.#sql.hasFailed ? LARGE_PROBE : 1;
    await this.#sql.transaction(() => this.#sql.run('INSERT OR REPLACE INTO probe (id, data) VALUES (1, zeroblob(?))', size));
  }

  /** Detects that the database file was replaced: writes to a deleted file succeed but are lost. */
  #checkFile(): void {
    if (this.#file && statSync(this.#path).ino !== this.#file.ino)
      throw new Error(`the database ${this.#path} was replaced while the server runs: restart it`);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#sql.close();
  }
}

/** Checkpoints run in a separate thread if that is safe and possible, otherwise within commits, in small pieces. */
function checkpointsOf(database: Database, module: string, path: string): Checkpoints | undefined {
  const autoCheckpoint = (): void => database.exec('PRAGMA wal_autocheckpoint = 4000');
  autoCheckpoint();
  if (path === ':memory:') return undefined;
  const { version } = database.prepare('SELECT sqlite_version() AS version').get()!;
  try {
    if (!isSafe(String(version))) return new LogFlusher(path);
    const thread = new CheckpointThread(module, path, autoCheckpoint);
    // fallback in case the thread cannot keep up
    database.exec('PRAGMA wal_autocheckpoint = 16000');
    return thread;
  } catch {
    return undefined; // the environment may forbid threads
  }
}
