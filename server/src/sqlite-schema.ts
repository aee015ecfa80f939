/** The database schema: one migration per version; `PRAGMA user_version` is the schema version of a file. */
import type { Database } from './sqlite-driver.js';
import { SERVICE_ID_TTL } from './store.js';

const MIGRATIONS = [
  `CREATE TABLE users (
     username TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE,
     claimed_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, last_v2_at INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX users_expiry ON users (expires_at);
   CREATE TABLE services (
     id TEXT PRIMARY KEY, username TEXT NOT NULL, public_key TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
     fqn TEXT NOT NULL UNIQUE, hidden INTEGER NOT NULL, metadata TEXT, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX services_name ON services (name, expires_at);
   CREATE INDEX services_user ON services (username, name);
   CREATE INDEX services_expiry ON services (expires_at);
   CREATE TABLE offers (
     id TEXT PRIMARY KEY, service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE, instance TEXT, sdp TEXT NOT NULL,
     created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, lease_user TEXT, lease_until INTEGER NOT NULL DEFAULT 0,
     answer_sdp TEXT, answer_user TEXT, answer_key TEXT, answer_instance TEXT, answered_at INTEGER,
     answer_given INTEGER NOT NULL DEFAULT 0, given_offerer INTEGER NOT NULL DEFAULT 0, given_answerer INTEGER NOT NULL DEFAULT 0
   ) STRICT;
   CREATE INDEX offers_service ON offers (service_id, created_at);
   CREATE INDEX offers_instance ON offers (instance);
   CREATE INDEX offers_answerer ON offers (answer_user, answer_instance);
   CREATE INDEX offers_expiry ON offers (expires_at);
   CREATE TABLE candidates (
     offer_id TEXT NOT NULL REFERENCES offers (id) ON DELETE CASCADE, created_at INTEGER NOT NULL, username TEXT NOT NULL,
     role TEXT NOT NULL, candidate TEXT NOT NULL, parked_until INTEGER, PRIMARY KEY (offer_id, created_at)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX candidates_parked ON candidates (parked_until) WHERE parked_until IS NOT NULL;`,
  `ALTER TABLE offers ADD COLUMN for_user TEXT;
   CREATE TABLE met (a TEXT NOT NULL, b TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;
   CREATE INDEX met_until ON met (until);`,
  // each index costs one page per publication, so counts share a single index, and rows found through the service need none
  `CREATE INDEX offers_free ON offers (service_id, expires_at) WHERE answer_sdp IS NULL;
   CREATE INDEX offers_answered ON offers (service_id) WHERE answer_sdp IS NOT NULL;
   DROP INDEX offers_instance;
   DROP INDEX offers_answerer;
   CREATE INDEX offers_answerer ON offers (answer_user, answer_instance) WHERE answer_user IS NOT NULL;`,
  // an index on the expiry of services costs a page per publication; foreign keys also cost a read, but triggers do not
  `DROP INDEX offers_service;
   DROP INDEX offers_free;
   CREATE INDEX offers_free ON offers (service_id, created_at, expires_at, lease_until, answer_sdp) WHERE answer_sdp IS NULL;
   DROP INDEX services_name;
   CREATE INDEX services_name ON services (name);
   CREATE TRIGGER services_offers AFTER DELETE ON services BEGIN
     DELETE FROM offers WHERE service_id = OLD.id AND answer_sdp IS NULL;
     DELETE FROM offers WHERE service_id = OLD.id AND answer_sdp IS NOT NULL;
   END;
   CREATE TRIGGER offers_candidates AFTER DELETE ON offers BEGIN DELETE FROM candidates WHERE offer_id = OLD.id; END;`,
  // each publication moved the service within the old index, which cost two more pages; `kept_until` changes only once an hour
  `DROP INDEX services_expiry;
   ALTER TABLE services ADD COLUMN kept_until INTEGER NOT NULL DEFAULT 0;
   UPDATE services SET kept_until = expires_at + ${SERVICE_ID_TTL};
   CREATE INDEX services_kept ON services (kept_until);`,
  // these columns are in the indexes because listings and polls filter by them, and a row stores them after the SDP
  `DROP INDEX offers_free;
   CREATE INDEX offers_free ON offers (service_id, created_at, expires_at, lease_until, answer_sdp, for_user) WHERE answer_sdp IS NULL;
   DROP INDEX offers_answered;
   CREATE INDEX offers_answered ON offers (service_id, instance, answered_at, answer_given, given_offerer, answer_user, expires_at)
     WHERE answered_at IS NOT NULL;
   DROP INDEX offers_answerer;
   CREATE INDEX offers_answerer ON offers (answer_user, answer_instance, given_answerer, service_id, expires_at)
     WHERE answer_user IS NOT NULL;`,
  // data that outlives a call is stored by username and key, because a username may pass to a different key (principal.ts)
  `UPDATE met SET a = COALESCE((SELECT a || ' ' || public_key FROM users WHERE username = a), a),
     b = COALESCE((SELECT b || ' ' || public_key FROM users WHERE username = b), b);
   UPDATE offers SET for_user = (SELECT username || ' ' || public_key FROM users WHERE username = for_user)
     WHERE for_user IN (SELECT username FROM users);`,
  `CREATE TABLE probe (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;`,
  // the sweep clears the metadata of ended services; with this index, it need not read every service
  `CREATE INDEX services_described ON services (kept_until) WHERE metadata IS NOT NULL;`,
  // with these indexes, a look-up skips hidden and ended services, and finds a lease holder without reading past the SDP
  `CREATE INDEX services_public ON services (name, kept_until) WHERE hidden = 0;
   DROP INDEX offers_free;
   CREATE INDEX offers_free ON offers (service_id, created_at, expires_at, lease_until, answer_sdp, for_user, lease_user)
     WHERE answer_sdp IS NULL;`,
];

/**
 * Migrates a database to the newest schema.
 * @throws Error if the file was written by a newer server, is not a database, is locked, or cannot be written to
 */
export function migrate(db: Database, path: string): void {
  try {
    toNewest(db, path);
    // after the migration, waiting for another process must not block the event loop
    db.exec('PRAGMA busy_timeout = 0');
  } catch (cause) {
    const { message } = cause as Error;
    if (message.includes(path)) throw cause;
    throw new Error(
      `the database ${path} cannot be used: ${message}. Check that it is a database, that this user can write to it, that the disk has space, and that no other process locks it.`,
      { cause },
    );
  }
}

function toNewest(db: Database, path: string): void {
  // a write-ahead log survives a crash of the process (a power failure may lose the last transactions)
  db.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -32000;',
  );
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (version > MIGRATIONS.length) {
    throw new Error(
      `the database ${path} has schema version ${version}, this server supports up to ${MIGRATIONS.length}: update the server`,
    );
  }
  MIGRATIONS.slice(version).forEach((sql, index) => {
    db.exec(`BEGIN; ${sql} PRAGMA user_version = ${version + index + 1}; COMMIT;`);
  });
}
