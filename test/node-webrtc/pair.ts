/** Helpers that connect clients in one process, with real WebRTC (wrtc) and the real server. */
import type { TestContext } from 'node:test';
import { WebSocket } from 'ws';
import type { RunningServer } from '../../server/src/index.js';
import { Rondevu, type ConnectionEvents, type OffererConnection, type RondevuOptions } from '../../src/index.js';
import type { PublishOptions, RondevuConnection } from '../../src/index.js';
import { startServer, until } from '../server/helpers.js';
import { NodePeerConnection } from '../support/old-host.js';

/** Creates a client with real WebRTC; the client is closed when the test ends. */
export async function client(
  t: TestContext,
  server: Pick<RunningServer, 'url'>,
  username: string,
  more: Partial<RondevuOptions> = {},
) {
  const rondevu = await Rondevu.connect({
    apiUrl: server.url,
    username,
    rtcPeerConnection: NodePeerConnection,
    webSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    lifecycle: false,
    ...more,
  });
  t.after(() => rondevu.close());
  return rondevu;
}

/** Collects received messages, with bytes as arrays of numbers. */
export function listen(connection: RondevuConnection): (string | number[])[] {
  const messages: (string | number[])[] = [];
  connection.on('message', (data) => messages.push(typeof data === 'string' ? data : [...new Uint8Array(data)]));
  return messages;
}
/** Collects the names of the given events in the order in which they are emitted. */
export function record(connection: RondevuConnection, ...names: (keyof ConnectionEvents)[]): string[] {
  const log: string[] = [];
  for (const name of names) connection.on(name, () => void log.push(name));
  return log;
}

/** Creates a host `alice` that publishes chat:1.0.0 on the given server, and collects the connections that the host opens. */
export async function hosted<S extends Pick<RunningServer, 'url'>>(
  t: TestContext,
  server: S,
  publish: Partial<PublishOptions> = {},
  more: Partial<RondevuOptions> = {},
) {
  const host = await client(t, server, 'alice', more);
  const pool = await host.publishService({ service: 'chat:1.0.0', maxOffers: 2, ...publish });
  const opened: OffererConnection[] = [];
  host.on('connection:opened', (_id, connection) => opened.push(connection));
  await host.startFilling();
  return { server, host, pool, opened };
}

/** Creates a host `alice` that publishes chat:1.0.0 on a new server, and a function `join` that adds a joiner. */
export async function pair(t: TestContext, publish: Partial<PublishOptions> = {}, more: Partial<RondevuOptions> = {}) {
  const { server, host, pool, opened } = await hosted(t, await startServer(t), publish, more);
  const join = async (username: string, options: Partial<RondevuOptions> = {}) => {
    const rondevu = await client(t, server, username, { ...more, ...options });
    const connection = await rondevu.connectToService({
      serviceFqn: 'chat:1.0.0@alice',
      wait: 10_000, // the pool may still be refilling
      ...(publish.connectionConfig && { connectionConfig: publish.connectionConfig }),
    });
    await connection.opened;
    await until(() => opened.some(({ peer }) => peer?.username === username), 'connection:opened');
    return { rondevu, connection, other: opened.find(({ peer }) => peer?.username === username)! };
  };
  return { server, host, pool, opened, join };
}

/**
 * Sends on an in-band channel until a message arrives, because libwebrtc may lose the first message (docs/protocol.md, "Data
 * channels").
 */
export async function sendRaw(channel: RTCDataChannel, came: () => boolean): Promise<void> {
  const again = setInterval(() => channel.send('raw'), 100);
  try {
    channel.send('raw');
    await until(came, 'the message on the raw channel');
  } finally {
    clearInterval(again);
  }
}
