/**
 * The HTTP side: `/`, `/health`, `/ready`, `/metrics`, `/rpc` and the static files. Reads and bounds the body, runs a batch in order, and gives
 * every failed item as HTTP 200, as v0.20 clients need it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { BlockList } from 'node:net';
import { serveStatic } from '@hono/node-server/serve-static';
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { CAPS_HEADER, MAX_BATCH, type RpcResponse } from 'rondevu-elements/protocol';
import { clientAddress } from './client-address.js';
import type { ServerConfig } from './config.js';
import type { Dispatcher } from './dispatcher.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { MAX_HTTP_WAIT } from './schemas.js';

export const DESCRIPTION = 'WebRTC signaling with RPC interface and Ed25519 authentication';

export interface AppContext {
  config: ServerConfig;
  proxies: BlockList;
  dispatcher: Dispatcher;
  caps: string[];
  version: string;
  metrics: Metrics;
  log: Logger;
  ping(): Promise<void>;
  /** Whether it stops: a balancer is to send nobody here any more. */
  isDraining(): boolean;
}

export function createApp({ config, proxies, dispatcher, caps, version, metrics, log, ping, isDraining }: AppContext): Hono {
  const app = new Hono();
  const info = { name: 'Rondevu', description: DESCRIPTION, version, caps };

  app.use(async (c, next) => {
    await next();
    c.header(CAPS_HEADER, caps.join(', '));
    c.header('X-Content-Type-Options', 'nosniff');
    if (isDraining()) c.header('Connection', 'close');
  });
  app.use(
    cors({ origin: config.corsOrigins.includes('*') ? '*' : config.corsOrigins, exposeHeaders: [CAPS_HEADER], maxAge: 86_400 }),
  );

  app.get('/', (c) => {
    c.header('Vary', 'Accept');
    // a person gets the demo, a client the description
    return config.staticRoot && c.req.header('accept')?.includes('text/html') ? c.redirect('/demo/') : c.json(info);
  });

  const health = async (): Promise<boolean> => {
    try {
      await ping();
      return true;
    } catch (err) {
      log.error({ err }, 'the store does not answer');
      return false;
    }
  };
  const state = (c: Context, isWell: boolean, otherwise: string) =>
    c.json({ status: isWell ? 'ok' : otherwise, timestamp: Date.now(), version }, isWell ? 200 : 503);
  app.get('/health', async (c) => state(c, await health(), 'unavailable'));
  // for balancers: one that is stopping is healthy and gets nobody new
  app.get('/ready', async (c) => (isDraining() ? state(c, false, 'draining') : state(c, await health(), 'unavailable')));
  app.get('/metrics', async (c) => {
    if (!mayAskForMetrics(c, config.metricsToken))
      return refuse(c, 403, 'forbidden', 'Metrics are for this machine, or for who shows METRICS_TOKEN as a bearer token');
    const { type, body } = await metrics.text();
    return c.body(body, 200, { 'Content-Type': type });
  });

  const tooLarge = (c: Context) => refuse(c, 413, 'too-large', `Request too large: at most ${config.limits.maxBodyBytes} bytes`);
  app.post('/rpc', bodyLimit({ maxSize: config.limits.maxBodyBytes, onError: tooLarge }), async (c) => {
    let body: unknown;
    try {
      body = JSON.parse(await c.req.text());
    } catch {
      return refuse(c, 400, 'bad-request', 'Invalid JSON in the request body');
    }
    const address = clientAddress(addressOf(c), c.req.header('x-forwarded-for'), proxies);
    const from = { address, host: c.req.header('host') ?? '' };
    const signal = c.req.raw.signal;
    if (!Array.isArray(body)) {
      const response = await respond(dispatcher, dispatcher.signed(body, from, MAX_HTTP_WAIT, signal));
      if (response.success || response.code !== 'rate-limited') return c.json(response);
      // RFC 6585 section 4
      if (response.retryAfter) c.header('Retry-After', String(Math.ceil(response.retryAfter / 1000)));
      return c.json(response, 429);
    }
    if (body.length === 0 || body.length > MAX_BATCH)
      return refuse(c, 400, 'bad-request', `A batch must hold 1 to ${MAX_BATCH} calls, got ${body.length}`);
    const responses: RpcResponse[] = [];
    for (const request of body) {
      responses.push(await respond(dispatcher, dispatcher.signed(request, from, 0, signal)));
      // verifying 100 signatures takes a while; others' calls go in between
      await new Promise(setImmediate);
    }
    return c.json(responses);
  });

  if (config.staticRoot) {
    const files = serveStatic({ root: config.staticRoot });
    const bundle = serveStatic({ root: config.staticRoot, rewriteRequestPath: (path) => `/dist${path}` });
    app.use('/demo/*', files);
    app.use('/dist/*', files);
    app.get('/:file{rondevu-[\\w.-]+\\.js(?:\\.map)?}', bundle);
  }

  app.notFound((c) =>
    refuse(c, 404, 'not-found', `Nothing here: ${c.req.method} ${c.req.path.slice(0, 100)}. The calls are at POST /rpc`),
  );
  app.onError((error, c) => {
    // who hung up hears nothing, and nobody needs to hear of it
    if (c.req.raw.signal.aborted) return refuse(c, 400, 'bad-request', 'the request was cut off');
    return refuse(c, 500, 'unavailable', dispatcher.publicError(error).message);
  });
  return app;
}

async function respond(dispatcher: Dispatcher, call: Promise<unknown>): Promise<RpcResponse> {
  try {
    return { success: true, result: await call };
  } catch (error) {
    const { message, code, details } = dispatcher.publicError(error);
    return { success: false, error: message, code, ...details };
  }
}

const refuse = (c: Context, status: 400 | 403 | 404 | 413 | 500, code: string, error: string) =>
  c.json({ success: false, error, code }, status);

function addressOf(c: Context): string {
  const { incoming } = c.env as { incoming?: { socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress ?? '';
}

/** Without a token only a process of this machine may ask, and directly: a proxy beside us speaks for anybody. */
function mayAskForMetrics(c: Context, token: string | undefined): boolean {
  if (token === undefined)
    return (
      /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/.test(addressOf(c)) && !c.req.header('forwarded') && !c.req.header('x-forwarded-for')
    );
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(c.req.header('authorization') ?? ''), hash(`Bearer ${token}`));
}
