/**
 * Link: the interface of one transport under a connection. A connection uses one link after another; webrtc-link.ts implements a
 * link over one RTCPeerConnection.
 */
import type { DeliveryPort } from '../delivery/delivery-port.js';
import type { ErrorCode, RondevuError } from '../errors.js';
import type { Health, HeartbeatTimes } from './heartbeat.js';

/** Callbacks from a link to its owner. */
export interface LinkHandlers {
  /** Called when the message channel is open. */
  onOpen?(): void;
  /** Called when data arrives on the message channel. */
  onMessage(data: string | ArrayBuffer): void;
  /** Called for each text on the control channel other than `ping` and `pong`. */
  onControl(text: string): void;
  /**
   * Called when the link is permanently lost. `code` is `unverified` if the peer's certificate does not match the verified
   * fingerprint.
   */
  onLost(reason: string, code?: ErrorCode): void;
  /** Called when data from the peer could not be handled; no further data from the peer is accepted. */
  onError(error: RondevuError): void;
  /** Called when nothing has been received from the peer for a while. */
  onSuspect?(): void;
  /** Called when nothing has been received for too long; the link may still recover. */
  onDead(): void;
  /** Called when data is received again after `onSuspect` or `onDead`. */
  onAlive?(): void;
  /** Called when ICE has found a path. */
  onPath?(): void;
  onLocalCandidate?(candidate: RTCIceCandidate): void;
  /** Called for each event that reports a raw state of the link. */
  onRaw?(event: RawEvent, value?: unknown): void;
}

/** Events of a connection that report a raw state of its link. */
type RawEvent =
  'ice:connection:state' | 'ice:gathering:state' | 'ice:gathering:timeout' | 'connection:state' | 'datachannel:error';

export interface Link extends DeliveryPort {
  /** The peer connection; undefined for a link without WebRTC. */
  readonly pc: RTCPeerConnection | undefined;
  /** The in-band data channel; if both peers run this version, only the application sends on this channel. */
  readonly raw: RTCDataChannel | undefined;
  readonly health: Health;
  readonly isClosed: boolean;
  /** Heartbeat times; set by the owner before the link opens. */
  times: HeartbeatTimes | undefined;
  /** Called when the link is about to open; returning true postpones the opening until pending promise callbacks have run. */
  onOpening: (() => boolean) | undefined;
  /**
   * Sets the owner of the link. Events that have already occurred are reported immediately.
   * @param gatheringTimeout time after which incomplete gathering is reported, in ms; not reported by default
   */
  attach(handlers: LinkHandlers, gatheringTimeout?: number): void;
  /** Wraps a handler for platform events, so that an exception ends the link and not the process. */
  guard<A extends unknown[]>(handle: (...args: A) => void): (...args: A) => void;
  /**
   * Creates the negotiated data channel of an additional channel.
   * @throws DOMException if the platform cannot create any more data channels
   */
  createDataChannel(label: string, init: RTCDataChannelInit): RTCDataChannel;
  /** Records that data was received on an additional channel. */
  received(): void;
  /**
   * Pings the peer, and resolves to whether it replies within `ms` milliseconds; for an older client, resolves according to the
   * ICE state.
   */
  probe(ms: number): Promise<boolean>;
  /** Pings the peer immediately; silence is reported as usual. */
  checkNow(): void;
  /** Waits until buffered data has been sent, then closes the link. */
  finish(): Promise<void>;
  /** Closes the link without calling its owner. Idempotent. */
  close(): void;
}
