/** In-memory hub of a single server: after a restart, every instance has a new epoch. Documented in hub.ts. */
import { randomUUID } from 'node:crypto';
import type { PushEvents } from 'rondevu-elements/protocol';
import {
  DEFAULT_MAX_INSTANCES,
  GRACE,
  MAX_KEPT_BYTES,
  MAX_KEPT_BYTES_TOTAL,
  MAX_KEPT_EVENTS,
  EVENT_TTL,
  MAX_FAN_OUT,
  MAX_PUBLISHED,
  RESEND_WINDOW,
  MAX_SILENCE,
  answerOrigin,
  distinct,
  tooManyInstances,
  type AnswerOrigin,
  type Ending,
  type Hub,
  type Position,
  type Session,
} from './hub.js';
import type { Logger } from './log.js';
import { keyOf, usernameOf, type Principal } from './principal.js';
import type { ServiceKey, Store } from './store.js';

/** An event, stored once for all instances of a user. */
interface Kept {
  user: User;
  event: keyof PushEvents;
  /** Event data as JSON; undefined after the event was dropped. */
  text: string | undefined;
  at: number;
  answer: AnswerOrigin | undefined;
}

interface Instance {
  session?: Session;
  lastSeen: number;
  closing?: NodeJS.Timeout;
  /** Services that this instance published, for which it gets `demand` events. */
  services: Set<string>;
  /** Event numbers start again in each epoch of an instance. */
  epoch: string;
  seq: number;
  /** The most recent events, oldest first; the last event has the number `seq`. */
  events: Kept[];
}

interface User {
  principal: Principal;
  instances: Map<string, Instance>;
  /** Events of all instances of the user, oldest first. */
  kept: Kept[];
  bytes: number;
}

export class MemoryHub implements Hub {
  readonly #users = new Map<Principal, User>();
  /** Users by username: a username may briefly have sessions of two keys while it passes from one key to the other. */
  readonly #byName = new Map<string, Set<User>>();
  /** Events of all users, oldest first. */
  #kept: Kept[] = [];
  /** Number of events in `#kept` that have not been dropped. */
  #live = 0;
  #bytes = 0;
  #sessions = 0;
  readonly #store: Store;
  readonly #log: Logger;
  /** Called for each service whose free offers were withdrawn because the publishing instance left. */
  readonly #onWithdrawn: (service: ServiceKey) => void;
  readonly #maxInstances: number;
  readonly #sweeper: NodeJS.Timeout;
  #ended = false;

  constructor(store: Store, log: Logger, onWithdrawn: (service: ServiceKey) => void, maxInstances = DEFAULT_MAX_INSTANCES) {
    this.#store = store;
    this.#log = log;
    this.#onWithdrawn = onWithdrawn;
    this.#maxInstances = maxInstances;
    this.#sweeper = setInterval(() => this.#sweep(), 1000);
  }

  /** Restores the instances that a restarted server finds in its store; each instance has MAX_SILENCE to reconnect. */
  async start(now: number): Promise<void> {
    for (const { owner, instance } of await this.#store.listInstances(now)) this.#instance(owner, instance, true).lastSeen = now;
  }

  get sessions(): number {
    return this.#sessions;
  }

  /** Total size of the events that are kept, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  async touch(principal: Principal, instance: string | undefined, now: number): Promise<void> {
    if (instance === undefined) return;
    const entry = this.#instance(principal, instance);
    entry.lastSeen = now;
    // the socket is closed, but the instance still makes calls over HTTP
    if (entry.closing && !entry.session) {
      clearTimeout(entry.closing);
      delete entry.closing;
    }
  }

  async opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position> {
    const instance = this.#instance(session.principal, session.instance);
    clearTimeout(instance.closing);
    delete instance.closing;
    if (instance.session) instance.session.replaced();
    else this.#sessions++;
    instance.session = session;
    instance.lastSeen = now;
    const { epoch, seq } = instance;
    if (resume) this.#resume(session, instance, resume.epoch === epoch ? Number(resume.seq) : Infinity);
    return { epoch, seq };
  }

  #resume(session: Session, instance: Instance, since: number): void {
    const first = instance.seq - instance.events.length + 1;
    const events = instance.events.map((kept, index) => ({ kept, seq: first + index }));
    const missed = events.filter(({ seq }) => seq > since);
    const isComplete = since <= instance.seq && missed.length === instance.seq - since;
    if (!isComplete || missed.some(({ kept }) => kept.text === undefined))
      return this.#push(session.principal, [instance], 'resync', {});
    // the client's acknowledgements may have been lost with its previous socket
    for (const { kept, seq } of events)
      // eslint-disable-next-line no-restricted-syntax -- the other time is from the wall clock
      if (kept.answer && seq <= since && kept.answer.answeredAt > Date.now() - RESEND_WINDOW)
        void this.push(kept.answer.answerer, kept.answer.instance, 'taken', { offerId: kept.answer.offerId });
    for (const { kept, seq } of missed) session.deliver({ event: kept.event, text: kept.text!, seq, answer: kept.answer });
  }

  async closed(session: Session, ending: Ending): Promise<void> {
    const instance = this.#users.get(session.principal)?.instances.get(session.instance);
    // a newer socket of the same instance has taken over
    if (instance?.session !== session) return;
    delete instance.session;
    this.#sessions--;
    // sockets may close after the hub has been closed; the offers of their instances are kept for the next start
    if (this.#ended) return;
    instance.closing = setTimeout(() => void this.#expire(session.principal, session.instance), GRACE[ending]);
  }

  async published(principal: Principal, instance: string | undefined, serviceId: string): Promise<void> {
    if (instance === undefined) return;
    const { services } = this.#instance(principal, instance);
    services.delete(serviceId);
    services.add(serviceId);
    if (services.size > MAX_PUBLISHED) services.delete(services.values().next().value!);
  }

  async unpublished(principal: Principal, serviceId: string): Promise<void> {
    for (const { services } of this.#instancesOf(principal)) services.delete(serviceId);
  }

  async push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    const entry = instance === undefined ? undefined : this.#users.get(principal)?.instances.get(instance);
    if (entry) this.#push(principal, [entry], event, data);
  }

  async pushToPublishers<E extends keyof PushEvents>(
    principal: Principal,
    serviceId: string,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    const publishers = this.#instancesOf(principal).filter(({ services }) => services.has(serviceId));
    this.#push(principal, publishers, event, data);
  }

  async countSessions(principal: Principal): Promise<number> {
    return this.#connected(principal).length;
  }

  async pushToUser<E extends keyof PushEvents>(principal: Principal, event: E, data: PushEvents[E]): Promise<number> {
    const instances = this.#connected(principal);
    this.#push(principal, instances, event, data);
    return instances.length;
  }

  async nameChanged(username: string): Promise<void> {
    const before = [...(this.#byName.get(username) ?? [])];
    if (!before.length) return;
    // the expiry of the claim is ignored, because the clock may be wrong
    const holder = await this.#store.getUser(username, 0);
    for (const { principal, instances } of before) {
      if (keyOf(principal) === holder?.publicKey) continue;
      for (const [name, { session }] of [...instances]) {
        this.#remove(principal, name);
        session?.nameLost();
      }
    }
  }

  close(): void {
    this.#ended = true;
    clearInterval(this.#sweeper);
    for (const { instances } of this.#users.values()) for (const { closing } of instances.values()) clearTimeout(closing);
  }

  /** Sends an event, or keeps it until the client reconnects. */
  #push<E extends keyof PushEvents>(principal: Principal, instances: Instance[], event: E, data: PushEvents[E]): void {
    const user = this.#users.get(principal);
    if (!user || !instances.length) return;
    const answer = event === 'answer' ? answerOrigin(data as PushEvents['answer']) : undefined;
    const text = JSON.stringify(data);
    const kept: Kept = { user, event, text, at: Date.now(), answer };
    user.kept.push(kept);
    this.#kept.push(kept);
    user.bytes += text.length;
    this.#bytes += text.length;
    this.#live++;
    // events dropped early stay in the list until it is compacted
    if (this.#kept.length > 2 * this.#live + 1024) this.#kept = this.#kept.filter((each) => each.text !== undefined);
    for (const instance of instances) {
      instance.events.push(kept);
      if (instance.events.length > MAX_KEPT_EVENTS) instance.events.shift();
      const seq = ++instance.seq;
      instance.session?.deliver({ event, text, seq, answer });
    }
    while (user.bytes > MAX_KEPT_BYTES || user.kept.length > MAX_KEPT_EVENTS * user.instances.size)
      this.#drop(user.kept.shift()!);
    if (this.#bytes > MAX_KEPT_BYTES_TOTAL) this.#trim(() => this.#bytes > MAX_KEPT_BYTES_TOTAL);
  }

  #drop(kept: Kept): void {
    if (kept.text === undefined) return;
    kept.user.bytes -= kept.text.length;
    this.#bytes -= kept.text.length;
    kept.text = undefined;
    this.#live--;
  }

  /** Drops the oldest events of all users while `shouldDrop` returns true. */
  #trim(shouldDrop: (oldest: Kept) => boolean): void {
    let count = 0;
    for (const kept of this.#kept) {
      if (kept.text !== undefined && !shouldDrop(kept)) break;
      this.#drop(kept);
      if (kept.user.kept[0] === kept) kept.user.kept.shift();
      count++;
    }
    if (count) this.#kept = this.#kept.slice(count);
  }

  #connected(principal: Principal): Instance[] {
    return this.#instancesOf(principal)
      .filter(({ session }) => session)
      .slice(-MAX_FAN_OUT);
  }

  #instancesOf(principal: Principal): Instance[] {
    return [...(this.#users.get(principal)?.instances.values() ?? [])];
  }

  /** @throws RpcError `rate-limited` if the user has too many instances */
  #instance(principal: Principal, name: string, isKnown = false): Instance {
    let user = this.#users.get(principal);
    const found = user?.instances.get(name);
    if (found) return found;
    if (user && !isKnown && user.instances.size >= this.#maxInstances) throw tooManyInstances(this.#maxInstances);
    if (!user) {
      user = { principal, instances: new Map(), kept: [], bytes: 0 };
      this.#users.set(principal, user);
      const username = usernameOf(principal);
      const users = this.#byName.get(username);
      if (users) users.add(user);
      else this.#byName.set(username, new Set([user]));
    }
    const instance = { lastSeen: Date.now(), services: new Set<string>(), epoch: randomUUID(), seq: 0, events: [] };
    user.instances.set(name, instance);
    return instance;
  }

  #remove(principal: Principal, name: string): void {
    const user = this.#users.get(principal);
    const instance = user?.instances.get(name);
    if (!user || !instance) return;
    clearTimeout(instance.closing);
    if (instance.session) this.#sessions--;
    user.instances.delete(name);
    if (user.instances.size) return;
    for (const kept of user.kept) this.#drop(kept);
    this.#users.delete(principal);
    const username = usernameOf(principal);
    const users = this.#byName.get(username);
    if (users?.delete(user) && !users.size) this.#byName.delete(username);
  }

  /** Expires silent instances without a socket; instances with a socket are monitored by the heartbeat of their session. */
  #sweep(): void {
    const now = Date.now();
    this.#trim(({ at }) => at <= now - EVENT_TTL);
    for (const { principal, instances } of [...this.#users.values()])
      for (const [name, { session, closing, lastSeen }] of instances)
        if (!session && !closing && now - lastSeen > MAX_SILENCE) void this.#expire(principal, name);
  }

  async #expire(principal: Principal, name: string): Promise<void> {
    this.#remove(principal, name);
    try {
      for (const service of distinct(await this.#store.withdrawInstance(principal, name, Date.now()))) this.#onWithdrawn(service);
    } catch (err) {
      this.#log.error({ err }, 'could not withdraw the offers of a disconnected client');
    }
  }
}
