/**
 * Who is there: the open push sessions and the instances that only poll. Delivers events to an instance, tells when one
 * fell silent, and turns the client's acknowledgement of an answer into `taken`. Knows nothing of HTTP or frames' text.
 */
import type { PushEvents } from 'rondevu-elements/protocol';
import type { Logger } from './log.js';
import type { Store } from './store.js';

/** How long after its socket closed an instance's offers live, in ms. */
export const CLOSED_GRACE = 2000;
/** How long an instance may be silent, in ms. */
export const SILENCE = 15_000;

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

/** Events of an instance that are kept for a client whose socket broke. */
const KEPT_EVENTS = 256;

interface Instance {
  username: string;
  session?: Session;
  lastSeen: number;
  closing?: NodeJS.Timeout;
  /** Services this instance published, for `demand`. */
  services: Set<string>;
  /** Numbers start anew with each life of an instance. */
  born: number;
  seq: number;
  /** The last events, oldest first. */
  events: NumberedEvent[];
}

export class Hub {
  readonly #instances = new Map<string, Instance>();
  readonly #store: Store;
  readonly #log: Logger;
  /** Called after the free offers of an instance were withdrawn. */
  readonly #onGone: (username: string, instance: string) => void;
  readonly #sweeper: NodeJS.Timeout;
  #ended = false;
  #lives = 0;

  constructor(store: Store, log: Logger, onGone: (username: string, instance: string) => void) {
    this.#store = store;
    this.#log = log;
    this.#onGone = onGone;
    this.#sweeper = setInterval(() => this.#sweep(), 1000);
  }

  /** Takes up the instances that a restarted server finds in its store: each has one SILENCE to come back. */
  async start(now: number): Promise<void> {
    for (const { username, instance } of await this.#store.listInstances(now)) this.seen(username, instance, now);
  }

  get sessions(): number {
    return [...this.#instances.values()].filter(({ session }) => session).length;
  }

  /** A sign of life, by whatever road. */
  seen(username: string, instance: string | undefined, now: number): void {
    if (instance === undefined) return;
    const entry = this.#instance(username, instance);
    entry.lastSeen = now;
    // its socket is gone, but it goes on over HTTP
    if (entry.closing && !entry.session) {
      clearTimeout(entry.closing);
      delete entry.closing;
    }
  }

  /** @returns which life of the instance this is, and the number of its last event */
  opened(session: Session, now: number): { born: number; seq: number } {
    const instance = this.#instance(session.username, session.instance);
    clearTimeout(instance.closing);
    delete instance.closing;
    instance.session?.replaced();
    instance.session = session;
    instance.lastSeen = now;
    return { born: instance.born, seq: instance.seq };
  }

  /** Tells a session what came after `since`, or that it cannot be told. */
  resume(session: Session, since: number): void {
    const instance = this.#instance(session.username, session.instance);
    const missed = instance.events.filter(({ seq }) => seq > since);
    if (since <= instance.seq && missed.length === instance.seq - since) for (const event of missed) session.deliver(event);
    else this.#push(instance, 'resync', {});
  }

  /** @param leaving the page said that it goes, so nobody comes back to this instance */
  closed(session: Session, leaving: boolean): void {
    const instance = this.#instances.get(key(session.username, session.instance));
    // a newer socket of the same instance has taken over
    if (instance?.session !== session) return;
    delete instance.session;
    // sockets may close after the hub: their offers stay for the next start
    if (this.#ended) return;
    instance.closing = setTimeout(() => void this.#gone(session.username, session.instance), leaving ? 0 : CLOSED_GRACE);
  }

  published(username: string, instance: string | undefined, serviceId: string): void {
    if (instance !== undefined) this.#instance(username, instance).services.add(serviceId);
  }

  unpublished(username: string, serviceId: string): void {
    for (const instance of this.#instances.values()) if (instance.username === username) instance.services.delete(serviceId);
  }

  /** Sends to one instance if it has a socket; returns the event's number there. */
  push<E extends keyof PushEvents>(
    username: string,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): number | undefined {
    if (instance === undefined) return undefined;
    const entry = this.#instances.get(key(username, instance));
    return entry && this.#push(entry, event, data);
  }

  /** Sends to every instance that published a service. */
  pushToPublishers<E extends keyof PushEvents>(username: string, serviceId: string, event: E, data: PushEvents[E]): void {
    for (const instance of this.#instances.values()) {
      if (instance.username === username && instance.services.has(serviceId)) this.#push(instance, event, data);
    }
  }

  /** Sends to every open socket of a user; returns how many. */
  pushToUser<E extends keyof PushEvents>(username: string, event: E, data: PushEvents[E]): number {
    const instances = [...this.#instances.values()].filter((instance) => instance.username === username && instance.session);
    for (const instance of instances) this.#push(instance, event, data);
    return instances.length;
  }

  close(): void {
    this.#ended = true;
    clearInterval(this.#sweeper);
    for (const { closing } of this.#instances.values()) clearTimeout(closing);
  }

  /** What cannot be sent now is kept for the moment when the client is back. */
  #push<E extends keyof PushEvents>(instance: Instance, event: E, data: PushEvents[E]): number {
    const numbered = { event, data, seq: ++instance.seq } as NumberedEvent;
    instance.events.push(numbered);
    if (instance.events.length > KEPT_EVENTS) instance.events.shift();
    instance.session?.deliver(numbered);
    return numbered.seq;
  }

  #instance(username: string, instance: string): Instance {
    const name = key(username, instance);
    let entry = this.#instances.get(name);
    if (!entry)
      this.#instances.set(
        name,
        (entry = { username, lastSeen: 0, services: new Set(), born: ++this.#lives, seq: 0, events: [] }),
      );
    return entry;
  }

  /** Instances without a socket fall silent here; those with one are watched by their session's heartbeat. */
  #sweep(): void {
    const now = Date.now();
    for (const [name, { session, closing, lastSeen, username }] of this.#instances) {
      if (!session && !closing && now - lastSeen > SILENCE) void this.#gone(username, name.slice(username.length + 1));
    }
  }

  async #gone(username: string, instance: string): Promise<void> {
    this.#instances.delete(key(username, instance));
    try {
      await this.#store.withdrawInstance(username, instance, Date.now());
    } catch (err) {
      this.#log.error({ err }, 'the offers of a client that went could not be withdrawn');
    }
    this.#onGone(username, instance);
  }
}

const key = (username: string, instance: string): string => `${username}/${instance}`;
