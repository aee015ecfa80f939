/**
 * `connectToService({ onConnection })` of the 0.18 client: a raw link whose data channel is handled by the application. This
 * module also warns if a 0.20 preset lacks a TURN server. A separate chunk.
 */
import type { ConnectOptions } from '../options.js';
import type { AnswererConnection } from '../connection/answerer-connection.js';
import type { ConnectionContext } from './types.js';

const warned = new Set<unknown>();

/** Warns once per preset if no TURN server is available. @param served ICE servers from the signaling server */
export function warnWithoutTurn(preset: unknown, served: RTCIceServer[] = []): void {
  const hasTurn = served.some(({ urls }) => [urls].flat().some((url) => /^turns?:/.test(url)));
  if (hasTurn || warned.has(preset)) return;
  warned.add(preset);
  const without = preset === 'relay-only' ? 'no connection is possible' : 'using STUN only';
  console.warn(
    `rondevu: iceServers "${String(preset)}": no TURN server is configured (turnServers) and the signaling server has none; ${without}`,
  );
}

export type OnConnection = (context: ConnectionContext) => void | Promise<void>;

let isWarned = false;

/**
 * Resolves when the channel is open and `onConnection` has completed.
 * @throws RondevuError if no host is available or the link does not open; any error thrown by `onConnection`
 */
export async function connectRaw(
  client: { prepareConnection(options: ConnectOptions): Promise<AnswererConnection> },
  options: ConnectOptions,
  onConnection: OnConnection,
): Promise<ConnectionContext> {
  if (!isWarned) {
    isWarned = true;
    console.warn(
      'rondevu: onConnection is deprecated and makes a raw connection, which does not survive its link: use the connection that ' +
        'connectToService() returns, see docs/migrating.md',
    );
  }
  const { onConnection: _, ...rest } = options as ConnectOptions & { onConnection?: unknown };
  const raw = { ...options.connectionConfig, bufferEnabled: false, reconnectEnabled: false };
  const connection = await client.prepareConnection({ ...rest, connectionConfig: raw });
  const opened = new Promise<ConnectionContext>((resolve, reject) => {
    connection.once('failed', reject).once('closed', (reason) => reject(new Error(reason)));
    let early: RTCDataChannel | undefined;
    connection.once('datachannel:open', () => {
      const pc = connection.getPeerConnection();
      const dc = connection.getDataChannel();
      if (!pc || !dc) return;
      const { serviceFqn, peer } = connection;
      const context = { pc, dc, serviceFqn, offerId: connection.getOfferId(), peerUsername: peer?.username ?? '' };
      // messages that the channel dispatched before it had listeners are emitted right after this event
      early = dc;
      queueMicrotask(() => (early = undefined));
      // called synchronously, so that listeners added by `onConnection` receive the next event of the channel
      const called = (async () => onConnection(context))();
      called.then(() => resolve(context), reject);
    });
    connection.on('message', (data) => {
      const channel = early;
      if (!channel) return;
      early = undefined; // avoids recursion: the link receives the dispatched event too
      channel.dispatchEvent(new MessageEvent('message', { data }));
      early = channel;
    });
  });
  opened.catch(() => undefined); // thrown below
  connection.start(options.wait ?? 0);
  try {
    await connection.found;
    return await opened;
  } catch (error) {
    await connection.close({ reason: 'the raw connection did not come up' });
    throw error;
  }
}
