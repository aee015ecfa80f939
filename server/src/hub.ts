/**
 * Tracks presence: the open push sessions, and the instances that only poll. Delivers events to instances, keeps events for
 * clients that have lost their sockets, and withdraws the offers of instances that have gone silent. The hub does not handle
 * HTTP or the encoding of frames; memory-hub.ts implements it for one server, redis-hub.ts for several servers.
 */
import type { PushEvents } from 'rondevu-elements/protocol';
import { principalOf, type Principal } from './principal.js';
import { RpcError } from './rpc-error.js';
import type { ServiceKey } from './store.js';

/** How long the offers of an instance are kept after its socket closes, in ms. */
export const CLOSED_GRACE = 2000;
/** How long an instance may be silent, and how long it may take to reconnect after the server closes its socket, in ms. */
export const MAX_SILENCE = 15_000;
/** Maximum number of events kept per instance for a client that has lost its socket. */
export const MAX_KEPT_EVENTS = 256;
/** Maximum size of the events kept per user, in bytes of JSON; an event for several instances counts once. */
export const MAX_KEPT_BYTES = 1_048_576;
/** Maximum size of the events that a server without Redis keeps for all users, in bytes. */
export const MAX_KEPT_BYTES_TOTAL = 67_108_864;
/** How long an event is kept, in ms: longer than an instance may stay disconnected. */
export const EVENT_TTL = 60_000;
/** Maximum number of simultaneous instances per user, unless `maxInstancesPerUser` is set. */
export const DEFAULT_MAX_INSTANCES = 128;
/** Maximum number of sockets that receive an event addressed to a user. The newest instances are preferred. */
export const MAX_FAN_OUT = 32;
/** Maximum number of services for which one instance gets `demand` events. */
export const MAX_PUBLISHED = 1000;
/** Maximum age of an answer, in ms, for which `taken` is sent again after the publisher has opened a new socket. */
export const RESEND_WINDOW = 10_000;

/** One open push socket. */
export interface Session {
  readonly principal: Principal;
  readonly instance: string;
  deliver(event: NumberedEvent): void;
  /** Called when a newer socket of the same instance has taken over. */
  replaced(): void;
  /** Called when the username of the session was released or now belongs to a different key. */
  nameLost(): void;
}

/** The joiner that gets `taken` for an answer, and the time of the answer. */
export interface AnswerOrigin {
  offerId: string;
  answerer: Principal;
  instance: string | undefined;
  answeredAt: number;
}

export const answerOrigin = (answer: PushEvents['answer']): AnswerOrigin => ({
  offerId: answer.offerId,
  answerer: principalOf({ username: answer.answererId, publicKey: answer.answererKey ?? '' }),
  instance: answer.answererInstance,
  answeredAt: answer.answeredAt,
});

/** An event with its sequence number, counted per instance. */
export interface NumberedEvent {
  event: keyof PushEvents;
  /** Event data as JSON, serialized once for all recipients. */
  text: string;
  seq: number;
  /** With `answer`. */
  answer: AnswerOrigin | undefined;
}

export const tooManyInstances = (max: number): RpcError =>
  new RpcError('rate-limited', `At most ${max} instances per user: close some, or wait until they expire`, {
    retryAfter: MAX_SILENCE,
  });

/**
 * The client's position in the event stream of its instance: the epoch, and the sequence number of the last event received in
 * that epoch.
 */
export interface Position {
  epoch: string;
  seq: number;
}

/** Why a session ended: the user left the page, the socket was lost, or this server closed the socket. */
export type Ending = 'left' | 'broken' | 'closed-here';

/** How long an instance may stay away after each kind of ending, in ms. */
export const GRACE: Record<Ending, number> = { left: 0, broken: CLOSED_GRACE, 'closed-here': MAX_SILENCE };

/** Name of an instance, unique across users. */
export const instanceKey = (principal: Principal, instance: string): string => `${principal}/${instance}`;

/** The inverse of instanceKey. */
export function instanceOf(name: string): { principal: Principal; instance: string } {
  const separator = name.lastIndexOf('/');
  return { principal: name.slice(0, separator), instance: name.slice(separator + 1) };
}

/** Removes duplicate services. */
export const distinct = (services: ServiceKey[]): ServiceKey[] => [
  ...new Map(services.map((service) => [service.serviceId, service])).values(),
];

export interface Hub {
  /** Number of open push sessions on this server. */
  readonly sessions: number;
  start(now: number): Promise<void>;
  /** Records that an instance is alive because it made a call or sent a frame on its socket. */
  touch(principal: Principal, instance: string | undefined, now: number): Promise<void>;
  /**
   * Replaces an older session of the instance, and delivers the events after `resume` before newer events, or `resync` if they
   * are not available.
   * @returns the current position of the instance
   */
  opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position>;
  closed(session: Session, ending: Ending): Promise<void>;
  /**
   * Records that an instance published a service that lasts `ttl` ms from now, so that the instance gets `demand` events for
   * the service.
   */
  published(principal: Principal, instance: string | undefined, serviceId: string, ttl: number): Promise<void>;
  unpublished(principal: Principal, serviceId: string): Promise<void>;
  /** Sends an event to one instance, if it is known; keeps the event if the instance has no open socket. */
  push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): Promise<void>;
  /** Sends an event to every instance that published a service. */
  pushToPublishers<E extends keyof PushEvents>(
    principal: Principal,
    serviceId: string,
    event: E,
    data: PushEvents[E],
  ): Promise<void>;
  /** Counts the open sockets of a user, on all servers, that `pushToUser` would reach: at most MAX_FAN_OUT. */
  countSessions(principal: Principal): Promise<number>;
  /** Sends an event to at most MAX_FAN_OUT open sockets of a user. @returns the number of sockets */
  pushToUser<E extends keyof PushEvents>(principal: Principal, event: E, data: PushEvents[E]): Promise<number>;
  /**
   * Ends the sessions of a username on all servers, except sessions whose key holds the username. Call this when the holder of
   * a username has changed.
   */
  nameChanged(username: string): Promise<void>;
  close(): void;
}
