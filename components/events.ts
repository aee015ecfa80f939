/**
 * The events of the elements: a detail type for each, and a map from event names to events for each element. The event names,
 * types and descriptions in custom-elements.json and docs/elements.md come from this file.
 */
import type {
  AnswererConnection,
  BufferedMessage,
  MessageData,
  OffererConnection,
  Peer,
  RondevuConnection,
  RondevuError,
} from '../src/index.js';
import type { ConnectState, ServiceState } from './states.js';

/** Detail of `rondevu-state`: a change of the element's `state`. */
export interface StateDetail<State extends string = string> {
  readonly from: State;
  readonly to: State;
  readonly reason: string;
}

export interface ErrorDetail {
  readonly error: RondevuError;
}

/** Events that `<rondevu-service>` and `<rondevu-connect>` have in common. */
export interface CommonEvents {
  'rondevu-state': StateDetail;
  'rondevu-error': ErrorDetail;
}

/** Detail of a service's `rondevu-error`; `peer` and `connection` are set if the error concerns a single peer. */
export interface ServiceErrorDetail extends ErrorDetail {
  readonly peer?: Peer | undefined;
  readonly connection?: OffererConnection;
}

export interface MessageDetail {
  readonly data: string | ArrayBuffer;
  readonly peer: Peer;
}

export interface ServiceMessageDetail extends MessageDetail {
  readonly connection: OffererConnection;
}

export interface ConnectionDetail<Connection extends RondevuConnection = RondevuConnection> {
  readonly connection: Connection;
  readonly peer: Peer;
}

export interface ReconnectedDetail<
  Connection extends RondevuConnection = RondevuConnection,
> extends ConnectionDetail<Connection> {
  /** `resumed`: no message was lost. `reset`: the peer started a new session. */
  readonly verdict: 'resumed' | 'reset';
  /** Unacknowledged messages; they may or may not have arrived. */
  readonly lost: readonly BufferedMessage[];
}

export interface PublishedDetail {
  /** `name:version@username`. */
  readonly serviceFqn: string;
  /** Number of free offers. */
  readonly offers: number;
}

export interface ServiceConnectionDetail extends ConnectionDetail<OffererConnection> {
  readonly offerId: string;
}

export interface ServiceRotatedDetail extends ConnectionDetail<OffererConnection> {
  readonly oldOfferId: string;
  readonly newOfferId: string;
}

export interface DisconnectedDetail extends ConnectionDetail<OffererConnection> {
  readonly reason: string;
}

export interface LeftDetail {
  readonly peer: Peer;
  readonly reason: string;
}

export interface ReconnectingDetail {
  readonly attempt: number;
  /** Time until the attempt, in ms. */
  readonly delay: number;
  /** Maximum number of attempts; 0 for no limit. */
  readonly maxAttempts: number;
}

export interface RotatedDetail {
  /** Number of the current link, from 1. */
  readonly generation: number;
}

export interface BufferedDetail {
  readonly data: MessageData;
}

export interface ReplayedDetail {
  readonly message: BufferedMessage;
}

export interface DeliveredDetail {
  /** Id of the message, as in the handle that `send()` returned. */
  readonly id: string;
}

export interface CloseDetail {
  readonly reason: string;
}

export interface ChatMessageDetail {
  readonly text: string;
  /** Name of the author; empty for own messages. */
  readonly from: string;
  /** Whether the local user sent the message. */
  readonly own: boolean;
}

/** Event details of `<rondevu-service>`. */
export interface RondevuServiceEventDetails {
  /** The state changed: `{from, to, reason}`. Bubbles. */
  'rondevu-state': StateDetail<ServiceState>;
  /** The first offers are on the server: `{serviceFqn, offers}`. Bubbles. */
  'rondevu-published': PublishedDetail;
  /** A joiner connected: `{connection, peer, offerId}`. Bubbles. */
  'rondevu-connection': ServiceConnectionDetail;
  /** A connection was bound to a new offer: `{oldOfferId, newOfferId, connection, peer}`. Bubbles. */
  'rondevu-rotated': ServiceRotatedDetail;
  /** A message arrived: `{data, peer, connection}`. Does not bubble. */
  'rondevu-message': ServiceMessageDetail;
  /** A peer's link was lost; the peer may return: `{peer, connection, reason}`. Bubbles. */
  'rondevu-disconnected': DisconnectedDetail;
  /**
   * A peer reconnected to the same connection: `{peer, connection, verdict, lost}`. If `verdict` is `resumed`, no message was
   * lost; if it is `reset`, the peer started a new session, and `lost` lists the unacknowledged messages. Bubbles.
   */
  'rondevu-reconnected': ReconnectedDetail<OffererConnection>;
  /** A connection ended: `{peer, reason}`. Bubbles. */
  'rondevu-left': LeftDetail;
  /** Something failed: `{error}`, or `{error, peer, connection}` if a message could not be sent to one peer. Bubbles. */
  'rondevu-error': ServiceErrorDetail;
}

/** Event details of `<rondevu-connect>`. */
export interface RondevuConnectEventDetails {
  /** The state changed: `{from, to, reason}`. Bubbles. */
  'rondevu-state': StateDetail<ConnectState>;
  /** The server reported that no host is available yet: `{}`. Bubbles. */
  'rondevu-waiting': Readonly<Record<string, never>>;
  /** The link is up for the first time: `{peer, connection}`. Bubbles. */
  'rondevu-open': ConnectionDetail<AnswererConnection>;
  /**
   * The link is up again: `{peer, connection, verdict, lost}`. If `verdict` is `resumed`, no message was lost; if it is
   * `reset`, the peer started a new session, and `lost` lists the unacknowledged messages. Bubbles.
   */
  'rondevu-reconnected': ReconnectedDetail<AnswererConnection>;
  /** A message arrived: `{data, peer}`. Does not bubble. */
  'rondevu-message': MessageDetail;
  /** A reconnection attempt is scheduled: `{attempt, delay, maxAttempts}`, with `delay` in ms. Bubbles. */
  'rondevu-reconnecting': ReconnectingDetail;
  /** The connection has a new link: `{generation}`. Bubbles. */
  'rondevu-rotated': RotatedDetail;
  /** A message was buffered: `{data}`. Does not bubble. */
  'rondevu-buffered': BufferedDetail;
  /** A buffered message was sent: `{message}`. Does not bubble. */
  'rondevu-replayed': ReplayedDetail;
  /** The peer's application received a message: `{id}`. Does not bubble. */
  'rondevu-delivered': DeliveredDetail;
  /**
   * The connection ended: `{reason}`. Dispatched before `rondevu-state`. If a listener of this event calls `connect()`, the
   * state `closed` is not reported. Bubbles.
   */
  'rondevu-close': CloseDetail;
  /**
   * Something failed: `{error}`. `error.willRetry` is true if the element retries automatically; the code `unavailable` means
   * that the signaling server cannot be reached. Bubbles.
   */
  'rondevu-error': ErrorDetail;
}

/** Event details of `<rondevu-chat>`. */
export interface RondevuChatEventDetails {
  /** A message arrived that is not a chat message: `{data, peer}`. Does not bubble. */
  'rondevu-message': MessageDetail;
  /** A chat message was displayed: `{text, from, own}`. Bubbles. */
  'rondevu-chat-message': ChatMessageDetail;
}

/** Events by name. */
export type EventMap<Details> = { [Name in keyof Details]: CustomEvent<Details[Name]> };

export type RondevuServiceEventMap = EventMap<RondevuServiceEventDetails>;
export type RondevuConnectEventMap = EventMap<RondevuConnectEventDetails>;
export type RondevuChatEventMap = EventMap<RondevuChatEventDetails>;

/** Event names that do not start with `rondevu-`, so that a misspelled `rondevu-` event name is a type error. */
export type ForeignName<Name extends string> = Name extends `rondevu-${string}` ? never : Name;

/** `addEventListener` and `removeEventListener` with typed events, merged into each element's class. */
export interface TypedEvents<Details, Target> {
  addEventListener<Name extends keyof Details>(
    type: Name,
    listener: (this: Target, event: EventMap<Details>[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<Name extends keyof HTMLElementEventMap>(
    type: Name,
    listener: (this: Target, event: HTMLElementEventMap[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<Name extends string>(
    type: ForeignName<Name>,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof Details>(
    type: Name,
    listener: (this: Target, event: EventMap<Details>[Name]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof HTMLElementEventMap>(
    type: Name,
    listener: (this: Target, event: HTMLElementEventMap[Name]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener<Name extends string>(
    type: ForeignName<Name>,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}
