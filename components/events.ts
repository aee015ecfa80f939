/**
 * The events of the elements: a detail type for each, and a map from event names to events for each element. `custom-elements.json`
 * and docs/elements.md take names, types and descriptions from here.
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

/** A change of an element's `state`. */
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

/** An error of a service; `peer` and `connection` if it concerns one peer. */
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
  /** `resumed`: no message is lost. `reset`: the peer started a new session. */
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
  /** Number of attempts after which the element gives up; 0 for no limit. */
  readonly maxAttempts: number;
}

export interface RotatedDetail {
  /** Number of the current link. */
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
  /** Whether it was sent here. */
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
   * A peer is back on the same connection: `{peer, connection, verdict, lost}`. With `resumed`, no message is lost; with `reset`, the
   * peer started a new session and `lost` lists the unacknowledged messages. Bubbles.
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
  /** The server says that nobody is there yet: `{}`. Bubbles. */
  'rondevu-waiting': Readonly<Record<string, never>>;
  /** The link is up for the first time: `{peer, connection}`. Bubbles. */
  'rondevu-open': ConnectionDetail<AnswererConnection>;
  /**
   * The link is up again: `{peer, connection, verdict, lost}`. With `resumed`, no message is lost; with `reset`, the peer started a new
   * session and `lost` lists the unacknowledged messages. Bubbles.
   */
  'rondevu-reconnected': ReconnectedDetail<AnswererConnection>;
  /** A message arrived: `{data, peer}`. Does not bubble. */
  'rondevu-message': MessageDetail;
  /** An attempt to reconnect is scheduled: `{attempt, delay, maxAttempts}`, delay in ms. Bubbles. */
  'rondevu-reconnecting': ReconnectingDetail;
  /** The connection has a new link: `{generation}`. Bubbles. */
  'rondevu-rotated': RotatedDetail;
  /** A message was buffered: `{data}`. Does not bubble. */
  'rondevu-buffered': BufferedDetail;
  /** A buffered message was sent: `{message}`. Does not bubble. */
  'rondevu-replayed': ReplayedDetail;
  /** The peer's page received a message: `{id}`. Does not bubble. */
  'rondevu-delivered': DeliveredDetail;
  /**
   * The connection ended: `{reason}`. Precedes `rondevu-state`, which does not report `closed` if a handler calls `connect()`.
   * Bubbles.
   */
  'rondevu-close': CloseDetail;
  /**
   * Something failed: `{error}`. `error.willRetry` is true if the element tries again by itself; the code `unavailable` means that the
   * signaling server cannot be reached. Bubbles.
   */
  'rondevu-error': ErrorDetail;
}

/** Event details of `<rondevu-chat>`. */
export interface RondevuChatEventDetails {
  /** A message arrived that is not a chat message: `{data, peer}`. Does not bubble. */
  'rondevu-message': MessageDetail;
  /** A message was shown: `{text, from, own}`. Bubbles. */
  'rondevu-chat-message': ChatMessageDetail;
}

/** Events by name. */
export type EventMap<Details> = { [Name in keyof Details]: CustomEvent<Details[Name]> };

export type RondevuServiceEventMap = EventMap<RondevuServiceEventDetails>;
export type RondevuConnectEventMap = EventMap<RondevuConnectEventDetails>;
export type RondevuChatEventMap = EventMap<RondevuChatEventDetails>;

/** Names of events that are not this project's: a misspelled `rondevu-` event is a type error. */
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
