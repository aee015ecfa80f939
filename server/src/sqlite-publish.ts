/** Publishing, the call that writes most: statements return no more than is not known here. docs in store.ts. */
import { randomUUID } from 'node:crypto';
import type { Row, Sql } from './sqlite-driver.js';
import { OFFER, toOffer } from './sqlite-rows.js';
import { offerIdOf, type OfferRow, type PublishInput, type ServiceRow } from './store.js';

/** Within a transaction. */
export function publish(
  sql: Sql,
  input: PublishInput,
  maxFree: number,
  now: number,
): { service: ServiceRow; offers: OfferRow[] } {
  const expiresAt = now + input.ttl;
  const metadata = input.metadata === undefined ? null : JSON.stringify(input.metadata);
  const row = sql.get(
    `INSERT INTO services (id, username, public_key, name, version, fqn, hidden, metadata, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (fqn) DO UPDATE SET public_key = excluded.public_key, hidden = excluded.hidden, metadata = excluded.metadata,
       expires_at = MAX(services.expires_at, excluded.expires_at) RETURNING id, created_at, expires_at`,
    ...[
      randomUUID(),
      input.username,
      input.publicKey,
      input.name,
      input.version,
      input.serviceFqn,
      input.hidden ? 1 : 0,
      metadata,
      now,
      expiresAt,
    ],
  );
  const service: ServiceRow = {
    ...{ serviceId: String(row!['id']), username: input.username, publicKey: input.publicKey },
    ...{ name: input.name, version: input.version, serviceFqn: input.serviceFqn },
    ...{ hidden: input.hidden ?? false, metadata: input.metadata },
    ...{ createdAt: Number(row!['created_at']), expiresAt: Number(row!['expires_at']) },
  };
  const offers = input.offers.map(({ sdp, for: only = null }) => {
    const offerId = offerIdOf(input, sdp);
    const insert = (): Row | undefined =>
      sql.get(
        `INSERT INTO offers (id, service_id, instance, sdp, created_at, expires_at, for_user) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET expires_at = MAX(offers.expires_at, excluded.expires_at) WHERE offers.expires_at > ? RETURNING created_at, expires_at, lease_until, answered_at`,
        ...[offerId, service.serviceId, input.instance ?? null, sdp, now, expiresAt, only, now],
      );
    let offer = insert();
    if (!offer) {
      // the same was there and is over
      sql.run('DELETE FROM offers WHERE id = ?', offerId);
      offer = insert()!;
    }
    // one that is answered already is rare, and read as a whole
    if (offer['answered_at'] !== null) return toOffer(sql.get(`${OFFER} WHERE o.id = ?`, offerId)!);
    return {
      ...{ offerId, serviceId: service.serviceId, serviceFqn: service.serviceFqn, username: service.username, sdp },
      ...(input.instance !== undefined && { instance: input.instance }),
      ...{ createdAt: Number(offer['created_at']), expiresAt: Number(offer['expires_at']) },
      leaseUntil: Number(offer['lease_until']),
    };
  });
  const free = sql.get(
    'SELECT COUNT(*) AS count FROM offers WHERE service_id = ? AND answer_sdp IS NULL AND expires_at > ?',
    ...[service.serviceId, now],
  );
  if (Number(free!['count']) > maxFree) {
    sql.run(
      `DELETE FROM offers WHERE id IN (SELECT o.id FROM offers o WHERE o.service_id = ? AND o.answer_sdp IS NULL AND o.expires_at > ? AND o.lease_until <= ?
       ORDER BY o.created_at DESC, o.rowid DESC LIMIT -1 OFFSET ?)`,
      ...[service.serviceId, now, now, maxFree],
    );
  }
  return { service, offers };
}
