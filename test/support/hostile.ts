/**
 * A hostile client that makes every protocol call slightly more often than allowed, either from its own IP address or with one
 * key over many sockets. The client counts the replies but does not store them.
 */
import { Agent, request } from 'node:http';
import { randomBytes, randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { PUSH_SUBPROTOCOL, type RpcMethod } from '../../src/protocol/index.js';
import { anonymous, newInstance, openSessionFrame, signV2, type Identity } from '../server/helpers.js';

/** IP address of the hostile client, different from the honest clients' address, because the server has limits per address. */
const ADDRESS = '127.0.0.2';
/** Number of calls per second: the server allows 6000 points per 10 s, and nearly every call costs more than one point. */
const CALLS_A_SECOND = 600;
/**
 * Number of calls per second with one key, for which the server allows 2000 points per 10 s. The server disconnects a client
 * that keeps sending large frames beyond that limit.
 */
const CALLS_OF_A_KEY = 50;
const TICK = 20;
const SDP = 'v=0\r\n'.padEnd(1500, 'a=candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host\r\n');
const METADATA = { list: Array.from({ length: 300 }, (_, index) => [index, 'text']) };
const UNKNOWN = Array.from({ length: 1000 }, (_, index) => `unknown-${index}`);
const LONG = 'x'.repeat(60_000);
const candidates = Array.from({ length: 100 }, (_, index) => ({ candidate: `candidate:${index} 1 udp 1 192.0.2.1 5 typ host` }));

export interface Hostility {
  /** Number of calls made per method, and number of calls answered with a result or an error. */
  readonly made: Map<string, number>;
  readonly answered: Map<string, number>;
  stop(): void;
}

type Call = [method: RpcMethod, params: object];

/** Generates the most expensive calls of every method in turn. */
class Calls {
  #count = 0;
  #offers: { serviceFqn: string; offerId: string }[] = [];
  readonly #services: string[] = [];

  /** Stores the result of a publication, so that later calls can answer its offers. */
  published(result: { serviceId: string; serviceFqn: string; offers: { offerId: string }[] }): void {
    if (this.#services.length < 100) this.#services.push(result.serviceId);
    this.#offers.push(...result.offers.slice(0, 5).map(({ offerId }) => ({ serviceFqn: result.serviceFqn, offerId })));
    if (this.#offers.length > 1000) this.#offers = this.#offers.slice(-500);
  }

  next(own: string, other: string): Call {
    const n = this.#count++;
    const of = (username: string): string => `evil-${n % 50}:1.0.0@${username}`;
    const offer = this.#offers[n % Math.max(1, this.#offers.length)] ?? { serviceFqn: of(other), offerId: 'none' };
    const offers = (): object[] =>
      Array.from({ length: n % 8 === 0 ? 100 : 5 }, (_, index) => ({
        sdp: `${SDP}${n} ${index}`,
        ...(index % 5 === 0 && { for: other }),
      }));
    const serviceId = (): string => this.#services[n % Math.max(1, this.#services.length)] ?? randomUUID();
    const all: (() => Call)[] = [
      () => ['publishService', { serviceFqn: of(own), offers: offers(), ttl: 86_400_000, metadata: METADATA }],
      () => ['getService', { serviceFqn: `evil-${n % 50}:1.0.0`, limit: 100 }],
      () => ['getService', { serviceFqn: `evil-${n % 50}:1.0.0` }],
      () => ['getService', { serviceFqn: `nobody-${n}:1.0.${n}`, wait: 20_000 }],
      () => ['getService', { serviceFqn: of(other), wait: 20_000 }],
      () => ['getServiceById', { serviceId: serviceId(), wait: 20_000 }],
      () => ['answerOffer', { ...offer, sdp: SDP }],
      () => ['addIceCandidates', { ...offer, candidates }],
      () => ['getIceCandidates', { ...offer, since: 0 }],
      () => ['getOfferAnswer', offer],
      () => ['signal', { to: other, sid: 'abcdefgh', sdp: LONG }],
      () => ['withdrawOffers', { serviceFqn: of(own), offerIds: UNKNOWN }],
      () => ['poll', { since: 0 }],
      () => ['getUser', { username: `nobody-${n}` }],
      () => ['getIceServers', {}],
      () => ['deleteService', { serviceFqn: `other-${n}:1.0.0@${own}` }],
      () => (n % 500 === 16 ? ['releaseUsername', {}] : ['poll', {}]),
    ];
    return all[n % all.length]!();
  }
}

function counting(): Pick<Hostility, 'made' | 'answered'> & { count(which: 'made' | 'answered', method: string): void } {
  const counts = { made: new Map<string, number>(), answered: new Map<string, number>() };
  return { ...counts, count: (which, method) => void counts[which].set(method, (counts[which].get(method) ?? 0) + 1) };
}

/** Makes signed calls over HTTP with eight keys, with a new instance id for each call. */
export function attackFromOneAddress(url: string, callsASecond = CALLS_A_SECOND): Hostility {
  const { made, answered, count } = counting();
  const calls = new Calls();
  const keys = Array.from({ length: 8 }, anonymous);
  const agent = new Agent({ keepAlive: true, maxSockets: 400, localAddress: ADDRESS });
  const { port, host } = new URL(url);
  let turn = 0;
  const make = (): void => {
    const [own, other] = [keys[turn % 8]!, keys[(turn + 1) % 8]!];
    turn++;
    const [method, params] = calls.next(own.username, other.username);
    const body = JSON.stringify(signV2(own, method, { ...params, instance: newInstance() }, url));
    const outgoing = request({ host: '127.0.0.1', port, path: '/rpc', method: 'POST', agent, headers: { host } }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        count('answered', method);
        if (method !== 'publishService') return;
        const { result } = JSON.parse(Buffer.concat(chunks).toString()) as { result?: Parameters<Calls['published']>[0] };
        if (result) calls.published(result);
      });
    });
    outgoing.on('error', () => undefined);
    outgoing.end(body);
    count('made', method);
  };
  const timer = setInterval(() => {
    for (let i = 0; i < (callsASecond * TICK) / 1000; i++) make();
  }, TICK);
  const stop = (): void => {
    clearInterval(timer);
    agent.destroy();
  };
  return { made, answered, stop };
}

/** Opens many sessions with one key; all of them make calls, wait for offers and signal each other. */
export async function attackWithOneKey(url: string, sockets: number, callsASecond = CALLS_OF_A_KEY): Promise<Hostility> {
  const { made, answered, count } = counting();
  const calls = new Calls();
  const key: Identity = anonymous();
  const open: WebSocket[] = [];
  for (let i = 0; i < sockets; i++) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, PUSH_SUBPROTOCOL, { localAddress: ADDRESS });
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    socket.on('error', () => undefined);
    const methods = new Map<number, string>();
    socket.send(JSON.stringify({ id: 0, ...openSessionFrame(url, key, newInstance()) }));
    await new Promise((resolve) => socket.once('message', resolve));
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(String(data)) as { id?: number; result?: Parameters<Calls['published']>[0]; ping?: true };
      if (frame.ping) socket.send('{"pong":true}');
      const method = methods.get(frame.id ?? -1);
      if (method === undefined) return;
      methods.delete(frame.id!);
      count('answered', method);
      if (method === 'publishService' && frame.result) calls.published(frame.result);
    });
    Object.assign(socket, { methods });
    open.push(socket);
  }
  let turn = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < (callsASecond * TICK) / 1000; i++) {
      const socket = open[turn % open.length] as WebSocket & { methods: Map<number, string> };
      const [method, params] = calls.next(key.username, key.username);
      const id = ++turn;
      if (socket.readyState !== WebSocket.OPEN) continue;
      socket.methods.set(id, method);
      socket.send(JSON.stringify({ id, method, params }));
      // invalid frames are charged too
      socket.send(JSON.stringify({ ack: turn, filler: randomBytes(64).toString('hex') }));
      count('made', method);
    }
  }, TICK);
  return { made, answered, stop: () => (clearInterval(timer), open.forEach((socket) => socket.terminate())) };
}
