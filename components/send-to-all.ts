import type { OffererConnection, RondevuError, Sendable, SendHandle } from '../src/index.js';

export interface SendFailure {
  connection: OffererConnection;
  error: RondevuError;
}

/** Sends a message on every connection; a failure on one connection does not affect the others. */
export function sendToAll(
  connections: readonly OffererConnection[],
  data: Sendable,
): { sent: SendHandle[]; failures: SendFailure[] } {
  const sent: SendHandle[] = [];
  const failures: SendFailure[] = [];
  for (const connection of connections) {
    try {
      sent.push(connection.send(data));
    } catch (error) {
      failures.push({ connection, error: error as RondevuError });
    }
  }
  return { sent, failures };
}
