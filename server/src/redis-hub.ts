/**
 * Hub of several servers that share a Redis. Each instance has a mailbox there, so a client may reconnect to any server. A hint
 * tells the server with the socket to read on. Lost hints are covered by a look every few seconds; if Redis lost data, the
 * instance gets a new epoch and `resync`. Documented in hub.ts.
 */
import { randomUUID } from 'node:crypto';
import type { PushEvents } from 'rondevu-elements/protocol';
import {
  DEFAULT_MAX_INSTANCES,
  GRACE,
  KEPT_BYTES,
  KEPT_EVENTS,
  KEPT_FOR,
  MAX_FAN_OUT,
  RETELL,
  SILENCE,
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
const LOOK_EVERY = 5000;
/** Minimum time between two writes that record an instance as alive, in ms. */
const SEEN_EVERY = 500;
/** Number of instances that are given up in one go. */
const GIVE_UP_AT_ONCE = 100;

interface Local {
  session: Session;
  socket: string;
  epoch: string;
  /** Number of the last event that the session got. */
  given: number;
  lookedAt: number;
  /** Reads run one at a time. */
  reading: Promise<void>;
  isWanted: boolean;
}

export class RedisHub implements Hub {
  readonly #redis: RedisConnection;
  readonly #store: Store;
  readonly #log: Logger;
  /** Called for each service whose free offers were withdrawn because their instance left. */
  readonly #onGone: (service: ServiceKey) => void;
  readonly #maxInstances: number;
  readonly #node = randomUUID();
  readonly #locals = new Map<string, Local>();
  /** Their names by username. */
  readonly #byName = new Map<string, Set<string>>();
  readonly #lastSeen = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #isTicking = false;
  /**
   * Since when Redis is reachable. Instances that expired before get more time: after an outage of Redis or all servers, every
   * instance looks silent.
   */
  #inReachSince = 0;
  #ended = false;

  constructor(
    redis: RedisConnection,
    store: Store,
    log: Logger,
    onGone: (service: ServiceKey) => void,
    maxInstances = DEFAULT_MAX_INSTANCES,
  ) {
    this.#maxInstances = maxInstances;
    this.#redis = redis;
    this.#store = store;
    this.#log = log;
    this.#onGone = onGone;
    this.#timer = setInterval(() => void this.#tick(), 1000);
  }

  get sessions(): number {
    return this.#locals.size;
  }

  async start(): Promise<void> {
    const lookAtAll = (): void => {
      this.#inReachSince = Date.now();
      for (const local of this.#locals.values()) local.lookedAt = 0;
    };
    this.#inReachSince = Date.now();
    await this.#redis.listen(
      [`node:${this.#node}`, NAMES],
      (channel, message) => (channel === NAMES ? this.#nameToldOf(message) : this.#hinted(message)),
      lookAtAll,
    );
  }

  async seen(principal: Principal, instance: string | undefined, now: number): Promise<void> {
    if (instance === undefined) return;
    const name = instanceKey(principal, instance);
    if (this.#locals.has(name) || this.#lastSeen.get(name)! > now - SEEN_EVERY) return;
    const isThere = await this.#run(scripts.SEEN, principal, now, instance, randomUUID(), now + SILENCE, '', this.#maxInstances);
    if (!isThere) throw tooManyInstances(this.#maxInstances);
    this.#lastSeen.set(name, now);
    await this.#due(name, now + SILENCE);
  }

  async opened(session: Session, resume: Partial<Position> | undefined, now: number): Promise<Position> {
    const { principal, instance } = session;
    const name = instanceKey(principal, instance);
    this.#locals.get(name)?.session.replaced();
    const socket = randomUUID();
    const deadline = now + SILENCE;
    const args = [now, instance, randomUUID(), deadline, this.#node, socket, 0, this.#maxInstances];
    const reply = await this.#run(scripts.OPEN, principal, ...args);
    if (!reply) throw tooManyInstances(this.#maxInstances);
    await this.#due(name, deadline);
    const [epoch, number, node] = reply as [string, string, string, string];
    if (node && node !== this.#node) await this.#redis.tell(`node:${node}`, `replaced ${name}`);
    const seq = Number(number);
    const local: Local = {
      ...{ session, socket, epoch, given: seq, lookedAt: now, reading: Promise.resolve(), isWanted: false },
    };
    // a socket that was opened later may have been registered first
    this.#locals.get(name)?.session.replaced();
    this.#locals.set(name, local);
    this.#index(name, true);
    if (resume) {
      const since = resume.epoch === epoch ? Number(resume.seq) : Infinity;
      if (since <= seq) {
        local.given = since;
        await this.#retellTaken(principal, instance, since, now);
      } else await this.push(principal, instance, 'resync', {});
    }
    await this.#read(name, local);
    // the missed events are not kept any more
    if (local.given < seq) await this.push(principal, instance, 'resync', {});
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
    await this.#due(name, deadline);
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
    await Promise.all([this.#endFormer(username), this.#redis.tell(NAMES, username)]);
  }

  #nameToldOf(username: string): void {
    this.#endFormer(username).catch((err: unknown) =>
      this.#log.warn({ err }, 'could not close the sessions of the former owner of a username'),
    );
  }

  /**
   * Ends the sessions of keys that do not hold the name. The name may have passed on again before the message arrives, so the
   * store decides who holds it. If the message is lost, the session stays but gets and writes nothing, because both are bound to
   * the key.
   */
  async #endFormer(username: string): Promise<void> {
    const before = [...(this.#byName.get(username) ?? [])].map((name) => [name, this.#locals.get(name)] as const);
    if (!before.length) return;
    // regardless of expiry: the clock may be wrong
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

  #index(name: string, isThere: boolean): void {
    const username = usernameOf(instanceOf(name).principal);
    const those = this.#byName.get(username) ?? new Set();
    if (isThere) those.add(name);
    else those.delete(name);
    if (those.size) this.#byName.set(username, those);
    else this.#byName.delete(username);
  }

  close(): void {
    this.#ended = true;
    clearInterval(this.#timer);
  }

  /** @param instance empty for all with a socket. @returns how many get it */
  async #push<E extends keyof PushEvents>(
    principal: Principal,
    instance: string,
    event: E,
    data: PushEvents[E],
  ): Promise<number> {
    const text = JSON.stringify({ event, data });
    const bounds = [KEPT_EVENTS, `${this.#redis.prefix}node:`, principal, KEPT_BYTES, KEPT_FOR, randomUUID(), MAX_FAN_OUT];
    return Number(await this.#run(scripts.PUSH, principal, Date.now(), instance, text, ...bounds));
  }

  #hinted(message: string): void {
    const cut = message.indexOf(' ');
    const name = message.slice(cut + 1);
    const local = this.#locals.get(name);
    if (!local) return;
    if (message.slice(0, cut) === 'replaced') local.lookedAt = 0;
    else void this.#read(name, local);
  }

  /** Gives the session the new events; hints that come in the meantime cause one more read. */
  #read(name: string, local: Local): Promise<void> {
    if (local.isWanted) return local.reading;
    local.isWanted = true;
    return (local.reading = local.reading.then(async () => {
      local.isWanted = false;
      if (this.#locals.get(name) !== local) return;
      const { principal, instance } = local.session;
      try {
        const mail = `${this.#base(principal)}mail:${instance}`;
        const found = (await this.#redis.command('XRANGE', mail, `(${local.given}-0`, '+')) as [string, string[]][];
        for (const [id, fields] of found) {
          const seq = Number.parseInt(id);
          if (this.#locals.get(name) !== local || seq <= local.given) continue;
          if (seq > local.given + 1) this.#deliver(local, seq - 1, RESYNC);
          const text = fields[0] === 'ref' ? await this.#event(principal, fields[1]!) : fields[1]!;
          if (this.#locals.get(name) !== local) return;
          local.given = seq;
          this.#deliver(local, seq, text);
        }
      } catch (err) {
        // the next look reads it
        this.#log.warn({ err }, 'could not read a mailbox');
      }
    }));
  }

  /** An event for several instances, or `resync` if it is not kept any more. */
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
      for (const [name, at] of this.#lastSeen) if (at <= now - SEEN_EVERY) this.#lastSeen.delete(name);
      await Promise.all([...this.#locals].map(([name, local]) => this.#look(name, local, now)));
      await this.#giveUp(now);
    } catch (err) {
      this.#log.warn({ err }, 'mailbox maintenance failed');
    } finally {
      this.#isTicking = false;
    }
  }

  /** Reports that the instance is alive, and reads its mailbox in case a hint was lost. */
  async #look(name: string, local: Local, now: number): Promise<void> {
    if (local.lookedAt > now - LOOK_EVERY) return;
    local.lookedAt = now;
    const { principal, instance } = local.session;
    const [reply] = await Promise.all([
      this.#run(scripts.SEEN, principal, now, instance, randomUUID(), now + SILENCE, local.socket, Number.MAX_SAFE_INTEGER),
      this.#due(name, now + SILENCE),
    ]);
    if (this.#locals.get(name) !== local) return;
    const [epoch, seq, socket] = reply as [string, string, string];
    // fewer than the session got: a failover has lost the last ones
    if (epoch !== local.epoch || Number(seq) < local.given) await this.#startAnew(local, now);
    else if (socket !== local.socket) {
      this.#forget(name);
      local.session.replaced();
    } else if (Number(seq) > local.given) await this.#read(name, local);
  }

  /** Redis has lost the mailbox: the client must ask for everything. */
  async #startAnew(local: Local, now: number): Promise<void> {
    const { principal, instance } = local.session;
    // numbers continue from the client's position: it would ignore smaller ones as repeats
    const args = [now, instance, randomUUID(), now + SILENCE, this.#node, local.socket, local.given, Number.MAX_SAFE_INTEGER];
    const [epoch, seq] = (await this.#run(scripts.OPEN, principal, ...args)) as [string, string];
    local.epoch = epoch;
    local.given = Number(seq);
    await this.#push(principal, instance, 'resync', {});
  }

  /** Withdraws the offers of silent instances of any server; each instance is handled by one server. */
  async #giveUp(now: number): Promise<void> {
    const from = now < this.#inReachSince + SILENCE ? String(this.#inReachSince) : '-inf';
    const due = this.#redis.prefix + ALIVE;
    const names = (await this.#redis.command(
      ...['ZRANGE', due, from, String(now), 'BYSCORE', 'LIMIT', '0', String(GIVE_UP_AT_ONCE)],
    )) as string[];
    for (const name of names) {
      const { principal, instance } = instanceOf(name);
      const verdict = await this.#run(scripts.GIVE_UP, principal, now, instance);
      if (verdict !== 1) {
        await this.#redis.command('ZADD', due, 'GT', String(verdict), name);
        continue;
      }
      const services = distinct(await this.#store.withdrawInstance(principal, instance, now));
      await this.#redis.command('ZREM', due, name);
      for (const service of services) this.#onGone(service);
    }
    if (names.length === GIVE_UP_AT_ONCE && !this.#ended) await this.#giveUp(now);
  }

  /** A publisher's acknowledgements may have been lost with its previous socket: sends `taken` to the joiners again. */
  async #retellTaken(principal: Principal, instance: string, since: number, now: number): Promise<void> {
    const mail = `${this.#base(principal)}mail:${instance}`;
    const found = (await this.#redis.command('XRANGE', mail, '-', `${since}-0`)) as [string, string[]][];
    for (const [, fields] of found) {
      // an event for several instances is not an answer
      if (fields[0] === 'ref') continue;
      const { event, data } = JSON.parse(fields[1]!) as { event: string; data: PushEvents['answer'] };
      if (event !== 'answer' || data.answeredAt <= now - RETELL) continue;
      const origin = answerOrigin(data);
      await this.push(origin.answerer, origin.instance, 'taken', { offerId: origin.offerId });
    }
  }

  /** Schedules the check whether the instance is still there. */
  #due(name: string, deadline: number): Promise<unknown> {
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

/** Channel for usernames that were released or passed to another key. */
const NAMES = 'names';
const RESYNC = JSON.stringify({ event: 'resync', data: {} });
/** Instances by the time at which they are given up. */
const ALIVE = 'alive:{}';
