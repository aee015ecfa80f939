/** Events of a connection: names, arguments and meanings. See docs/architecture.md. */
import type { ErrorCode, RondevuError } from '../errors.js';
import type { RondevuChannel } from './channel.js';
import type { ConnectionState } from './connection-state.js';
import type { BufferedMessage, MessageData } from '../delivery/message-buffer.js';

export interface ConnectionEvents {
  'state:changed': [change: { oldState: ConnectionState; newState: ConnectionState; reason: string }];
  connecting: [];
  /** The link is up, for the first time or after a reconnect. */
  connected: [];
  /** The link was lost. `code` is `peer-gone` if the peer's page was hidden or closed, and `closed` if this page was hidden. */
  disconnected: [reason: string, detail: { code: EndCode }];
  /**
   * A link or the search for the peer failed; if `error.willRetry` is true, the connection keeps trying. The code `unavailable`
   * means that the signaling server cannot be reached, so the presence of the peer is unknown.
   */
  failed: [error: RondevuError];
  /** `reason` is human-readable; `code` is machine-readable. */
  closed: [reason: string, detail: { code: EndCode }];
  reconnecting: [attempt: number];
  'reconnect:scheduled': [plan: { attempt: number; delay: number; maxAttempts: number }];
  'reconnect:attempting': [attempt: number];
  'reconnect:success': [];
  /** A link is up again, and the session continues without message loss. */
  resumed: [];
  /** The peer started a new session. The messages in `lost` were in flight: they may have arrived, and are not resent. */
  reset: [lost: BufferedMessage[]];
  'reconnect:failed': [error: RondevuError];
  'reconnect:exhausted': [attempts: number];
  /** No host offers the service yet; the connection is queued on the server. */
  waiting: [];
  message: [data: string | ArrayBuffer];
  /** The peer created an additional channel; messages on it may follow immediately. */
  channel: [channel: RondevuChannel];
  /** Emitted once for each call to `send`. */
  'message:sent': [data: MessageData, buffered: boolean];
  'message:buffered': [data: MessageData];
  /** The peer's listeners have received the message. */
  'message:delivered': [id: string];
  /**
   * A message could not be sent, for example because its file can no longer be read. The `delivered` promise of the message
   * resolves to `dropped`.
   */
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

/**
 * Reason why a connection or its link ended: `closed` if closed locally, `closed-by-peer` if closed by the peer, `peer-gone` if
 * the peer did not return in time, `timeout` if the link failed, or the code of the error that caused the end.
 */
export type EndCode = ErrorCode | 'closed-by-peer';

export interface CloseOptions {
  /** Reason passed to the `closed` listeners on this side. */
  reason?: string;
  /** Code passed to the `closed` listeners on this side. Default `closed`. */
  code?: EndCode;
  /** Whether queued messages are dropped instead of sent. Default false. */
  discard?: boolean;
}
