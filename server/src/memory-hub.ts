/** Hub of one server, in its memory: a restart gives every instance a new life. docs in hub.ts. */
import { randomUUID } from 'node:crypto';
import type { PushEvents } from 'rondevu-elements/protocol';
import {
  GRACE,
  KEPT_EVENTS,
  RETELL,
  SILENCE,
  distinct,
  instanceKey,
  type Ending,
  type Hub,
  type NumberedEvent,
  type Position,
  type Session,
} from './hub.js';
import type { Logger } from './log.js';
import type { ServiceKey, Store } from './store.js';

interface Instance {
  username: string;
  session?: Session;
  lastSeen: number;
  closing?: NodeJS.Timeout;
  /** Services this instance published, for `demand`. */
  services: Set<string>;
  /** Numbers start anew with each life of an instance. */
  epoch: string;
  seq: number;
  /** The last events, oldest first. */
  events: NumberedEvent[];
}

export class MemoryHub implements Hub {
  readonly #instances = new Map<string, Instance>();
  readonly #store: Store;
  readonly #log: Logger;
  /** Called for each service of which free offers were withdrawn because their instance went. */
  readonly #onGone: (service: ServiceKey) => void;
  readonly #sweeper: NodeJS.Timeout;
  #ended = false;

  constructor(store: Store, log: Logger, onGone: (service: ServiceKey) => void) {
    this.#store = store;
    this.#log = log;
    this.#onGone = onGone;
    this.#sweeper = setInterval(() => this.#sweep(), 1000);
  }

  /** Takes up the instances that a restarted server finds in its store: each has one SILENCE to come back. */
  async start(now: number): Promise<void> {
    for (const { username, instance } of await this.#store.listInstances(now)) await this.seen(username, instance, now);
  }

  get sessions(): number {
    return [...this.#instances.values()].filter(({ session }) => session).length;
  }

  async seen(username: string, instance: string | undefined, now: number): Promise<void> {
    if (instance === undefined) return;
    const entry = this.#instance(username, instance);
    entry.lastSeen = now;
    // its socket is gone, but it goes on over HTTP
    if (entry.closing && !entry.session) {
      clearTimeout(entry.closing);
      delete entry.closing;
    }
  }

  async opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position> {
    const instance = this.#instance(session.username, session.instance);
    clearTimeout(instance.closing);
    delete instance.closing;
    instance.session?.replaced();
    instance.session = session;
    instance.lastSeen = now;
    const { epoch, seq } = instance;
    if (resume) this.#resume(instance, session, resume.epoch === epoch ? Number(resume.seq) : Infinity);
    return { epoch, seq };
  }

  #resume(instance: Instance, session: Session, since: number): void {
    const missed = instance.events.filter(({ seq }) => seq > since);
    if (since <= instance.seq && missed.length === instance.seq - since) {
      // its acknowledgements may have been lost with the socket before
      for (const { event, data, seq } of instance.events) {
        if (event === 'answer' && seq <= since && data.answeredAt > Date.now() - RETELL)
          void this.push(data.answererId, data.answererInstance, 'taken', { offerId: data.offerId });
      }
      for (const event of missed) session.deliver(event);
    } else this.#push(instance, 'resync', {});
  }

  async closed(session: Session, ending: Ending): Promise<void> {
    const instance = this.#instances.get(instanceKey(session.username, session.instance));
    // a newer socket of the same instance has taken over
    if (instance?.session !== session) return;
    delete instance.session;
    // sockets may close after the hub: their offers stay for the next start
    if (this.#ended) return;
    const grace = GRACE[ending];
    instance.closing = setTimeout(() => void this.#gone(session.username, session.instance), grace);
  }

  async published(username: string, instance: string | undefined, serviceId: string): Promise<void> {
    if (instance !== undefined) this.#instance(username, instance).services.add(serviceId);
  }

  async unpublished(username: string, serviceId: string): Promise<void> {
    for (const instance of this.#instances.values()) if (instance.username === username) instance.services.delete(serviceId);
  }

  async push<E extends keyof PushEvents>(
    username: string,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    const entry = instance === undefined ? undefined : this.#instances.get(instanceKey(username, instance));
    if (entry) this.#push(entry, event, data);
  }

  async pushToPublishers<E extends keyof PushEvents>(
    username: string,
    serviceId: string,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    for (const instance of this.#instances.values()) {
      if (instance.username === username && instance.services.has(serviceId)) this.#push(instance, event, data);
    }
  }

  async pushToUser<E extends keyof PushEvents>(username: string, event: E, data: PushEvents[E]): Promise<number> {
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
  #push<E extends keyof PushEvents>(instance: Instance, event: E, data: PushEvents[E]): void {
    const numbered = { event, data, seq: ++instance.seq } as NumberedEvent;
    instance.events.push(numbered);
    if (instance.events.length > KEPT_EVENTS) instance.events.shift();
    instance.session?.deliver(numbered);
  }

  #instance(username: string, instance: string): Instance {
    const name = instanceKey(username, instance);
    let entry = this.#instances.get(name);
    if (!entry) {
      entry = { username, lastSeen: 0, services: new Set(), epoch: randomUUID(), seq: 0, events: [] };
      this.#instances.set(name, entry);
    }
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
    this.#instances.delete(instanceKey(username, instance));
    try {
      for (const service of distinct(await this.#store.withdrawInstance(username, instance, Date.now()))) this.#onGone(service);
    } catch (err) {
      this.#log.error({ err }, 'the offers of a client that went could not be withdrawn');
    }
  }
}
