/** What delivery needs of a link or of one of its channels, and the water marks both keep to. */

/** What a link is to delivery. */
export interface DeliveryPort {
  /** Whether the other side speaks frames; else messages go as they are and nothing is promised of what was in flight. */
  readonly framed: boolean;
  /** @throws when the channel cannot take it */
  send(data: string | ArrayBuffer | Uint8Array): void;
  /** Over the control channel; lost when that is not open. */
  control(text: string): void;
  readonly isOpen: boolean;
  /** Whether the other side shows life on the link. */
  readonly isAlive: boolean;
  readonly bufferedAmount: number;
  /** Largest message that goes in one piece without frames, in bytes. */
  readonly maxMessageSize: number;
  /** Called when `bufferedAmount` falls below the low water mark. */
  onLow: (() => void) | undefined;
}

/** `bufferedAmount` in bytes above which sending pauses. Beyond 1 MiB, Chromium drops to a tenth of its throughput; see docs/architecture.md. */
export const HIGH_WATER = 262_144;
export const LOW_WATER = 65_536;
