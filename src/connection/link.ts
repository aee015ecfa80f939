/**
 * Link: the interface of one transport under a connection. A connection uses one link after another; webrtc-link.ts implements a
 * link over one RTCPeerConnection.
 */
import type { DeliveryPort } from '../delivery/delivery-port.js';
import type { ErrorCode, RondevuError } from '../errors.js';
import type { Health, HeartbeatTimes } from './heartbeat.js';

/** Callbacks of a link to its holder. */
export interface LinkHandlers {
  /** The channel for messages is open. */
  onOpen?(): void;
  /** Data arrived on the channel for messages. */
  onMessage(data: string | ArrayBuffer): void;
  /** A text other than ping and pong arrived on the control channel. */
  onControl(text: string): void;
  /** The link is gone for good. `code` is `unverified` if the peer's certificate is not the verified one. */
  onLost(reason: string, code?: ErrorCode): void;
  /** Data of the peer could not be handled: nothing more is accepted from it. */
  onError(error: RondevuError): void;
  /** Nothing was received from the peer for a while. */
  onSuspect?(): void;
  /** Nothing was received for too long; the link may still recover. */
  onDead(): void;
  /** Something was received again after `onSuspect` or `onDead`. */
  onAlive?(): void;
  /** ICE found a path. */
  onPath?(): void;
  onLocalCandidate?(candidate: RTCIceCandidate): void;
  /** For the events that report raw states. */
  onRaw?(event: RawEvent, value?: unknown): void;
}

/** Events of a connection that report a raw state of its link. */
type RawEvent =
  'ice:connection:state' | 'ice:gathering:state' | 'ice:gathering:timeout' | 'connection:state' | 'datachannel:error';

export interface Link extends DeliveryPort {
  /** The peer connection; undefined for a link without WebRTC. */
  readonly pc: RTCPeerConnection | undefined;
  /** The in-band channel. If both peers run this version, the engine sends nothing on it. */
  readonly raw: RTCDataChannel | undefined;
  readonly health: Health;
  readonly isClosed: boolean;
  /** Times of the heartbeat; set by the holder before the link opens. */
  times: HeartbeatTimes | undefined;
  /** Called when the link is about to open; true postpones that until pending promise callbacks have run. */
  onOpening: (() => boolean) | undefined;
  /**
   * Sets the holder of the link. Events that have already occurred are reported to it at once.
   * @param gatheringTimeout time after which unfinished gathering is reported, in ms. Default: it is not reported
   */
  attach(handlers: LinkHandlers, gatheringTimeout?: number): void;
  /** Wraps a handler for platform events: if it throws, the link ends, never the process. */
  guard<A extends unknown[]>(handle: (...args: A) => void): (...args: A) => void;
  /** Makes the negotiated data channel of a further channel. @throws DOMException if the platform has no more channels */
  createDataChannel(label: string, init: RTCDataChannelInit): RTCDataChannel;
  /** Something was received on a further channel. */
  received(): void;
  /** Whether anything is received from the peer within `ms`; for an old peer, judged by the ICE state instead. */
  probe(ms: number): Promise<boolean>;
  /** Pings the peer at once; silence is reported as usual. */
  checkNow(): void;
  /** Waits until buffered data is sent, then closes. */
  finish(): Promise<void>;
  /** Closes everything without calling the holder. Idempotent. */
  close(): void;
}
