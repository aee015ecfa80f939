/** Converts database rows to the row types of store.ts. */
import type { Row } from './sqlite-driver.js';
import type { FoundService, OfferRow, ServiceRow, UserRow } from './store.js';

/** Query whose rows `toOffer` converts. */
export const OFFER = `SELECT o.*, s.fqn, s.username AS owner, s.public_key AS owner_key FROM offers o JOIN services s ON s.id = o.service_id`;

export function toUser(row: Row): UserRow {
  return {
    username: String(row['username']),
    publicKey: String(row['public_key']),
    claimedAt: Number(row['claimed_at']),
    expiresAt: Number(row['expires_at']),
    lastV2At: Number(row['last_v2_at']),
  };
}

/** Columns that `toFound` needs, without the metadata. */
export const FOUND = 's.id, s.username, s.public_key, s.name, s.version, s.fqn, s.hidden, s.created_at, s.expires_at';

/** The metadata is parsed on access, because parsing may take longer than the rest of the call. */
export function toService(row: Row): ServiceRow {
  return {
    ...toFound(row),
    get metadata(): unknown {
      return row['metadata'] === null ? undefined : JSON.parse(String(row['metadata']));
    },
  };
}

export function toFound(row: Row): FoundService {
  return {
    serviceId: String(row['id']),
    username: String(row['username']),
    publicKey: String(row['public_key']),
    name: String(row['name']),
    version: String(row['version']),
    serviceFqn: String(row['fqn']),
    hidden: row['hidden'] === 1,
    createdAt: Number(row['created_at']),
    expiresAt: Number(row['expires_at']),
  };
}

export function toOffer(row: Row): OfferRow {
  return {
    offerId: String(row['id']),
    serviceId: String(row['service_id']),
    serviceFqn: String(row['fqn']),
    username: String(row['owner']),
    publicKey: String(row['owner_key']),
    ...(row['instance'] !== null && { instance: String(row['instance']) }),
    sdp: String(row['sdp']),
    createdAt: Number(row['created_at']),
    expiresAt: Number(row['expires_at']),
    ...(row['lease_user'] !== null && { leaseHolder: String(row['lease_user']) }),
    leaseUntil: Number(row['lease_until']),
    ...(row['answer_sdp'] !== null && {
      answer: {
        username: String(row['answer_user']),
        publicKey: String(row['answer_key']),
        ...(row['answer_instance'] !== null && { instance: String(row['answer_instance']) }),
        sdp: String(row['answer_sdp']),
        answeredAt: Number(row['answered_at']),
        isGiven: row['answer_given'] === 1,
      },
    }),
  };
}
