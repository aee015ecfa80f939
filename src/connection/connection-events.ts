/** The events of a connection, in one place: names, arguments, meaning. docs/architecture.md. */
import type { RondevuError } from '../errors.js';
import type { RondevuChannel } from './channel.js';
import type { ConnectionState } from './connection-state.js';
import type { BufferedMessage, MessageData } from '../delivery/message-buffer.js';

export interface ConnectionEvents {
  'state:changed': [change: { oldState: ConnectionState; newState: ConnectionState; reason: string }];
  connecting: [];
  /** The link is up, the first time or again. */
  connected: [];
  disconnected: [reason: string];
  /**
   * A link was given up, or the search for the peer failed; with `error.willRetry` the connection goes on trying. `unavailable`:
   * the signaling server cannot be reached, so it is not known whether the peer is there.
   */
  failed: [error: RondevuError];
  closed: [reason: string];
  reconnecting: [attempt: number];
  'reconnect:scheduled': [plan: { attempt: number; delay: number; maxAttempts: number }];
  'reconnect:attempting': [attempt: number];
  'reconnect:success': [];
  /** The link is back and the session went on where it was. */
  resumed: [];
  /** The peer began anew. `lost` was under way: it may have arrived and is not repeated. */
  reset: [lost: BufferedMessage[]];
  'reconnect:failed': [error: RondevuError];
  'reconnect:exhausted': [attempts: number];
  /** The server answered, and nobody offers the service yet: the connection is queued. */
  waiting: [];
  message: [data: string | ArrayBuffer];
  /** The peer made a further channel; messages of it come right after. */
  channel: [channel: RondevuChannel];
  /** Once for every `send`. */
  'message:sent': [data: MessageData, buffered: boolean];
  'message:buffered': [data: MessageData];
  /** The peer's listeners have had it. */
  'message:delivered': [id: string];
  /** A message could not be sent, such as a file that cannot be read any more. Its `delivered` resolves to `dropped`. */
  'message:error': [id: string, error: RondevuError];
  /** The number of buffered messages changed. */
  'message:buffer:size': [size: number];
  /** A buffered message was handed to a link. */
  'message:replayed': [message: BufferedMessage];
  'message:buffer:overflow': [discarded: BufferedMessage];
  'message:buffer:expired': [message: BufferedMessage];
  'ice:candidate:local': [candidate: RTCIceCandidate];
  'ice:candidate:remote': [candidate: RTCIceCandidateInit];
  'ice:connection:state': [state: RTCIceConnectionState];
  'ice:gathering:state': [state: RTCIceGatheringState];
  'ice:polling:started': [];
  'ice:polling:stopped': [];
  'ice:gathering:timeout': [];
  'answer:processed': [offerId: string, answererId: string];
  'answer:duplicate': [offerId: string];
  'datachannel:open': [];
  'datachannel:close': [];
  'datachannel:error': [error: unknown];
  'connection:state': [state: RTCPeerConnectionState];
  'connection:timeout': [];
  'cleanup:started': [];
  'cleanup:complete': [];
}

export type { Peer } from '../identity/handshake-proof.js';
export type { Outcome, SendHandle } from '../delivery/message-buffer.js';

export interface CloseOptions {
  /** Told to our listeners of `closed`. */
  reason?: string;
  /** Whether what is queued and not sent is dropped. Default false. */
  discard?: boolean;
}
