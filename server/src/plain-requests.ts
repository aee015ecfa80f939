/**
 * Gives requests that ask for a protocol other than WebSocket, such as `Upgrade: h2c` of Java's HttpClient, to the HTTP server as
 * if they had not asked: a server may ignore Upgrade (RFC 9110 section 7.8). Node hands every request with an Upgrade header to
 * the `upgrade` listener, with its body unread.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';

/** Whether a request asks for WebSocket; clients may offer several protocols. */
export const asksForWebSocket = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' && (headers.upgrade ?? '').split(',').some((name) => name.trim().toLowerCase() === 'websocket');

/** Has the server read the connection anew, from a request head without Upgrade. */
export function ignoreUpgrade(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i]!;
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${request.rawHeaders[i + 1]!}`);
  }
  if (/(^|,)\s*close\s*(,|$)/i.test(request.headers.connection ?? '')) lines.push('Connection: close');
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}
