/**
 * Publishes services and offers. Publishing writes more than any other call, so unchanged data is not written again. Documented
 * in store.ts.
 */
import { randomUUID } from 'node:crypto';
import type { Sql } from './sqlite-driver.js';
import { OTHER_HOLDER, checkHolder } from './sqlite-holder.js';
import { FOUND, OFFER, toFound, toOffer } from './sqlite-rows.js';
import { MAX_DELETED_ENDED, SERVICE_ID_TTL, offerIdOf, type OfferRow, type PublishInput, type ServiceRow } from './store.js';

/** Maximum number of services in the cache. */
const MAX_CACHED = 10_000;

/** Slack added to the time for which a service is kept, in ms, so that most publications need not update that time. */
const EXPIRY_SLACK = 3_600_000;

/**
 * A service as it was last written. The entry is only a guess until an update with the same values matches the row of the
 * service.
 */
interface Cached {
  service: Omit<ServiceRow, 'metadata'>;
  /** Metadata as stored, in JSON: the parsed value may take twenty times as much memory. */
  metadata: string | null;
  keptUntil: number;
  /** Upper bound on the number of free offers of the service: they are counted only when the bound exceeds the limit. */
  freeUpperBound: number;
}

export class Publishing {
  readonly #sql: Sql;
  readonly #cache = new Map<string, Cached>();

  constructor(sql: Sql) {
    this.#sql = sql;
    sql.onRollback = () => this.#cache.clear();
  }

  /** Publishes a service and its offers; call this within a transaction. @throws RpcError `name-taken` */
  publish(input: PublishInput, maxFree: number, now: number, maxEnded: number): { service: ServiceRow; offers: OfferRow[] } {
    const cached = this.#service(input, now, maxEnded);
    const offers = input.offers.map((offer) => this.#offer(input, cached.service, offer, now));
    cached.freeUpperBound += offers.length;
    if (cached.freeUpperBound > maxFree) cached.freeUpperBound = this.#trim(cached.service.serviceId, maxFree, now);
    return { service: { ...cached.service, metadata: input.metadata }, offers };
  }

  #service(input: PublishInput, now: number, maxEnded: number): Cached {
    const { serviceFqn, publicKey, ttl } = input;
    const hidden = input.hidden ?? false;
    const metadata = input.metadata === undefined ? null : JSON.stringify(input.metadata);
    const cached = this.#cache.get(serviceFqn);
    if (cached && cached.service.publicKey === publicKey && cached.service.hidden === hidden && cached.metadata === metadata) {
      const isUnchanged = this.#sql.run(
        `UPDATE services SET expires_at = MAX(expires_at, ?) WHERE id = ? AND public_key = ? AND hidden = ? AND metadata IS ?
         AND NOT EXISTS (${OTHER_HOLDER})`,
        ...[now + ttl, cached.service.serviceId, publicKey, hidden ? 1 : 0, metadata, input.username, publicKey, now],
      );
      if (isUnchanged) {
        if (cached.keptUntil < now + ttl + SERVICE_ID_TTL)
          cached.keptUntil = this.#extendExpiry(cached.service.serviceId, now + ttl);
        cached.service = { ...cached.service, expiresAt: Math.max(cached.service.expiresAt, now + ttl) };
        return cached;
      }
    }
    checkHolder(this.#sql, input, now);
    const { username, name, version } = input;
    if (!this.#sql.get('SELECT 1 FROM services WHERE fqn = ?', serviceFqn)) this.#deleteEnded(username, now, maxEnded);
    // the id and the offers belong to the previous holder of the username
    this.#sql.run('DELETE FROM services WHERE fqn = ? AND public_key <> ?', serviceFqn, publicKey);
    this.#sql.run(
      `INSERT INTO services (id, username, public_key, name, version, fqn, hidden, metadata, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (fqn) DO UPDATE SET hidden = excluded.hidden, metadata = excluded.metadata,
         expires_at = MAX(services.expires_at, excluded.expires_at)`,
      ...[randomUUID(), username, publicKey, name, version, serviceFqn, hidden ? 1 : 0, metadata, now, now + ttl],
    );
    const service = toFound(this.#sql.get(`SELECT ${FOUND} FROM services s WHERE s.fqn = ?`, serviceFqn)!);
    const keptUntil = this.#extendExpiry(service.serviceId, service.expiresAt);
    const read = { service, metadata, keptUntil, freeUpperBound: Infinity };
    if (this.#cache.size >= MAX_CACHED) this.#cache.clear();
    this.#cache.set(serviceFqn, read);
    return read;
  }

  /**
   * Deletes surplus ended services; called for each new service, so that the number of rows per username is bounded and
   * counting them is cheap.
   */
  #deleteEnded(username: string, now: number, maxEnded: number): void {
    this.#sql.run(
      `DELETE FROM services WHERE rowid IN (SELECT rowid FROM services WHERE username = ? AND expires_at <= ?
       ORDER BY expires_at DESC, rowid DESC LIMIT ${MAX_DELETED_ENDED} OFFSET ?)`,
      ...[username, now, maxEnded],
    );
    this.#sql.run(
      'UPDATE services SET metadata = NULL WHERE username = ? AND expires_at <= ? AND metadata IS NOT NULL',
      username,
      now,
    );
  }

  #extendExpiry(serviceId: string, expiresAt: number): number {
    const until = expiresAt + SERVICE_ID_TTL + EXPIRY_SLACK;
    this.#sql.run('UPDATE services SET kept_until = ? WHERE id = ?', until, serviceId);
    return until;
  }

  #offer(
    input: PublishInput,
    { serviceId, serviceFqn, username, publicKey }: Cached['service'],
    { sdp, for: only }: PublishInput['offers'][number],
    now: number,
  ): OfferRow {
    const offerId = offerIdOf(input, sdp);
    const expiresAt = now + input.ttl;
    const isNew = (): boolean =>
      this.#sql.run(
        'INSERT OR IGNORE INTO offers (id, service_id, instance, sdp, created_at, expires_at, for_user) VALUES (?, ?, ?, ?, ?, ?, ?)',
        ...[offerId, serviceId, input.instance ?? null, sdp, now, expiresAt, only ?? null],
      ) > 0;
    if (!isNew()) {
      if (
        this.#sql.run(
          'UPDATE offers SET expires_at = IIF(answer_sdp IS NULL, MAX(expires_at, ?), expires_at) WHERE id = ? AND expires_at > ?',
          expiresAt,
          offerId,
          now,
        )
      )
        return toOffer(this.#sql.get(`${OFFER} WHERE o.id = ?`, offerId)!);
      // the offer existed before and has expired
      this.#sql.run('DELETE FROM offers WHERE id = ?', offerId);
      isNew();
    }
    const { instance } = input;
    const from = instance === undefined ? {} : { instance };
    return { offerId, serviceId, serviceFqn, username, publicKey, sdp, ...from, createdAt: now, expiresAt, leaseUntil: 0 };
  }

  /**
   * Deletes the oldest unleased free offers if there are more than `maxFree`.
   * @returns an upper bound on the number of free offers left
   */
  #trim(serviceId: string, maxFree: number, now: number): number {
    const row = this.#sql.get(
      `SELECT COUNT(*) AS free, TOTAL(lease_until <= ?) AS unleased FROM offers WHERE service_id = ? AND answer_sdp IS NULL AND expires_at > ?`,
      ...[now, serviceId, now],
    );
    const surplus = Number(row!['unleased']) - maxFree;
    if (surplus <= 0) return Number(row!['free']);
    this.#sql.run(
      `DELETE FROM offers WHERE rowid IN (SELECT rowid FROM offers WHERE service_id = ? AND answer_sdp IS NULL AND expires_at > ? AND lease_until <= ?
       ORDER BY created_at, rowid LIMIT ?)`,
      ...[serviceId, now, now, surplus],
    );
    return Number(row!['free']) - surplus;
  }
}
