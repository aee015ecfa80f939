/** The events of a connection: names, arguments and meaning. docs/architecture.md. */
import type { ErrorCode, RondevuError } from '../errors.js';
import type { RondevuChannel } from './channel.js';
import type { ConnectionState } from './connection-state.js';
import type { BufferedMessage, MessageData } from '../delivery/message-buffer.js';

export interface ConnectionEvents {
  'state:changed': [change: { oldState: ConnectionState; newState: ConnectionState; reason: string }];
  connecting: [];
  /** The link is up, the first time or again. */
  connected: [];
  /** The link was lost. `code`: `peer-gone` if the peer's page was hidden or left, `closed` if this page was hidden. */
  disconnected: [reason: string, detail: { code: EndCode }];
  /**
   * A link was given up, or the search for the peer failed; with `error.willRetry` the connection keeps trying. `unavailable`:
   * the signaling server cannot be reached, so it is not known whether the peer is there.
   */
  failed: [error: RondevuError];
  /** `reason` is for people, `code` for programs. */
  closed: [reason: string, detail: { code: EndCode }];
  reconnecting: [attempt: number];
  'reconnect:scheduled': [plan: { attempt: number; delay: number; maxAttempts: number }];
  'reconnect:attempting': [attempt: number];
  'reconnect:success': [];
  /** The link is back and the session continues without loss. */
  resumed: [];
  /** The peer started a new session. The messages in `lost` were in flight: they may have arrived and are not sent again. */
  reset: [lost: BufferedMessage[]];
  'reconnect:failed': [error: RondevuError];
  'reconnect:exhausted': [attempts: number];
  /** The server replied that nobody offers the service yet: the connection is queued. */
  waiting: [];
  message: [data: string | ArrayBuffer];
  /** The peer made a further channel; its messages may follow at once. */
  channel: [channel: RondevuChannel];
  /** Emitted once for each `send`. */
  'message:sent': [data: MessageData, buffered: boolean];
  'message:buffered': [data: MessageData];
  /** The peer's listeners have received the message. */
  'message:delivered': [id: string];
  /** A message could not be sent, for example because its file can no longer be read. Its `delivered` resolves to `dropped`. */
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
 * Why a connection or its link ended: `closed` by this side, `closed-by-peer`, `peer-gone` if the peer did not come back in
 * time, `timeout` if the link failed, or the code of the error that ended it.
 */
export type EndCode = ErrorCode | 'closed-by-peer';

export interface CloseOptions {
  /** Passed to `closed` listeners on this side. */
  reason?: string;
  /** Passed to `closed` listeners. Default `closed`. */
  code?: EndCode;
  /** Whether queued messages are dropped instead of sent. Default false. */
  discard?: boolean;
}
