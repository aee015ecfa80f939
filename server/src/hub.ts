/**
 * Presence: the open push sessions, and the instances that only poll. Delivers events to an instance, keeps them for a client
 * that lost its socket, and withdraws the offers of an instance that fell silent. Does not deal with HTTP or the encoding of
 * frames. memory-hub.ts implements it for one server, redis-hub.ts for several.
 */
import type { PushEvents } from 'rondevu-elements/protocol';
import { principalOf, type Principal } from './principal.js';
import { RpcError } from './rpc-error.js';
import type { ServiceKey } from './store.js';

/** How long the offers of an instance are kept after its socket closed, in ms. */
export const CLOSED_GRACE = 2000;
/** How long an instance may be silent, and how long it has to reconnect after the server closed its socket, in ms. */
export const MAX_SILENCE = 15_000;
/** Events that are kept for one instance whose client lost its socket. */
export const MAX_KEPT_EVENTS = 256;
/** Bytes of events, as JSON, that are kept for one user; an event for several instances counts once. */
export const MAX_KEPT_BYTES = 1_048_576;
/** Bytes of events that one server without Redis keeps for all users. */
export const MAX_KEPT_BYTES_TOTAL = 67_108_864;
/** How long an event is kept, in ms: longer than an instance may stay disconnected. */
export const EVENT_TTL = 60_000;
/** Instances of one user at once, unless `maxInstancesPerUser` is set. */
export const DEFAULT_MAX_INSTANCES = 128;
/** Maximum number of a user's sockets that receive an event for that user. The newest instances are preferred. */
export const MAX_FAN_OUT = 32;
/** Services of one instance for which it gets `demand` events. */
export const MAX_PUBLISHED = 1000;
/** Maximum age of an answer, in ms, for which `taken` is sent again after the publisher has opened another socket. */
export const RESEND_WINDOW = 10_000;

/** One open push socket. */
export interface Session {
  readonly principal: Principal;
  readonly instance: string;
  deliver(event: NumberedEvent): void;
  /** Called when a newer socket of the same instance has taken over. */
  replaced(): void;
  /** Called when the username of the session was released, or now belongs to another key. */
  nameLost(): void;
}

/** The joiner that gets `taken` for an answer, and when it answered. */
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
  /** The data as JSON, serialized once for all recipients. */
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
 * The client's position in the events of its instance: the epoch it knows, and the number of the last event it received in it.
 */
export interface Position {
  epoch: string;
  seq: number;
}

/** Why a session ended: the user left the page, the socket was lost, or this server closed it. */
export type Ending = 'left' | 'broken' | 'closed-here';

/** How long an instance may stay away after each kind of ending, in ms. */
export const GRACE: Record<Ending, number> = { left: 0, broken: CLOSED_GRACE, 'closed-here': MAX_SILENCE };

/** Key of an instance. */
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
  /** Open sockets of this server. */
  readonly sessions: number;
  start(now: number): Promise<void>;
  /** Records that an instance is alive: it made a call, or sent a frame on its socket. */
  touch(principal: Principal, instance: string | undefined, now: number): Promise<void>;
  /**
   * Takes over from an older session of the instance, and delivers the events after `resume` before anything newer, or `resync`
   * if these events are not available.
   * @returns the current position of the instance
   */
  opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position>;
  closed(session: Session, ending: Ending): Promise<void>;
  /** Records that an instance published a service that lasts `ttl` ms from now, and gets `demand` events for it. */
  published(principal: Principal, instance: string | undefined, serviceId: string, ttl: number): Promise<void>;
  unpublished(principal: Principal, serviceId: string): Promise<void>;
  /** Sends an event to one instance, if it is known; keeps the event if it cannot be sent now. */
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
  /** Counts the open sockets of a user, on all servers, that `pushToUser` reaches: MAX_FAN_OUT at most. */
  countSessions(principal: Principal): Promise<number>;
  /** Sends an event to the open sockets of a user, MAX_FAN_OUT at most. @returns their number */
  pushToUser<E extends keyof PushEvents>(principal: Principal, event: E, data: PushEvents[E]): Promise<number>;
  /**
   * Ends the sessions of a username, on all servers, except those whose key holds it. Call this when its holder has changed.
   */
  nameChanged(username: string): Promise<void>;
  close(): void;
}
