/**
 * A stand-in for a signaling server of v0.5.4, as part 1 of protocol.md describes it: POST /rpc, / and /health. Publishing
 * replaces, everybody gets the same oldest offer, only the exact version is found, poll gives answerers nothing, and candidate
 * times run into the future. Signatures are really checked, as it does: part 2 of the message is the name, the last the time.
 */
import { createPublicKey, randomBytes, randomUUID, verify } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { WireCandidate } from '../../src/protocol/index.js';

interface OldOffer {
  offerId: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
  answer?: { answererId: string; sdp: string; answeredAt: number };
  candidates: { username: string; role: 'offerer' | 'answerer'; candidate: WireCandidate; createdAt: number }[];
}
interface OldService {
  serviceId: string;
  username: string;
  serviceFqn: string;
  createdAt: number;
  expiresAt: number;
  offers: OldOffer[];
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
  /** Every call that came, in order. */
  readonly calls: RecordedCall[] = [];
  /** Paths that were asked for besides /rpc. */
  readonly otherPaths: string[] = [];
  url = '';
  readonly #keys = new Map<string, string>();
  readonly #services = new Map<string, OldService>();
  readonly #http = createServer((request, response) => void this.#receive(request, response));

  static async start(t: TestContext): Promise<OldServer> {
    const server = new OldServer();
    server.#http.on('upgrade', (request, socket) => {
      socket.on('error', () => undefined); // a client that gives up resets it
      server.otherPaths.push(request.url ?? '');
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.#http.listen(0, '127.0.0.1', resolve));
    server.url = `http://127.0.0.1:${(server.#http.address() as AddressInfo).port}`;
    t.after(() => {
      server.#http.closeAllConnections();
      server.#http.close();
    });
    return server;
  }

  /** Unanswered offers of a service. */
  free(serviceFqn: string): number {
    return this.#services.get(serviceFqn)?.offers.filter(({ answer }) => !answer).length ?? 0;
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
    send(200, Array.isArray(body) ? body.map((item) => this.#respond(item)) : this.#respond(body));
  }

  #respond(item: unknown): unknown {
    const { method, message, signature, publicKey, params = {} } = item as Record<string, string> & { params?: object };
    this.calls.push({ method: method!, params: { ...params } });
    try {
      const username = this.#authenticate(method!, message!, signature!, publicKey);
      return { success: true, result: this.#call(method!, params as Params, username) };
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
        if (this.#services.get(params.serviceFqn)?.username !== username)
          throw new Error('Service not found or not owned by this username');
        return { success: this.#services.delete(params.serviceFqn) };
      case 'answerOffer': {
        const { offer } = this.#offer(params.offerId);
        if (offer.answer) throw new Error('Offer already answered');
        offer.answer = { answererId: username, sdp: params.sdp, answeredAt: Date.now() };
        return { success: true, offerId: params.offerId };
      }
      case 'getOfferAnswer': {
        const { offer, service } = this.#offer(params.offerId);
        if (service.username !== username) throw new Error('Not authorized to access this offer');
        if (!offer.answer) throw new Error('Offer not yet answered');
        return { offerId: offer.offerId, ...offer.answer };
      }
      case 'poll':
        return this.#poll(params.since ?? 0, username);
      case 'addIceCandidates': {
        const { offer, service } = this.#offer(params.offerId);
        const role = service.username === username ? ('offerer' as const) : ('answerer' as const);
        const base = Date.now();
        params.candidates.forEach((candidate, index) =>
          offer.candidates.push({ username, role, candidate, createdAt: base + index }),
        );
        return { count: params.candidates.length, offerId: params.offerId };
      }
      case 'getIceCandidates': {
        const { offer, service } = this.#offer(params.offerId);
        const role = service.username === username ? 'answerer' : 'offerer';
        const found = offer.candidates.filter((one) => one.role === role && one.createdAt > (params.since ?? 0));
        return { candidates: found.map(({ candidate, createdAt }) => ({ candidate, createdAt })), offerId: params.offerId };
      }
      default:
        throw new Error(`Unknown method: ${method}`);
    }
  }

  #publish({ serviceFqn, offers, ttl = 300_000 }: Params, username: string): unknown {
    if (!serviceFqn.endsWith(`@${username}`)) throw new Error('Service username must match authenticated username');
    const now = Date.now();
    const serviceId = this.#services.get(serviceFqn)?.serviceId ?? randomUUID();
    // all earlier offers go, answered ones too
    const kept = offers.map(({ sdp }) => ({
      offerId: randomBytes(32).toString('hex'),
      sdp,
      createdAt: now,
      expiresAt: now + ttl,
      candidates: [],
    }));
    const service = { serviceId, username, serviceFqn, createdAt: now, expiresAt: now + ttl, offers: kept };
    this.#services.set(serviceFqn, service);
    const told = kept.map(({ offerId, sdp, createdAt, expiresAt }) => ({ offerId, sdp, createdAt, expiresAt }));
    return { ...service, offers: told };
  }

  #getService({ serviceFqn, limit, offset = 0 }: Params): unknown {
    const found = [...this.#services.values()].filter(
      (service) => service.serviceFqn === serviceFqn || service.serviceFqn.split('@')[0] === serviceFqn,
    );
    const first = ({ offers, ...service }: OldService) => {
      const offer = offers.find(({ answer }) => !answer);
      const { serviceId, username } = service;
      return (
        offer && {
          ...{ serviceId, username, serviceFqn: service.serviceFqn },
          ...{ offerId: offer.offerId, sdp: offer.sdp, createdAt: offer.createdAt, expiresAt: offer.expiresAt },
        }
      );
    };
    if (limit !== undefined) {
      const services = found
        .map(first)
        .filter((entry) => entry !== undefined)
        .slice(offset, offset + limit);
      return { services, count: services.length, limit, offset };
    }
    if (!found.length) throw new Error(serviceFqn.includes('@') ? 'Service not found' : 'No services found');
    const entry = found.map(first).find((one) => one !== undefined);
    if (!entry) throw new Error(`No available offers for service: ${serviceFqn}`);
    return entry;
  }

  #poll(since: number, username: string): unknown {
    const answers = [];
    const iceCandidates: Record<string, unknown[]> = {};
    for (const service of this.#services.values()) {
      if (service.username !== username) continue;
      for (const { offerId, answer, candidates } of service.offers) {
        if (answer && answer.answeredAt > since) answers.push({ offerId, serviceId: service.serviceId, ...answer });
        // both sides' own ones are mixed in, as it does
        const fresh = candidates.filter(({ createdAt }) => createdAt > since);
        if (fresh.length) iceCandidates[offerId] = fresh;
      }
    }
    return { answers, iceCandidates };
  }

  #offer(offerId: string): { offer: OldOffer; service: OldService } {
    for (const service of this.#services.values()) {
      const offer = service.offers.find((one) => one.offerId === offerId);
      if (offer && offer.expiresAt > Date.now()) return { offer, service };
    }
    throw new Error('Offer not found or expired');
  }
}
