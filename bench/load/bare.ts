/**
 * Reference servers for comparison, each run as a separate process: `echo` and `relay` use only `ws`, `verify` is an HTTP
 * server that only verifies a signature, `idle` is a `ws` server that keeps sockets open, `peerjs` is peerjs-server. Each
 * server prints its port.
 */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PeerServer } from 'peer';
import { WebSocketServer, type WebSocket } from 'ws';

const listening = (port: number): void => console.log(`port ${port}`);

function sockets(onSocket: (socket: WebSocket, all: WebSocketServer) => void): void {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  server.on('connection', (socket) => onSocket(socket, server));
  server.on('listening', () => listening((server.address() as AddressInfo).port));
}

function verifying(): void {
  const keys = new Map<string, KeyObject>();
  const keyOf = (text: string): KeyObject => {
    let key = keys.get(text);
    if (!key) {
      const x = Buffer.from(text, 'base64').toString('base64url');
      keys.set(text, (key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })));
    }
    return key;
  };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (data: Buffer) => (body += String(data)));
    request.on('end', () => {
      const { message, signature, publicKey } = JSON.parse(body) as Record<string, string>;
      const isValid = verify(null, Buffer.from(message!), keyOf(publicKey!), Buffer.from(signature!, 'base64'));
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ success: isValid, result: { answers: [], iceCandidates: {} } }));
    });
  });
  server.listen(0, '127.0.0.1', () => listening((server.address() as AddressInfo).port));
}

const kinds: Record<string, () => void> = {
  echo: () => sockets((socket) => socket.on('message', (data) => socket.send(String(data)))),
  // the recipient is the text before the first space
  relay: () => {
    const byName = new Map<string, WebSocket>();
    sockets((socket) =>
      socket.on('message', (data) => {
        const text = String(data);
        const [name = ''] = text.split(' ', 1);
        if (name === 'name') byName.set(text.slice(5), socket);
        else byName.get(name)?.send(text);
      }),
    );
  },
  idle: () => sockets(() => undefined),
  verify: verifying,
  peerjs: () =>
    void PeerServer({ port: 0, host: '127.0.0.1', concurrent_limit: 100_000 }, (server) =>
      listening((server.address() as AddressInfo).port),
    ),
};
kinds[process.argv[2]!]!();
