/**
 * Implements `createServer`, which assembles, starts and stops the store, hub, matchmaker, handlers, HTTP server and sockets.
 */
import type { AddressInfo, BlockList, Socket } from 'node:net';
import { createRequire } from 'node:module';
import { createServer as createHttpServer, type Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { WebSocketServer, type WebSocket } from 'ws';
import { PUSH_SUBPROTOCOL } from 'rondevu-elements/protocol';
import type { Duplex } from 'node:stream';
import { localUrl } from './addresses.js';
import { createApp } from './app.js';
import { Authenticator } from './auth.js';
import { ClaimClock } from './claim-clock.js';
import { clientAddress, isTrusted, proxyList } from './client-address.js';
import { DEFAULT_RESERVED, type ServerConfig } from './config.js';
import { Discovery } from './discovery.js';
import { Dispatcher } from './dispatcher.js';
import { createHandlers, type Authorize } from './handlers.js';
import { MAX_FRAGMENTS, MAX_CHUNKS, limitIncomingFrames } from './incoming-frames.js';
import { createLog, type Logger } from './log.js';
import { Metrics } from './metrics.js';
import { DEFAULT_LIMITS } from './limits.js';
import { Matchmaker } from './matchmaker.js';
import { limitOtherRequests } from './other-requests.js';
import { principalOf } from './principal.js';
import { Quotas } from './quotas.js';
import { MAX_CONCURRENT_BODIES, HEADERS_WITHIN, REQUEST_WITHIN, createRpcEndpoint } from './rpc-endpoint.js';
import { createSchemas } from './schemas.js';
import { PushSession } from './session.js';
import { isWebSocketUpgrade, createUpgradeIgnorer } from './upgrades.js';
import { LARGE_CALLS, LARGE_CALLS_PER_ADDRESS, Slots } from './slots.js';
import { openStorage } from './storage.js';
import type { FoundService } from './store.js';
import { Tally } from './tally.js';
import { DEFAULT_TURN, Turn } from './turn.js';
import { MAX_UNREAD, MAX_UNREAD_PER_ADDRESS, Unread } from './unread.js';

export { DEFAULT_TURN, type TurnConfig } from './turn.js';
export type { Authorize, AuthorizeContext } from './handlers.js';
export { DEFAULT_RESERVED, readConfig, type ServerConfig } from './config.js';
export { DEFAULT_LIMITS, type Limits } from './limits.js';

/**
 * Capabilities added since v0.5.4, announced in a header of every reply and in `caps` of `GET /`. `ice` is added if ICE servers
 * are configured.
 */
export const CAPS = ['v2', 'push', 'instances', 'leases', 'wait', 'withdraw', 'id', 'directed', 'signal', 'resume'];

export interface RunningServer {
  /**
   * URL at which this machine can reach the server: the listening address, or localhost if the server listens on all addresses.
   */
  readonly url: string;
  readonly port: number;
  /** Number of open push sessions. */
  readonly sessions: number;
  /** Number of waiting joiners. */
  readonly waiting: number;
  /** Stops accepting calls, lets running calls finish, and closes the sockets and the store. Idempotent. */
  close(): Promise<void>;
}

/** Server settings, all optional, and options that can be set only in code. */
export interface ServerOptions extends Partial<ServerConfig> {
  /**
   * Called before a service is published or looked up, an offer is answered, or a signal is sent. Default: allows everything.
   */
  authorize?: Authorize | undefined;
}

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };
const SWEEP_INTERVAL = 10_000;
/** Maximum number of TCP connections per allowed socket: a client with a push socket also makes calls over HTTP. */
const CONNECTIONS_PER_SOCKET = 2;

/**
 * Starts a server.
 * @throws Error if the address is in use, or the database or Redis cannot be opened
 */
export async function createServer({ authorize, ...options }: ServerOptions = {}): Promise<RunningServer> {
  const config: ServerConfig = {
    port: 3000,
    host: 'localhost',
    storagePath: 'rondevu.db',
    redisPrefix: 'rondevu:',
    publicUrls: [],
    corsOrigins: ['*'],
    trustedProxies: [],
    reservedNames: DEFAULT_RESERVED,
    legacyAuth: 'sticky',
    logLevel: 'warn',
    logFormat: 'json',
    drainTime: 0,
    turn: DEFAULT_TURN,
    limits: DEFAULT_LIMITS,
    // an option that is set to undefined keeps its default
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
  const log = createLog(config.logLevel, config.logFormat);
  const metrics = new Metrics();
  const storage = await openStorage(config, metrics, log, (service) => matchmaker.offersAdded(service));
  const { store, hub } = storage;
  const onDemand = (service: FoundService, waiting: number): void => {
    hub
      .pushToPublishers(principalOf(service), service.serviceId, 'demand', { serviceFqn: service.serviceFqn, waiting })
      .catch((err: unknown) => log.warn({ err }, 'could not send demand to publishers'));
  };
  const discovery = new Discovery(store);
  const matchmaker = new Matchmaker(store, discovery, log, config.limits, onDemand, storage.broadcast);
  const clock = new ClaimClock(await store.lastUse(), Date.now(), (jump) =>
    log.warn(
      { hours: Math.round(jump / 3_600_000) },
      'the clock has jumped: until the new time has been stable for a day, no claim expires and nothing expired is deleted',
    ),
  );
  const onClaim = (username: string): Promise<void> => hub.nameChanged(username);
  const auth = new Authenticator(store, config, metrics, onClaim, clock);
  const turn = new Turn(config.turn);
  const caps = turn.isOn ? [...CAPS, 'ice'] : CAPS;
  const handlers = createHandlers({
    store,
    hub,
    discovery,
    matchmaker,
    limits: config.limits,
    turn,
    quotas: new Quotas(store, config.limits),
    charge: (caller, points) => auth.charge(caller, points),
    chargeInArrears: (caller, points) => auth.chargeInArrears(caller, points),
    checkPoints: (caller) => auth.checkPoints(caller),
    large: new Slots(LARGE_CALLS_PER_ADDRESS, LARGE_CALLS),
    async onRelease(caller) {
      auth.forget(caller);
      await hub.nameChanged(caller.username);
    },
    clock,
    authorize,
  });
  const dispatcher = new Dispatcher(createSchemas(config.limits), handlers, auth, config.limits, metrics, log);
  metrics.watch({ sockets: () => hub.sessions, waiting: () => matchmaker.waiting }, store);
  let closing: Promise<void> | undefined;
  const proxies = proxyList(config.trustedProxies);
  const app = createApp({
    config,
    errors: dispatcher,
    caps,
    version,
    metrics,
    log,
    ping: () => store.ping(),
    isDraining: () => closing !== undefined,
  });

  const unread = new Unread(MAX_UNREAD_PER_ADDRESS, MAX_UNREAD);
  const bytesOfAddress = new Tally(MAX_CONCURRENT_BODIES * config.limits.maxBodyBytes);
  const otherRequests = limitOtherRequests(getRequestListener(app.fetch), {
    ...{ auth, errors: dispatcher, proxies, caps, corsOrigins: config.corsOrigins },
  });
  const rpc = createRpcEndpoint({
    ...{ dispatcher, auth, proxies, caps, corsOrigins: config.corsOrigins, limits: config.limits, unread, bytesOfAddress },
    requestsOfAddress: new Tally(config.limits.maxSocketsPerAddress),
    isDraining: () => closing !== undefined,
  });
  const server = createHttpServer(
    // a slow sender occupies a connection, not the server; a reply may take as long as a joiner waits
    { headersTimeout: HEADERS_WITHIN, requestTimeout: REQUEST_WITHIN, connectionsCheckingInterval: 5000 },
    (request, response) =>
      request.method === 'POST' && /^\/rpc(\?|$)/.test(request.url ?? '')
        ? rpc(request, response)
        : otherRequests(request, response),
  );
  limitConnections(server, config, proxies);
  const sessions = new Set<PushSession>();
  const socketsOfKey = new Tally(config.limits.maxSocketsPerKey);
  const context = { hub, auth, dispatcher, metrics, log, limits: config.limits, turn, caps, socketsOfKey, unread };
  const sockets = acceptSockets(server, config, proxies, log, (socket, stream, from) => {
    const session = new PushSession(socket, from, context);
    limitIncomingFrames(stream, socket, session, bytesOfAddress);
    sessions.add(session);
    socket.on('close', () => sessions.delete(session));
  });
  try {
    await hub.start(Date.now());
    await storage.subscribe(
      (hint) => matchmaker.onHint(hint),
      () => matchmaker.rescan(),
    );
  } catch (error) {
    storage.stop();
    await store.close();
    throw error;
  }
  // all sockets share one timer, because a timer per socket would be a large part of the cost of an idle socket
  const heartbeat = setInterval(() => {
    for (const session of sessions) session.watch();
  }, 1000);
  const sweeper = setInterval(() => {
    matchmaker.fairness.sweep(Date.now());
    store.sweep(clock.at(Date.now())).catch((err: unknown) => log.error({ err }, 'the sweep failed'));
  }, SWEEP_INTERVAL);

  const close = async (): Promise<void> => {
    log.info({ sockets: hub.sessions, waiting: matchmaker.waiting }, 'stopping');
    // waiting joiners get their replies immediately, before their sockets are closed
    matchmaker.close();
    await new Promise(setImmediate);
    await drain([...sessions], config.drainTime);
    clearInterval(sweeper);
    const stopped = new Promise((resolve) => server.close(resolve));
    matchmaker.close();
    await new Promise(setImmediate);
    for (const session of sessions) session.close();
    // idle keep-alive connections would keep the server open indefinitely
    server.closeIdleConnections();
    const forceClose = setTimeout(() => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
    }, 3000);
    await stopped;
    clearTimeout(forceClose);
    clearInterval(heartbeat);
    storage.stop();
    await store.close();
    log.info('stopped');
  };

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, config.host, () => {
      server.off('error', reject);
      resolve();
    });
  }).catch(async (error: NodeJS.ErrnoException) => {
    clearInterval(sweeper);
    clearInterval(heartbeat);
    storage.stop();
    await store.close();
    throw error.code === 'EADDRINUSE'
      ? new Error(`port ${config.port} on ${config.host} is taken: choose another with PORT or --port`, { cause: error })
      : error;
  });
  const { port } = server.address() as AddressInfo;
  const url = localUrl(config.host, port);
  log.info({ url, storage: storage.name, version, node: process.version }, 'started');
  return {
    url,
    port,
    get sessions() {
      return hub.sessions;
    },
    get waiting() {
      return matchmaker.waiting;
    },
    close: () => (closing ??= close()),
  };
}

/** Closes the sockets one by one over a period of time, and waits until the period has passed. */
async function drain(sessions: PushSession[], time: number): Promise<void> {
  const end = performance.now() + time;
  for (const [index, session] of sessions.entries()) {
    const due = end - time * (1 - (index + 1) / sessions.length);
    if (due > performance.now()) await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    session.close();
  }
  if (end > performance.now()) await new Promise((resolve) => setTimeout(resolve, end - performance.now()));
}

/**
 * Limits TCP connections, because idle connections and HTTP requests use file descriptors just as push sockets do. Connections
 * from trusted proxies are not limited by address, because a proxy carries the connections of all its clients.
 */
function limitConnections(server: Server, { limits }: ServerConfig, proxies: BlockList | undefined): void {
  server.maxConnections = CONNECTIONS_PER_SOCKET * limits.maxSockets;
  const ofAddress = new Tally(CONNECTIONS_PER_SOCKET * limits.maxSocketsPerAddress);
  // a connection is emitted again when upgrades.ts resumes reading from it
  const known = new WeakSet<Socket>();
  server.on('connection', (socket) => {
    const { remoteAddress = '' } = socket;
    if (known.has(socket) || isTrusted(remoteAddress, proxies)) return;
    known.add(socket);
    const release = ofAddress.take(clientAddress(remoteAddress, undefined, undefined));
    if (release) socket.once('close', release);
    else socket.destroy();
  });
}

function acceptSockets(
  server: Server,
  config: ServerConfig,
  proxies: BlockList | undefined,
  log: Logger,
  onSocket: (socket: WebSocket, stream: Duplex, from: { address: string; host: string }) => void,
): WebSocketServer {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: config.limits.maxBodyBytes,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_CHUNKS,
    perMessageDeflate: false,
    handleProtocols: () => PUSH_SUBPROTOCOL,
  });
  const ofAddress = new Tally(config.limits.maxSocketsPerAddress);
  const ignoreUpgrade = createUpgradeIgnorer(server);
  server.on('upgrade', (request, socket, head) => {
    if (!isWebSocketUpgrade(request)) return ignoreUpgrade(request, socket, head);
    // Node has removed its own error listener, and a client that disconnects now must not crash the process
    socket.on('error', () => socket.destroy());
    const refuse = (status: string): void => {
      // a client that never disconnects must not keep the server from closing
      socket.once('finish', () => socket.destroy());
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    };
    const { origin, host = '' } = request.headers;
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name: string) => name.trim());
    if ((request.url ?? '').split('?', 1)[0] !== '/ws') return refuse('404 Not Found');
    if (!offered.includes(PUSH_SUBPROTOCOL)) return refuse('400 Bad Request');
    if (origin !== undefined && !config.corsOrigins.includes('*') && !config.corsOrigins.includes(origin))
      return refuse('403 Forbidden');
    if (sockets.clients.size >= config.limits.maxSockets) {
      log.warn({ sockets: sockets.clients.size }, 'refused a socket: maxSockets is reached');
      return refuse('503 Service Unavailable');
    }
    const address = clientAddress(request.socket.remoteAddress ?? '', String(request.headers['x-forwarded-for'] ?? ''), proxies);
    const releaseSlot = ofAddress.take(address);
    // RFC 6585 section 4
    if (!releaseSlot) return refuse('429 Too Many Requests');
    socket.once('close', releaseSlot);
    sockets.handleUpgrade(request, socket, head, (opened) => onSocket(opened, socket, { address, host }));
  });
  return sockets;
}
