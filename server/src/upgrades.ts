/**
 * Passes requests that ask for a protocol other than WebSocket, such as `Upgrade: h2c` from Java's HttpClient, to the HTTP
 * server without their Upgrade header: a server may ignore Upgrade (RFC 9110 section 7.8). Node passes every request with an
 * Upgrade header to the `upgrade` listener, with its body unread.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Whether a request asks for WebSocket; clients may offer several protocols. */
export const isWebSocketUpgrade = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' && (headers.upgrade ?? '').split(',').some((name) => name.trim().toLowerCase() === 'websocket');

/**
 * Maximum number of requests per connection whose Upgrade header is ignored before the connection is closed: each such request
 * costs as much as a new connection.
 */
export const MAX_IGNORED_UPGRADES = 16;

/**
 * Returns an `upgrade` listener that makes the server parse the request again without its Upgrade header, once all earlier
 * replies on the connection have been sent.
 */
export function createUpgradeIgnorer(server: Server): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const lastReplies = new WeakMap<Duplex, ServerResponse>();
  const ignored = new WeakMap<Duplex, number>();
  server.on('request', ({ socket }, response) => lastReplies.set(socket, response));

  return (request, socket, head) => {
    const count = (ignored.get(socket) ?? 0) + 1;
    ignored.set(socket, count);
    socket.unshift(Buffer.concat([plainHead(request, count >= MAX_IGNORED_UPGRADES), head]));
    const resumeReading = (): void => {
      socket.off('error', destroy);
      // the idle timeout must not apply to the next request
      (socket as Socket).setTimeout(0);
      if (!socket.destroyed) server.emit('connection', socket);
    };
    const destroy = (): void => void socket.destroy();
    socket.on('error', destroy);
    const reply = lastReplies.get(socket);
    // Node keeps the replies on a connection in order, but not if `connection` is emitted for it a second time
    if (reply && !reply.closed) reply.once('close', resumeReading);
    else resumeReading();
  };
}

function plainHead(request: IncomingMessage, isLast: boolean): Buffer {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i]!;
    if (!/^(upgrade|connection|http2-settings)$/i.test(name)) lines.push(`${name}: ${request.rawHeaders[i + 1]!}`);
  }
  if (isLast || /(^|,)\s*close\s*(,|$)/i.test(request.headers.connection ?? '')) lines.push('Connection: close');
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
