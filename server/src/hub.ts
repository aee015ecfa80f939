/**
 * Who is there: the open push sessions and the instances that only poll. Delivers events to an instance, keeps them for a
 * client whose socket broke, and withdraws the offers of an instance that fell silent. Knows nothing of HTTP or frames' text.
 * memory-hub.ts is that of one server, redis-hub.ts that of several.
 */
import type { PushEvents } from 'rondevu-elements/protocol';
import { principalOf, type Principal } from './principal.js';
import { RpcError } from './rpc-error.js';
import type { ServiceKey } from './store.js';

/** How long after its socket closed an instance's offers live, in ms. */
export const CLOSED_GRACE = 2000;
/** How long an instance may be silent, in ms; and how long it has to come back when the server closed its socket. */
export const SILENCE = 15_000;
/** Events of an instance that are kept for a client whose socket broke. */
export const KEPT_EVENTS = 256;
/** Bytes of events, as JSON, that are kept for one user; an event for several instances of the user counts once. */
export const KEPT_BYTES = 1_048_576;
/** Bytes of events that one server on a file keeps for all users. */
export const KEPT_BYTES_IN_ALL = 67_108_864;
/** How long an event is kept, in ms: longer than an instance may stay away. */
export const KEPT_FOR = 60_000;
/** Instances of one user at once, unless `maxInstancesPerUser` says otherwise. */
export const DEFAULT_MAX_INSTANCES = 128;
/** Sockets of one user that an event for all of them reaches, those of the instances that came last. */
export const MAX_FAN_OUT = 32;
/** Services of one instance whose demand it hears of. */
export const MAX_PUBLISHED = 1000;
/** How old an answer may be of which its joiner is told again that it was taken, when the publisher's socket is another, in ms. */
export const RETELL = 10_000;

/** One open push socket. */
export interface Session {
  readonly principal: Principal;
  readonly instance: string;
  deliver(event: NumberedEvent): void;
  /** A newer socket of the same instance has taken over. */
  replaced(): void;
  /** Its username was given up, or belongs to another key by now. */
  nameLost(): void;
}

/** Whom to tell that an answer was taken. */
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

/** An event with its number among those of its instance. */
export interface NumberedEvent {
  event: keyof PushEvents;
  /** The data as JSON: it is written once for all who get it. */
  text: string;
  seq: number;
  /** With `answer`. */
  answer: AnswerOrigin | undefined;
}

export const tooManyInstances = (max: number): RpcError =>
  new RpcError('rate-limited', `At most ${max} instances of one user at once: close some, or wait until they are forgotten`, {
    retryAfter: SILENCE,
  });

/** Where a client says it is: the life of the instance that it knows, and the last number that it saw there. */
export interface Position {
  epoch: string;
  seq: number;
}

/** Why a session ended: its page said that it goes, its socket broke, or the server closed it. */
export type Ending = 'left' | 'broken' | 'closed-here';

/** How long an instance may stay away after its session ended so, in ms. */
export const GRACE: Record<Ending, number> = { left: 0, broken: CLOSED_GRACE, 'closed-here': SILENCE };

/** What an instance is known by. */
export const instanceKey = (principal: Principal, instance: string): string => `${principal}/${instance}`;

/** The inverse of instanceKey. */
export function instanceOf(name: string): { principal: Principal; instance: string } {
  const cut = name.lastIndexOf('/');
  return { principal: name.slice(0, cut), instance: name.slice(cut + 1) };
}

/** Each service once. */
export const distinct = (services: ServiceKey[]): ServiceKey[] => [
  ...new Map(services.map((service) => [service.serviceId, service])).values(),
];

export interface Hub {
  /** Open sockets here. */
  readonly sessions: number;
  start(now: number): Promise<void>;
  /** A sign of life, by whatever road. */
  seen(principal: Principal, instance: string | undefined, now: number): Promise<void>;
  /**
   * Takes over from an older session of the instance, and delivers what came after `resume`, or `resync` where that cannot be
   * told, before anything newer.
   * @returns where the instance is now
   */
  opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position>;
  closed(session: Session, ending: Ending): Promise<void>;
  /** An instance published a service, so it is told of `demand`. */
  published(principal: Principal, instance: string | undefined, serviceId: string): Promise<void>;
  unpublished(principal: Principal, serviceId: string): Promise<void>;
  /** Sends to one instance that is known; keeps what cannot be sent now. */
  push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): Promise<void>;
  /** Sends to every instance that published a service. */
  pushToPublishers<E extends keyof PushEvents>(
    principal: Principal,
    serviceId: string,
    event: E,
    data: PushEvents[E],
  ): Promise<void>;
  /** Open sockets of a user, on all servers, that `pushToUser` reaches: MAX_FAN_OUT at most. */
  countSessions(principal: Principal): Promise<number>;
  /** Sends to the open sockets of a user, MAX_FAN_OUT at most; returns how many. */
  pushToUser<E extends keyof PushEvents>(principal: Principal, event: E, data: PushEvents[E]): Promise<number>;
  /** A username was given up or passed to another key: ends its sessions, on all servers, but those of the key that holds it now. */
  nameChanged(username: string): Promise<void>;
  close(): void;
}
