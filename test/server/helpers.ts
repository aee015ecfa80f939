/**
 * Helpers for the server tests: servers on a free port, an HTTP client, a push socket client, and identities that sign in the
 * old form and in v2. Signatures are made with node:crypto, so that the engine's signer is not tested against itself.
 */
import assert from 'node:assert/strict';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto';
import { spawn, type ChildProcess } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { createServer, type RunningServer, type ServerOptions } from '../../server/src/index.js';
import {
  LEGACY_CONTEXT,
  PUSH_SUBPROTOCOL,
  digestInput,
  legacyMessage,
  v2Message,
  type OpenSessionResult,
  type PushEvents,
  type RpcMethod,
  type RpcParams,
  type RpcRequest,
  type RpcResult,
  type ServiceEntry,
} from '../../src/protocol/index.js';

import { temporaryFolder } from '../support/folders.js';
import { until } from '../support/until.js';

export { mockClock } from './mock-clock.js';
export { until };

/** Error that the client receives for a refused call. */
export class CallError extends Error {
  readonly code: string | undefined;
  readonly details: Record<string, unknown>;

  constructor(message: string, code: string | undefined, details: Record<string, unknown> = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/**
 * Resolves when a raw connection has closed. If the server closes a connection with unread data, the connection is reset, and
 * `error` is emitted before `close`.
 */
export function closed(socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

export interface RawConnection {
  socket: Socket;
  /** Everything received so far. */
  received(): string;
  closed: Promise<void>;
}

/** Opens a TCP connection to a server on this machine; the connection is destroyed when the test ends. */
export function connectRaw(t: TestContext, port: number): RawConnection {
  const socket = connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  let received = '';
  socket.on('data', (data) => (received += String(data)));
  return { socket, received: () => received, closed: closed(socket) };
}

/**
 * Asserts that a call is refused with the given code.
 * @returns the error
 */
export async function refused(call: Promise<unknown>, code: string): Promise<CallError> {
  const error = await call.then(
    (result) => assert.fail(`expected ${code}, got ${JSON.stringify(result)}`),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof CallError, String(error));
  assert.equal(error.code, code, error.message);
  return error;
}

const DER_SEED = Buffer.from('302e020100300506032b657004220420', 'hex');

export class Identity {
  readonly username: string;
  readonly publicKey: string;
  readonly #key: KeyObject;

  /** @param seed 32 bytes in base64; default: a new key */
  constructor(username: string, seed?: string) {
    this.username = username;
    this.#key = seed
      ? createPrivateKey({ key: Buffer.concat([DER_SEED, Buffer.from(seed, 'base64')]), format: 'der', type: 'pkcs8' })
      : generateKeyPairSync('ed25519').privateKey;
    const { x } = createPublicKey(this.#key).export({ format: 'jwk' });
    this.publicKey = Buffer.from(x!, 'base64url').toString('base64');
  }

  /** Returns an identity with the same key and a different name. */
  as(username: string): Identity {
    const other = Object.create(this) as Identity;
    Object.defineProperty(other, 'username', { value: username });
    Object.defineProperty(other, 'signText', { value: (text: string) => this.signText(text) });
    return other;
  }

  signText(text: string): string {
    return sign(null, Buffer.from(text), this.#key).toString('base64');
  }
}

let count = 0;
/** Creates an identity with a name that no other test in this process uses. */
export const someone = (prefix = 'user'): Identity => new Identity(`${prefix}-${++count}`);

export const anonymous = (): Identity => {
  const key = new Identity('x');
  return key.as(anonymousNameFor(key.publicKey));
};

/** Computes an anonymous name without the engine: `anon-` and the first 26 base32 characters of SHA-256(key). */
export function anonymousNameFor(publicKey: string): string {
  const hash = createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest();
  const bits = [...hash].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const letters = bits.match(/.{5}/g)!.map((five) => 'abcdefghijklmnopqrstuvwxyz234567'[parseInt(five, 2)]);
  return `anon-${letters.join('').slice(0, 26)}`;
}

/** Values that override the correct ones in a signed call. */
export interface SignOptions {
  timestamp?: number;
  nonce?: string;
  aud?: string;
  message?: string;
  signature?: string;
  publicKey?: string | undefined;
}

export function signOld(identity: Identity, method: string, params: unknown, options: SignOptions = {}): RpcRequest {
  const known = Object.hasOwn(LEGACY_CONTEXT, method) ? LEGACY_CONTEXT[method as RpcMethod] : undefined;
  const context = known as ((params: unknown) => string) | undefined;
  const { timestamp = Date.now() } = options;
  const message = options.message ?? legacyMessage(method, identity.username, context?.(params ?? {}) ?? '', timestamp);
  return finish(identity, method, params, message, options);
}

export function signV2(identity: Identity, method: string, params: unknown, aud: string, options: SignOptions = {}): RpcRequest {
  const { timestamp = Date.now(), nonce = randomBytes(16).toString('base64url') } = options;
  const digest = createHash('sha256')
    .update(digestInput(options.aud ?? aud, method, params))
    .digest('base64url');
  const message = options.message ?? v2Message(method, identity.username, nonce, digest, timestamp);
  return finish(identity, method, params, message, options);
}

function finish(identity: Identity, method: string, params: unknown, message: string, options: SignOptions): RpcRequest {
  return {
    method,
    message,
    signature: options.signature ?? identity.signText(message),
    ...('publicKey' in options
      ? options.publicKey !== undefined && { publicKey: options.publicKey }
      : { publicKey: identity.publicKey }),
    ...(params !== undefined && { params }),
  };
}

export interface HttpReply {
  status: number;
  headers: Headers;
  body: unknown;
}

/** POSTs a body to /rpc: a string is sent unchanged, any other value as JSON. */
export async function post(url: string, body: unknown, signal?: AbortSignal): Promise<HttpReply> {
  const response = await fetch(`${url}/rpc`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal && { signal }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/**
 * Returns the result in a reply.
 * @throws CallError if the call failed
 */
export function resultOf(body: unknown): unknown {
  const reply = body as { success: boolean; result?: unknown; error?: string; code?: string } & Record<string, unknown>;
  if (reply.success === true) return reply.result;
  const { error, code, ...details } = reply;
  throw new CallError(String(error), code, details);
}

/** A client over HTTP. */
export class Client {
  readonly url: string;
  readonly identity: Identity;
  readonly form: 'old' | 'v2';
  readonly instance: string | undefined;

  constructor(url: string, identity: Identity = someone(), form: 'old' | 'v2' = 'v2', instance?: string) {
    this.url = url;
    this.identity = identity;
    this.form = form;
    this.instance = instance;
  }

  get username(): string {
    return this.identity.username;
  }

  signed(method: string, params: unknown, options: SignOptions = {}): RpcRequest {
    return this.form === 'old'
      ? signOld(this.identity, method, params, options)
      : signV2(this.identity, method, params, this.url, options);
  }

  /** @throws CallError */
  async call<M extends RpcMethod>(
    method: M,
    params: RpcParams<M>,
    options: SignOptions & { signal?: AbortSignal } = {},
  ): Promise<RpcResult<M>> {
    const withInstance = { ...params, ...(this.instance !== undefined && INSTANCED.has(method) && { instance: this.instance }) };
    const { status, body } = await post(this.url, this.signed(method, withInstance, options), options.signal);
    assert.ok(status === 200 || status === 429, `a failed call is HTTP 200 as well, got ${status}`);
    return resultOf(body) as RpcResult<M>;
  }

  publish(
    serviceFqn: string,
    sdps: string[],
    more: Partial<RpcParams<'publishService'>> = {},
  ): Promise<RpcResult<'publishService'>> {
    return this.call('publishService', { serviceFqn, offers: sdps.map((sdp) => ({ sdp })), ...more });
  }

  /** Looks up a service without `limit`, and returns one service with one leased offer. */
  async take(serviceFqn: string, more: Partial<RpcParams<'getService'>> = {}, signal?: AbortSignal): Promise<ServiceEntry> {
    return (await this.call('getService', { serviceFqn, ...more }, signal ? { signal } : {})) as ServiceEntry;
  }

  async answer(offer: { serviceFqn: string; offerId: string }, sdp = `answer of ${this.username}`): Promise<void> {
    await this.call('answerOffer', { serviceFqn: offer.serviceFqn, offerId: offer.offerId, sdp });
  }

  async addCandidates(offer: { serviceFqn: string; offerId: string }, ...lines: string[]): Promise<void> {
    const candidates = lines.map((candidate) => ({ candidate, sdpMid: '0', sdpMLineIndex: 0 }));
    await this.call('addIceCandidates', { serviceFqn: offer.serviceFqn, offerId: offer.offerId, candidates });
  }
}

const INSTANCED = new Set<string>(['publishService', 'getService', 'getServiceById', 'answerOffer', 'poll']);

export const newInstance = (): string => randomBytes(12).toString('base64url');

export type PushEvent<E extends keyof PushEvents> = { event: E; data: PushEvents[E]; seq: number };
type AnyEvent = { event: string; data: unknown; seq: number };

/** A raw push socket that collects frames and matches replies to calls. */
export class PushSocket {
  readonly socket: WebSocket;
  readonly frames: Record<string, unknown>[] = [];
  readonly events: AnyEvent[] = [];
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
  /** Whether the socket answers pings. */
  pongs = true;
  /** Whether the socket collects frames and events. */
  keeps = true;
  #id = 0;
  readonly #pending = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();

  constructor(url: string, options: { protocols?: string[]; headers?: Record<string, string> } = {}) {
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/ws`, options.protocols ?? [PUSH_SUBPROTOCOL], {
      headers: options.headers ?? {},
    });
    this.socket.on('message', (data: Buffer) => this.#receive(JSON.parse(String(data)) as Record<string, unknown>));
    this.socket.on('error', () => undefined); // `close` follows
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code: number) => {
        for (const { reject } of this.#pending.values()) reject(new CallError('the socket closed', 'closed'));
        resolve(code);
      });
    });
  }

  /**
   * Resolves when the upgrade has succeeded.
   * @throws Error with the HTTP status if the upgrade is refused
   */
  async connect(): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.socket.once('open', resolve);
      this.socket.once('unexpected-response', (_request, response) => reject(new Error(`HTTP ${response.statusCode}`)));
      this.socket.once('error', reject);
    });
    return this;
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Sends a frame with a new id and waits for the reply. @throws CallError */
  request(frame: Record<string, unknown>): Promise<unknown> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) throw new CallError('the socket is closed', 'closed');
      this.#pending.set(id, { resolve, reject });
      this.send({ id, ...frame });
    });
  }

  call<M extends RpcMethod>(method: M, params: RpcParams<M>): Promise<RpcResult<M>> {
    return this.request({ method, params }) as Promise<RpcResult<M>>;
  }

  eventsOf<E extends keyof PushEvents>(event: E): PushEvent<E>[] {
    return this.events.filter((entry) => entry.event === event) as PushEvent<E>[];
  }

  /** Waits for the nth event of the given type, counting from 0. */
  async event<E extends keyof PushEvents>(event: E, nth = 0): Promise<PushEvent<E>> {
    await until(() => this.eventsOf(event).length > nth, `event ${event} ${nth}`);
    return this.eventsOf(event)[nth]!;
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }

  #receive(frame: Record<string, unknown>): void {
    if (this.keeps) this.frames.push(frame);
    if ('ping' in frame && this.pongs) this.send({ pong: true });
    if ('event' in frame && this.keeps) this.events.push(frame as AnyEvent);
    const pending = this.#pending.get(frame['id'] as number);
    if (!pending) return;
    this.#pending.delete(frame['id'] as number);
    const error = frame['error'] as { code: string; message: string } | undefined;
    if (error) pending.reject(new CallError(error.message, error.code, { ...error }));
    else pending.resolve(frame['result']);
  }
}

export const openSessionFrame = (
  url: string,
  identity: Identity,
  instance: string,
  options: SignOptions = {},
  resume?: { epoch: string; seq: number },
): Record<string, unknown> => ({
  ...signV2(identity, 'openSession', { instance, ...(resume && { resume }) }, url, options),
});

/** Push socket with an open session, and an HTTP client for the same user and instance. */
export class PushClient extends PushSocket {
  readonly http: Client;
  readonly instance: string;
  session!: OpenSessionResult;

  constructor(url: string, identity: Identity, instance: string) {
    super(url);
    this.http = new Client(url, identity, 'v2', instance);
    this.instance = instance;
  }

  static async open(
    url: string,
    identity: Identity = someone(),
    instance = newInstance(),
    resume?: { epoch: string; seq: number },
  ): Promise<PushClient> {
    const client = await new PushClient(url, identity, instance).connect();
    client.session = (await client.request(openSessionFrame(url, identity, instance, {}, resume))) as OpenSessionResult;
    return client;
  }

  get username(): string {
    return this.http.username;
  }

  publish(
    serviceFqn: string,
    sdps: string[],
    more: Partial<RpcParams<'publishService'>> = {},
  ): Promise<RpcResult<'publishService'>> {
    return this.call('publishService', { serviceFqn, offers: sdps.map((sdp) => ({ sdp })), ...more });
  }

  async take(serviceFqn: string, more: Partial<RpcParams<'getService'>> = {}): Promise<ServiceEntry> {
    return (await this.call('getService', { serviceFqn, ...more })) as ServiceEntry;
  }

  async answer(
    { serviceFqn, offerId }: { serviceFqn: string; offerId: string },
    sdp = `answer of ${this.username}`,
  ): Promise<void> {
    await this.call('answerOffer', { serviceFqn, offerId, sdp });
  }
}

/**
 * Starts a server for one test on a free port, and closes it when the test ends. By default, the server uses Redis if
 * RONDEVU_TEST_REDIS contains a URL, and memory otherwise.
 */
export async function startServer(t: TestContext, options: ServerOptions = {}): Promise<RunningServer> {
  const redisUrl = process.env['RONDEVU_TEST_REDIS'];
  const storage =
    redisUrl && options.storagePath === undefined
      ? { redisUrl, redisPrefix: `${randomBytes(6).toString('hex')}:` }
      : { storagePath: ':memory:' };
  const server = await createServer({ port: 0, host: '127.0.0.1', ...storage, ...options });
  t.after(() => server.close());
  return server;
}

export interface ServerProcess {
  url: string;
  process: ChildProcess;
  /** Returns what the process has written to stdout and stderr so far. */
  output(): string;
  /** Resolves with the exit code and the signal. */
  ended: Promise<[code: number | null, signal: string | null]>;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the command `rondevu-server` from source as a separate process, and kills it when the test ends. */
export async function spawnServer(t: TestContext, args: string[] = [], env: Record<string, string> = {}): Promise<ServerProcess> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'server/src/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  t.after(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += String(data)));
  const ended = new Promise<[number | null, string | null]>((resolve) => {
    child.on('exit', (code, signal) => resolve([code, signal]));
  });
  let over = false;
  void ended.then(() => (over = true));
  await until(() => over || /Rondevu server on \S+/.test(output), 'the start of the server', 20_000);
  return { url: /Rondevu server on (\S+)/.exec(output)?.[1] ?? '', process: child, output: () => output, ended };
}

/** Returns the path of a database file in its own folder, which is removed when the test ends. */
export function temporaryFile(t: TestContext): string {
  return join(temporaryFolder(t), 'rondevu.db');
}

/** Charge callback for look-ups that cost no points. */
export const noCharge = (): Promise<void> => Promise.resolve();
