/**
 * Hub of several servers that share a Redis database. Each instance has a mailbox in Redis, so a client may reconnect to any
 * server. When the server that holds a socket gets a hint, it reads the mailbox. A check every few seconds covers lost hints;
 * if Redis has lost data, the instance gets a new epoch and `resync`. Documented in hub.ts.
 */
import { randomUUID } from 'node:crypto';
import type { PushEvents } from 'rondevu-elements/protocol';
import {
  DEFAULT_MAX_INSTANCES,
  GRACE,
  MAX_KEPT_BYTES,
  MAX_KEPT_EVENTS,
  EVENT_TTL,
  MAX_FAN_OUT,
  RESEND_WINDOW,
  MAX_SILENCE,
  answerOrigin,
  distinct,
  instanceKey,
  instanceOf,
  tooManyInstances,
  type Ending,
  type Hub,
  type Position,
  type Session,
} from './hub.js';
import type { Logger } from './log.js';
import type { RedisConnection } from './redis-connection.js';
import { keyOf, usernameOf, type Principal } from './principal.js';
import * as scripts from './redis-hub-scripts.js';
import type { ServiceKey, Store } from './store.js';

/** Interval at which a server reads the mailboxes of its sockets, in ms. */
const CHECK_INTERVAL = 5000;
/** Minimum time between two writes that record an instance as alive, in ms. */
const TOUCH_INTERVAL = 500;
/** Maximum number of instances that are expired per batch. */
const EXPIRE_BATCH = 100;

interface Local {
  session: Session;
  socket: string;
  epoch: string;
  /** Sequence number of the last event that was delivered to the session. */
  delivered: number;
  checkedAt: number;
  /** Pending reads of the mailbox, which run one at a time. */
  reading: Promise<void>;
  isReadQueued: boolean;
}

export class RedisHub implements Hub {
  readonly #redis: RedisConnection;
  readonly #store: Store;
  readonly #log: Logger;
  /** Called for each service whose free offers were withdrawn because the publishing instance left. */
  readonly #onWithdrawn: (service: ServiceKey) => void;
  readonly #maxInstances: number;
  readonly #node = randomUUID();
  readonly #locals = new Map<string, Local>();
  /** Names of the instances in `#locals`, by username. */
  readonly #byName = new Map<string, Set<string>>();
  readonly #lastSeen = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #isTicking = false;
  /**
   * Time at which Redis last became reachable. Instances that would have expired earlier get more time, because after an outage
   * of Redis or of all servers, every instance looks silent.
   */
  #reachableSince = 0;
  #ended = false;

  constructor(
    redis: RedisConnection,
    store: Store,
    log: Logger,
    onWithdrawn: (service: ServiceKey) => void,
    maxInstances = DEFAULT_MAX_INSTANCES,
  ) {
    this.#maxInstances = maxInstances;
    this.#redis = redis;
    this.#store = store;
    this.#log = log;
    this.#onWithdrawn = onWithdrawn;
    this.#timer = setInterval(() => void this.#tick(), 1000);
  }

  get sessions(): number {
    return this.#locals.size;
  }

  async start(): Promise<void> {
    const onReady = (): void => {
      this.#reachableSince = Date.now();
      for (const local of this.#locals.values()) local.checkedAt = 0;
    };
    this.#reachableSince = Date.now();
    await this.#redis.subscribe(
      [`node:${this.#node}`, NAMES],
      (channel, message) => (channel === NAMES ? this.#onNameChanged(message) : this.#onHint(message)),
      onReady,
    );
  }

  async touch(principal: Principal, instance: string | undefined, now: number): Promise<void> {
    if (instance === undefined) return;
    const name = instanceKey(principal, instance);
    if (this.#locals.has(name) || this.#lastSeen.get(name)! > now - TOUCH_INTERVAL) return;
    const isPresent = await this.#run(
      scripts.TOUCH,
      principal,
      now,
      instance,
      randomUUID(),
      now + MAX_SILENCE,
      '',
      this.#maxInstances,
    );
    if (!isPresent) throw tooManyInstances(this.#maxInstances);
    this.#lastSeen.set(name, now);
    await this.#scheduleExpiry(name, now + MAX_SILENCE);
  }

  async opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position> {
    const { principal, instance } = session;
    const name = instanceKey(principal, instance);
    this.#locals.get(name)?.session.replaced();
    const socket = randomUUID();
    const deadline = now + MAX_SILENCE;
    const args = [now, instance, randomUUID(), deadline, this.#node, socket, 0, this.#maxInstances];
    const reply = await this.#run(scripts.OPEN, principal, ...args);
    if (!reply) throw tooManyInstances(this.#maxInstances);
    await this.#scheduleExpiry(name, deadline);
    const [epoch, number, node] = reply as [string, string, string, string];
    if (node && node !== this.#node) await this.#redis.publish(`node:${node}`, `replaced ${name}`);
    const seq = Number(number);
    const local: Local = {
      ...{ session, socket, epoch, delivered: seq, checkedAt: now, reading: Promise.resolve(), isReadQueued: false },
    };
    // a socket opened later may have been registered first
    this.#locals.get(name)?.session.replaced();
    this.#locals.set(name, local);
    this.#index(name, true);
    if (resume) {
      const since = resume.epoch === epoch ? Number(resume.seq) : Infinity;
      if (since <= seq) {
        local.delivered = since;
        await this.#resendTaken(principal, instance, since, now);
      } else await this.push(principal, instance, 'resync', {});
    }
    await this.#read(name, local);
    // the missed events are no longer stored
    if (local.delivered < seq) await this.push(principal, instance, 'resync', {});
    return { epoch, seq };
  }

  async closed(session: Session, ending: Ending): Promise<void> {
    const name = instanceKey(session.principal, session.instance);
    const local = this.#locals.get(name);
    if (local?.session !== session) return;
    this.#forget(name);
    if (this.#ended) return;
    const now = Date.now();
    const deadline = now + GRACE[ending];
    await this.#run(scripts.CLOSE, session.principal, now, session.instance, local.socket, deadline);
    await this.#scheduleExpiry(name, deadline);
  }

  async published(principal: Principal, instance: string | undefined, serviceId: string, ttl: number): Promise<void> {
    if (instance === undefined) return;
    const keys = [this.#base(principal), this.#publishers(serviceId)];
    await this.#redis.run(scripts.PUBLISHED, keys, [Date.now(), instance, ttl, this.#maxInstances]);
  }

  async unpublished(_principal: Principal, serviceId: string): Promise<void> {
    await this.#redis.command('DEL', this.#publishers(serviceId));
  }

  async push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string | undefined,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    if (instance !== undefined) await this.#push(principal, instance, event, data);
  }

  async pushToPublishers<E extends keyof PushEvents>(
    principal: Principal,
    serviceId: string,
    event: E,
    data: PushEvents[E],
  ): Promise<void> {
    const publishers = this.#publishers(serviceId);
    const instances = (await this.#redis.command('SMEMBERS', publishers)) as string[];
    await Promise.all(
      instances.map(async (instance) => {
        if (!(await this.#push(principal, instance, event, data))) await this.#redis.command('SREM', publishers, instance);
      }),
    );
  }

  async countSessions(principal: Principal): Promise<number> {
    return Math.min(MAX_FAN_OUT, Number(await this.#run(scripts.COUNT_SOCKETS, principal)));
  }

  async pushToUser<E extends keyof PushEvents>(principal: Principal, event: E, data: PushEvents[E]): Promise<number> {
    return this.#push(principal, '', event, data);
  }

  async nameChanged(username: string): Promise<void> {
    await Promise.all([this.#endStaleSessions(username), this.#redis.publish(NAMES, username)]);
  }

  #onNameChanged(username: string): void {
    this.#endStaleSessions(username).catch((err: unknown) =>
      this.#log.warn({ err }, 'could not close the sessions of the former owner of a username'),
    );
  }

  /**
   * Ends the sessions whose keys do not hold the username. The username may have passed to yet another key before the message
   * arrives, so the current holder is read from the store. If the message is lost, the session stays open but receives and
   * writes nothing, because events and writes are bound to the key.
   */
  async #endStaleSessions(username: string): Promise<void> {
    const before = [...(this.#byName.get(username) ?? [])].map((name) => [name, this.#locals.get(name)] as const);
    if (!before.length) return;
    // the expiry of the claim is ignored, because the clock may be wrong
    const holder = await this.#store.getUser(username, 0);
    for (const [name, local] of before) {
      if (this.#locals.get(name) !== local || keyOf(instanceOf(name).principal) === holder?.publicKey) continue;
      this.#forget(name);
      local?.session.nameLost();
    }
  }

  #forget(name: string): void {
    this.#locals.delete(name);
    this.#index(name, false);
  }

  #index(name: string, isPresent: boolean): void {
    const username = usernameOf(instanceOf(name).principal);
    const names = this.#byName.get(username) ?? new Set();
    if (isPresent) names.add(name);
    else names.delete(name);
    if (names.size) this.#byName.set(username, names);
    else this.#byName.delete(username);
  }

  close(): void {
    this.#ended = true;
    clearInterval(this.#timer);
  }

  /** @param instance empty for all instances with a socket @returns the number of instances that get the event */
  async #push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string,
    event: E,
    data: PushEvents[E],
  ): Promise<number> {
    const text = JSON.stringify({ event, data });
    const bounds = [
      MAX_KEPT_EVENTS,
      `${this.#redis.prefix}node:`,
      principal,
      MAX_KEPT_BYTES,
      EVENT_TTL,
      randomUUID(),
      MAX_FAN_OUT,
    ];
    return Number(await this.#run(scripts.PUSH, principal, Date.now(), instance, text, ...bounds));
  }

  #onHint(message: string): void {
    const separator = message.indexOf(' ');
    const name = message.slice(separator + 1);
    const local = this.#locals.get(name);
    if (!local) return;
    if (message.slice(0, separator) === 'replaced') local.checkedAt = 0;
    else void this.#read(name, local);
  }

  /** Delivers the new events to the session; hints that arrive in the meantime cause one additional read. */
  #read(name: string, local: Local): Promise<void> {
    if (local.isReadQueued) return local.reading;
    local.isReadQueued = true;
    return (local.reading = local.reading.then(async () => {
      local.isReadQueued = false;
      if (this.#locals.get(name) !== local) return;
      const { principal, instance } = local.session;
      try {
        const mail = `${this.#base(principal)}mail:${instance}`;
        const found = (await this.#redis.command('XRANGE', mail, `(${local.delivered}-0`, '+')) as [string, string[]][];
        for (const [id, fields] of found) {
          const seq = Number.parseInt(id);
          if (this.#locals.get(name) !== local || seq <= local.delivered) continue;
          if (seq > local.delivered + 1) this.#deliver(local, seq - 1, RESYNC);
          const text = fields[0] === 'ref' ? await this.#event(principal, fields[1]!) : fields[1]!;
          if (this.#locals.get(name) !== local) return;
          local.delivered = seq;
          this.#deliver(local, seq, text);
        }
      } catch (err) {
        // the next check reads the mailbox again
        this.#log.warn({ err }, 'could not read a mailbox');
      }
    }));
  }

  /** Reads an event for several instances; returns `resync` if the event is no longer stored. */
  async #event(principal: Principal, id: string): Promise<string> {
    return ((await this.#redis.command('GET', `${this.#base(principal)}event:${id}`)) as string | null) ?? RESYNC;
  }

  #deliver({ session }: Local, seq: number, text: string): void {
    const { event, data } = JSON.parse(text) as { event: keyof PushEvents; data: object };
    const answer = event === 'answer' ? answerOrigin(data as PushEvents['answer']) : undefined;
    session.deliver({ event, text: JSON.stringify(data), seq, answer });
  }

  async #tick(): Promise<void> {
    if (this.#isTicking) return;
    this.#isTicking = true;
    try {
      const now = Date.now();
      for (const [name, at] of this.#lastSeen) if (at <= now - TOUCH_INTERVAL) this.#lastSeen.delete(name);
      await Promise.all([...this.#locals].map(([name, local]) => this.#check(name, local, now)));
      await this.#expireSilent(now);
    } catch (err) {
      this.#log.warn({ err }, 'mailbox maintenance failed');
    } finally {
      this.#isTicking = false;
    }
  }

  /** Records that the instance is alive, and reads its mailbox in case a hint was lost. */
  async #check(name: string, local: Local, now: number): Promise<void> {
    if (local.checkedAt > now - CHECK_INTERVAL) return;
    local.checkedAt = now;
    const { principal, instance } = local.session;
    const [reply] = await Promise.all([
      this.#run(scripts.TOUCH, principal, now, instance, randomUUID(), now + MAX_SILENCE, local.socket, Number.MAX_SAFE_INTEGER),
      this.#scheduleExpiry(name, now + MAX_SILENCE),
    ]);
    if (this.#locals.get(name) !== local) return;
    const [epoch, seq, socket] = reply as [string, string, string];
    // a sequence number lower than `delivered` means that a failover has lost the latest events
    if (epoch !== local.epoch || Number(seq) < local.delivered) await this.#resetEpoch(local, now);
    else if (socket !== local.socket) {
      this.#forget(name);
      local.session.replaced();
    } else if (Number(seq) > local.delivered) await this.#read(name, local);
  }

  /** Starts a new epoch after Redis has lost the mailbox: the client must request everything again. */
  async #resetEpoch(local: Local, now: number): Promise<void> {
    const { principal, instance } = local.session;
    // numbers continue from the client's position, because the client would ignore smaller numbers as duplicates
    const args = [
      now,
      instance,
      randomUUID(),
      now + MAX_SILENCE,
      this.#node,
      local.socket,
      local.delivered,
      Number.MAX_SAFE_INTEGER,
    ];
    const [epoch, seq] = (await this.#run(scripts.OPEN, principal, ...args)) as [string, string];
    local.epoch = epoch;
    local.delivered = Number(seq);
    await this.#push(principal, instance, 'resync', {});
  }

  /** Withdraws the offers of silent instances, no matter which server they used; only one server expires each instance. */
  async #expireSilent(now: number): Promise<void> {
    const from = now < this.#reachableSince + MAX_SILENCE ? String(this.#reachableSince) : '-inf';
    const due = this.#redis.prefix + ALIVE;
    const names = (await this.#redis.command(
      ...['ZRANGE', due, from, String(now), 'BYSCORE', 'LIMIT', '0', String(EXPIRE_BATCH)],
    )) as string[];
    for (const name of names) {
      const { principal, instance } = instanceOf(name);
      const verdict = await this.#run(scripts.EXPIRE, principal, now, instance);
      if (verdict !== 1) {
        await this.#redis.command('ZADD', due, 'GT', String(verdict), name);
        continue;
      }
      const services = distinct(await this.#store.withdrawInstance(principal, instance, now));
      await this.#redis.command('ZREM', due, name);
      for (const service of services) this.#onWithdrawn(service);
    }
    if (names.length === EXPIRE_BATCH && !this.#ended) await this.#expireSilent(now);
  }

  /**
   * Sends `taken` to the joiners again, because the publisher's acknowledgements may have been lost with its previous socket.
   */
  async #resendTaken(principal: Principal, instance: string, since: number, now: number): Promise<void> {
    const mail = `${this.#base(principal)}mail:${instance}`;
    const found = (await this.#redis.command('XRANGE', mail, '-', `${since}-0`)) as [string, string[]][];
    for (const [, fields] of found) {
      // an event for several instances is not an answer
      if (fields[0] === 'ref') continue;
      const { event, data } = JSON.parse(fields[1]!) as { event: string; data: PushEvents['answer'] };
      if (event !== 'answer' || data.answeredAt <= now - RESEND_WINDOW) continue;
      const origin = answerOrigin(data);
      await this.push(origin.answerer, origin.instance, 'taken', { offerId: origin.offerId });
    }
  }

  /** Schedules the expiry check of an instance. */
  #scheduleExpiry(name: string, deadline: number): Promise<unknown> {
    return this.#redis.command('ZADD', this.#redis.prefix + ALIVE, String(deadline), name);
  }

  #run(
    script: (typeof scripts)[keyof typeof scripts],
    principal: Principal,
    ...args: (string | number)[]
  ): ReturnType<RedisConnection['run']> {
    return this.#redis.run(script, [this.#base(principal)], args);
  }

  #base(principal: Principal): string {
    return `${this.#redis.prefix}hub:{${principal}}:`;
  }

  #publishers(serviceId: string): string {
    return `${this.#redis.prefix}publishers:{${serviceId}}`;
  }
}

/** Channel that announces usernames that were released or passed to a different key. */
const NAMES = 'names';
const RESYNC = JSON.stringify({ event: 'resync', data: {} });
/** Redis key of the sorted set of instances, scored by deadline. */
const ALIVE = 'alive:{}';
