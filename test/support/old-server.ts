/**
 * A stand-in for the v0.5.4 signaling server: serves POST /rpc, / and /health with the storage rules described in part 1 of
 * protocol.md. Publishing deletes the earlier offers of the service, including answered offers and the candidates of both
 * peers. The id of an offer is the hash of its description. Every joiner receives the oldest free offer. `deleteService` keeps
 * the offers. `poll` returns only answers and candidates for the caller's own offers. Timestamps of candidates may be in the
 * future. Signatures are checked as in the original: the second part of the message is the username, and the last part is the
 * timestamp.
 */
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { TestContext } from 'node:test';
import type { WireCandidate } from '../../src/protocol/index.js';
import { listenFor } from './set-up.js';

/** Minimum and maximum `ttl`, in ms. */
const MIN_TTL = 60_000;
const MAX_TTL = 86_400_000;

interface OldCandidate {
  id: number;
  offerId: string;
  username: string;
  role: 'offerer' | 'answerer';
  candidate: WireCandidate;
  createdAt: number;
}
interface OldOffer {
  offerId: string;
  username: string;
  serviceId: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
  answer?: { answererId: string; sdp: string; answeredAt: number };
  candidates: OldCandidate[];
}
interface OldService {
  serviceId: string;
  username: string;
  serviceFqn: string;
  createdAt: number;
  expiresAt: number;
}
interface Params {
  username: string;
  serviceFqn: string;
  offerId: string;
  sdp: string;
  offers: { sdp: string }[];
  ttl?: number;
  limit?: number;
  offset?: number;
  since?: number;
  candidates: WireCandidate[];
}
export interface RecordedCall {
  method: string;
  params: Record<string, unknown>;
}

export class OldServer {
  /** Every received call, in order. */
  readonly calls: RecordedCall[] = [];
  /** Requested paths that the server does not serve. */
  readonly otherPaths: string[] = [];
  url = '';
  readonly #keys = new Map<string, string>();
  /** Services by FQN. */
  readonly #services = new Map<string, OldService>();
  /** Offers by id, in order of creation. */
  readonly #offers = new Map<string, OldOffer>();
  #candidates = 0;
  /** Overrides the handling of each call, for tests that act before or after `carryOut`. */
  onCall: ((call: RecordedCall, carryOut: () => unknown) => unknown) | undefined;
  readonly #http = createServer((request, response) => void this.#receive(request, response));

  static async start(t: TestContext): Promise<OldServer> {
    const server = new OldServer();
    server.#http.on('upgrade', (request, socket) => {
      socket.on('error', () => undefined); // a client that gives up resets the connection
      server.otherPaths.push(request.url ?? '');
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    });
    server.url = await listenFor(t, server.#http);
    return server;
  }

  /** Number of unanswered offers of a service. */
  free(serviceFqn: string): number {
    return this.listed(serviceFqn).length;
  }

  /** Ids of the unanswered offers of a service, in the order in which they are handed out. */
  listed(serviceFqn: string): string[] {
    const offers = this.#offersOf(this.#services.get(serviceFqn));
    return offers.filter(({ answer }) => !answer).map(({ offerId }) => offerId);
  }

  /** Number of answered offers of a service. */
  answered(serviceFqn: string): number {
    return this.#offersOf(this.#services.get(serviceFqn)).filter(({ answer }) => answer).length;
  }

  /** Deletes an offer, as happens when a v0.20 host publishes its next one. */
  drop(offerId: string): void {
    this.#offers.delete(offerId);
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const send = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json', 'access-control-allow-origin': '*' });
      response.end(JSON.stringify(body));
    };
    if (request.url === '/') return send(200, { name: 'Rondevu', version: '0.5.4', description: 'a stand-in' });
    if (request.url === '/health') return send(200, { status: 'ok', timestamp: Date.now(), version: '0.5.4' });
    if (request.url !== '/rpc') {
      this.otherPaths.push(request.url ?? '');
      return send(404, { error: 'Not Found' });
    }
    const body = JSON.parse(text) as unknown;
    if (!Array.isArray(body)) return send(200, await this.#respond(body));
    if (!body.length) return send(400, { error: 'Empty request array' });
    const replies: unknown[] = [];
    for (const item of body) replies.push(await this.#respond(item));
    send(200, replies);
  }

  async #respond(item: unknown): Promise<unknown> {
    const { method, message, signature, publicKey, params = {} } = item as Record<string, string> & { params?: object };
    const call = { method: method!, params: { ...params } };
    this.calls.push(call);
    const carryOut = () => {
      const username = this.#authenticate(method!, message!, signature!, publicKey);
      return this.#call(method!, params as Params, username);
    };
    try {
      return { success: true, result: await (this.onCall ? this.onCall(call, carryOut) : carryOut()) };
    } catch (error) {
      return { success: false, error: (error as Error).message };
    }
  }

  #authenticate(method: string, message: string, signature: string, publicKey: string | undefined): string {
    const parts = message.split(':');
    const username = parts[1]!;
    if (Math.abs(Date.now() - Number(parts.at(-1))) > 300_000) throw new Error('Timestamp too old or too far in future');
    const key = this.#keys.get(username) ?? publicKey;
    if (key === undefined && method === 'getUser') return username;
    if (key === undefined) throw new Error(`Username "${username}" is not claimed and no public key provided`);
    const x = Buffer.from(key, 'base64').toString('base64url');
    const object = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    if (!verify(null, Buffer.from(message), object, Buffer.from(signature, 'base64'))) throw new Error('Invalid signature');
    if (method !== 'getUser' || publicKey !== undefined) this.#keys.set(username, key);
    return username;
  }

  #call(method: string, params: Params, username: string): unknown {
    switch (method) {
      case 'getUser': {
        const publicKey = this.#keys.get(params.username);
        if (publicKey === undefined) return { username: params.username, available: true };
        return { username: params.username, available: false, claimedAt: 1, expiresAt: Date.now() + 1e9, publicKey };
      }
      case 'publishService':
        return this.#publish(params, username);
      case 'getService':
        return this.#getService(params);
      case 'deleteService':
        if (!this.#services.has(params.serviceFqn)) throw new Error('Service not found');
        if (this.#services.get(params.serviceFqn)?.username !== username)
          throw new Error('Service not found or not owned by this username');
        // the offers of the service remain, and can be answered until they expire
        return { success: this.#services.delete(params.serviceFqn) };
      case 'answerOffer': {
        const offer = this.#offer(params.offerId);
        if (offer.answer) throw new Error('Offer already answered');
        offer.answer = { answererId: username, sdp: params.sdp, answeredAt: Date.now() };
        return { success: true, offerId: params.offerId };
      }
      case 'getOfferAnswer': {
        const offer = this.#offer(params.offerId);
        if (offer.username !== username) throw new Error('Not authorized to access this offer');
        if (!offer.answer) throw new Error('Offer not yet answered');
        return { offerId: offer.offerId, ...offer.answer };
      }
      case 'poll':
        return this.#poll(params.since ?? 0, username);
      case 'addIceCandidates': {
        const offer = this.#offer(params.offerId);
        const { offerId } = offer;
        const role = offer.username === username ? ('offerer' as const) : ('answerer' as const);
        const base = Date.now();
        for (const [index, candidate] of params.candidates.entries())
          offer.candidates.push({ id: ++this.#candidates, offerId, username, role, candidate, createdAt: base + index });
        return { count: params.candidates.length, offerId };
      }
      case 'getIceCandidates': {
        const offer = this.#offer(params.offerId);
        const role = offer.username === username ? 'answerer' : 'offerer';
        const found = offer.candidates.filter((one) => one.role === role && one.createdAt > (params.since ?? 0));
        return { candidates: found.map(({ candidate, createdAt }) => ({ candidate, createdAt })), offerId: params.offerId };
      }
      default:
        throw new Error(`Unknown method: ${method}`);
    }
  }

  #publish({ serviceFqn, offers, ttl }: Params, username: string): unknown {
    if (!serviceFqn.endsWith(`@${username}`)) throw new Error('Service FQN username must match authenticated username');
    if (!offers.length) throw new Error('Must provide at least one offer');
    if (offers.length > 100) throw new Error('Too many offers (max 100)');
    const now = Date.now();
    const expiresAt = now + (ttl === undefined ? MIN_TTL : Math.min(Math.max(ttl, MIN_TTL), MAX_TTL));
    for (const { offerId } of this.#offersOf(this.#services.get(serviceFqn))) this.#offers.delete(offerId);
    const service = { serviceId: randomUUID(), username, serviceFqn, createdAt: now, expiresAt };
    this.#services.set(serviceFqn, service);
    const created = offers.map(({ sdp }) => {
      const offerId = createHash('sha256').update(JSON.stringify({ sdp })).digest('hex');
      if (this.#offers.has(offerId)) throw new Error('UNIQUE constraint failed: offers.id');
      const { serviceId } = service;
      this.#offers.set(offerId, { offerId, username, serviceId, sdp, createdAt: now, expiresAt, candidates: [] });
      return { offerId, sdp, createdAt: now, expiresAt };
    });
    return { ...service, offers: created };
  }

  #getService({ serviceFqn, limit, offset = 0 }: Params): unknown {
    const first = (service: OldService) => {
      const offer = this.#offersOf(service).find(({ answer }) => !answer);
      return offer && { ...service, offerId: offer.offerId, sdp: offer.sdp };
    };
    const live = [...this.#services.values()].filter(({ expiresAt }) => expiresAt > Date.now());
    const named = live.filter((service) => service.serviceFqn.split('@')[0] === serviceFqn.split('@')[0]);
    if (limit !== undefined) {
      const all = named.map(first).filter((entry) => entry !== undefined);
      const services = all.slice(offset, offset + limit);
      return { services, count: services.length, limit, offset };
    }
    const isDirect = serviceFqn.includes('@');
    const service = isDirect ? named.find((one) => one.serviceFqn === serviceFqn) : named.find(first);
    if (!service) throw new Error(isDirect ? 'Service not found' : 'No services found');
    const entry = first(service);
    if (!entry) throw new Error('Service has no available offers');
    return entry;
  }

  #poll(since: number, username: string): unknown {
    const answers = [];
    const iceCandidates: Record<string, unknown[]> = {};
    for (const { offerId, serviceId, expiresAt, answer, candidates, username: owner } of this.#offers.values()) {
      if (owner !== username || expiresAt <= Date.now()) continue;
      if (answer && answer.answeredAt > since) answers.push({ offerId, serviceId, ...answer });
      const fresh = candidates.filter(({ role, createdAt }) => role === 'answerer' && createdAt > since);
      if (fresh.length) iceCandidates[offerId] = fresh;
    }
    return { answers, iceCandidates };
  }

  #offersOf(service: OldService | undefined): OldOffer[] {
    return [...this.#offers.values()].filter(
      ({ serviceId, expiresAt }) => serviceId === service?.serviceId && expiresAt > Date.now(),
    );
  }

  /** @throws Error if the offer does not exist or has expired */
  #offer(offerId: string): OldOffer {
    const offer = this.#offers.get(offerId);
    if (!offer || offer.expiresAt <= Date.now()) throw new Error('Offer not found');
    return offer;
  }
}
