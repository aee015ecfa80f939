/** The transport under delivery: a link or one of its channels; and the water marks for both. */

/** A link or a channel of a link, as seen by the delivery layer. */
export interface DeliveryPort {
  /** Whether the peer uses frames; otherwise messages are sent as they are, and may be lost with the link. */
  readonly framed: boolean;
  /** @throws if the channel cannot accept it */
  send(data: string | ArrayBuffer | Uint8Array): void;
  /** Sends a text over the control channel; the text is lost if that channel is not open. */
  control(text: string): void;
  readonly isOpen: boolean;
  /** Whether the peer is alive on the link. */
  readonly isAlive: boolean;
  readonly bufferedAmount: number;
  /** Maximum size of one message of the data channel, in bytes. */
  readonly maxMessageSize: number;
  /** Called when `bufferedAmount` falls below the low water mark. */
  onLow: (() => void) | undefined;
}

/**
 * `bufferedAmount` in bytes above which sending pauses. Beyond 1 MiB, Chromium drops to a tenth of its throughput; see
 * docs/architecture.md.
 */
export const HIGH_WATER = 262_144;
export const LOW_WATER = 65_536;
