/**
 * The HTTP side: `/`, `/health`, `/rpc` and the static files. Reads and bounds the body, runs a batch in order, and gives
 * every failed item as HTTP 200, as v0.20 clients need it.
 */
import { serveStatic } from '@hono/node-server/serve-static';
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { CAPS_HEADER, MAX_BATCH, type RpcResponse } from 'rondevu-elements/protocol';
import type { ServerConfig } from './config.js';
import { publicError, type Dispatcher } from './dispatcher.js';
import { MAX_HTTP_WAIT } from './schemas.js';

export const DESCRIPTION = 'WebRTC signaling with RPC interface and Ed25519 authentication';

export interface AppContext {
  config: ServerConfig;
  dispatcher: Dispatcher;
  caps: string[];
  version: string;
  ping(): Promise<void>;
}

export function createApp({ config, dispatcher, caps, version, ping }: AppContext): Hono {
  const app = new Hono();
  const info = { name: 'Rondevu', description: DESCRIPTION, version, caps };

  app.use(async (c, next) => {
    await next();
    c.header(CAPS_HEADER, caps.join(', '));
    c.header('X-Content-Type-Options', 'nosniff');
  });
  app.use(
    cors({ origin: config.corsOrigins.includes('*') ? '*' : config.corsOrigins, exposeHeaders: [CAPS_HEADER], maxAge: 86_400 }),
  );

  app.get('/', (c) => {
    c.header('Vary', 'Accept');
    // a person gets the demo, a client the description
    return config.staticRoot && c.req.header('accept')?.includes('text/html') ? c.redirect('/demo/') : c.json(info);
  });

  app.get('/health', async (c) => {
    try {
      await ping();
      return c.json({ status: 'ok', timestamp: Date.now(), version });
    } catch (error) {
      console.error('rondevu-server: the store does not answer', error);
      return c.json({ status: 'unavailable', timestamp: Date.now(), version }, 503);
    }
  });

  const tooLarge = (c: Context) => refuse(c, 413, 'too-large', `Request too large: at most ${config.limits.maxBodyBytes} bytes`);
  app.post('/rpc', bodyLimit({ maxSize: config.limits.maxBodyBytes, onError: tooLarge }), async (c) => {
    let body: unknown;
    try {
      body = JSON.parse(await c.req.text());
    } catch {
      return refuse(c, 400, 'bad-request', 'Invalid JSON in the request body');
    }
    const from = { address: addressOf(c), host: c.req.header('host') ?? '' };
    const signal = c.req.raw.signal;
    if (!Array.isArray(body)) return c.json(await respond(dispatcher.signed(body, from, MAX_HTTP_WAIT, signal)));
    if (body.length === 0 || body.length > MAX_BATCH)
      return refuse(c, 400, 'bad-request', `A batch must hold 1 to ${MAX_BATCH} calls, got ${body.length}`);
    const responses: RpcResponse[] = [];
    for (const request of body) {
      responses.push(await respond(dispatcher.signed(request, from, 0, signal)));
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
  app.onError((error, c) => refuse(c, 500, 'unavailable', publicError(error).message));
  return app;
}

async function respond(call: Promise<unknown>): Promise<RpcResponse> {
  try {
    return { success: true, result: await call };
  } catch (error) {
    const { message, code, details } = publicError(error);
    return { success: false, error: message, code, ...details };
  }
}

const refuse = (c: Context, status: 400 | 404 | 413 | 500, code: string, error: string) =>
  c.json({ success: false, error, code }, status);

function addressOf(c: Context): string {
  const { incoming } = c.env as { incoming?: { socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress ?? '';
}
