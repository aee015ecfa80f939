/**
 * Checks which key holds a username. Use these checks in the transaction that writes under the username, because the username
 * may be claimed at any time.
 */
import type { NameHolder } from './principal.js';
import type { Sql } from './sqlite-driver.js';
import { nameTaken } from './store.js';

/** Selects a row if a different public key holds the username. Parameters: username, public key, time. */
export const OTHER_HOLDER = 'SELECT 1 FROM users WHERE username = ? AND public_key <> ? AND expires_at > ?';

export const isTaken = (sql: Sql, { username, publicKey }: NameHolder, now: number): boolean =>
  sql.get(OTHER_HOLDER, username, publicKey, now) !== undefined;

/** @throws RpcError `name-taken` */
export function checkHolder(sql: Sql, holder: NameHolder, now: number): void {
  if (isTaken(sql, holder, now)) throw nameTaken(holder.username);
}
