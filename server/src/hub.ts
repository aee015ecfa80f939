/**
 * Who is there: the open push sessions and the instances that only poll. Delivers events to an instance, keeps them for a
 * client whose socket broke, and withdraws the offers of an instance that fell silent. Knows nothing of HTTP or frames' text.
 * memory-hub.ts is that of one server, redis-hub.ts that of several.
 */
import type { PushEvents } from 'rondevu-elements/protocol';
import type { ServiceKey } from './store.js';

/** How long after its socket closed an instance's offers live, in ms. */
export const CLOSED_GRACE = 2000;
/** How long an instance may be silent, in ms; and how long it has to come back when the server closed its socket. */
export const SILENCE = 15_000;
/** Events of an instance that are kept for a client whose socket broke. */
export const KEPT_EVENTS = 256;
/** How old an answer may be of which its joiner is told again that it was taken, when the publisher's socket is another, in ms. */
export const RETELL = 10_000;

/** One open push socket. */
export interface Session {
  readonly username: string;
  readonly instance: string;
  deliver(event: NumberedEvent): void;
  /** A newer socket of the same instance has taken over. */
  replaced(): void;
}

/** An event with its number among those of its instance. */
export type NumberedEvent = { [E in keyof PushEvents]: { event: E; data: PushEvents[E]; seq: number } }[keyof PushEvents];

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
export const instanceKey = (username: string, instance: string): string => `${username}/${instance}`;

/** Each service once. */
export const distinct = (services: ServiceKey[]): ServiceKey[] => [
  ...new Map(services.map((service) => [service.serviceId, service])).values(),
];

export interface Hub {
  /** Open sockets here. */
  readonly sessions: number;
  start(now: number): Promise<void>;
  /** A sign of life, by whatever road. */
  seen(username: string, instance: string | undefined, now: number): Promise<void>;
  /**
   * Takes over from an older session of the instance, and delivers what came after `resume`, or `resync` where that cannot be
   * told, before anything newer.
   * @returns where the instance is now
   */
  opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position>;
  closed(session: Session, ending: Ending): Promise<void>;
  /** An instance published a service, so it is told of `demand`. */
  published(username: string, instance: string | undefined, serviceId: string): Promise<void>;
  unpublished(username: string, serviceId: string): Promise<void>;
  /** Sends to one instance that is known; keeps what cannot be sent now. */
  push<E extends keyof PushEvents>(username: string, instance: string | undefined, event: E, data: PushEvents[E]): Promise<void>;
  /** Sends to every instance that published a service. */
  pushToPublishers<E extends keyof PushEvents>(username: string, serviceId: string, event: E, data: PushEvents[E]): Promise<void>;
  /** Sends to every open socket of a user; returns how many. */
  pushToUser<E extends keyof PushEvents>(username: string, event: E, data: PushEvents[E]): Promise<number>;
  close(): void;
}
