/** The transport of the delivery layer (a link or one of its channels), and the water marks for both. */

/** The part of a link, or of one of its channels, that the delivery layer uses. */
export interface DeliveryPort {
  /** Whether the peer uses frames; otherwise messages are sent unframed, and may be lost with the link. */
  readonly framed: boolean;
  /** @throws if the channel cannot accept the data */
  send(data: string | ArrayBuffer | Uint8Array): void;
  /** Sends a text over the control channel; the text is lost if that channel is not open. */
  control(text: string): void;
  readonly isOpen: boolean;
  /** Whether the heartbeat reports the link as alive. */
  readonly isAlive: boolean;
  readonly bufferedAmount: number;
  /** Maximum size of one message on the data channel, in bytes. */
  readonly maxMessageSize: number;
  /** Called when `bufferedAmount` falls to the low-water mark or below. */
  onLow: (() => void) | undefined;
}

/**
 * Value of `bufferedAmount`, in bytes, above which sending pauses. Above 1 MiB, the throughput of Chromium drops to a tenth;
 * see docs/architecture.md.
 */
export const HIGH_WATER = 262_144;
export const LOW_WATER = 65_536;
