/**
 * HTTP endpoints other than `POST /rpc` (see rpc-endpoint.ts): `/`, `/health`, `/ready`, `/metrics`, CORS preflights and static
 * files.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { Hono, type Context, type Next } from 'hono';
import { cors } from 'hono/cors';
import { CAPS_HEADER, type ErrorCode } from 'rondevu-elements/protocol';
import { isLoopback } from './client-address.js';
import type { ServerConfig } from './config.js';
import type { Dispatcher } from './dispatcher.js';
import type { Logger } from './log.js';
import type { Metrics } from './metrics.js';
import { setCommonHeaders } from './rpc-endpoint.js';
import { StaticFiles } from './static-files.js';

const DESCRIPTION = 'WebRTC signaling with RPC interface and Ed25519 authentication';

/** In ms. */
const HEALTH_CHECK_INTERVAL = 1000;

export interface AppContext {
  config: ServerConfig;
  errors: Pick<Dispatcher, 'publicError'>;
  caps: string[];
  version: string;
  metrics: Metrics;
  log: Logger;
  /** Rejects if the store cannot be written to. */
  ping(): Promise<void>;
  /** Whether the server is shutting down and must not get new clients from load balancers. */
  isDraining(): boolean;
}

export function createApp({ config, errors, caps, version, metrics, log, ping, isDraining }: AppContext): Hono {
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
    // browsers are redirected to the demo; other clients get the server description as JSON
    return config.staticRoot && c.req.header('accept')?.includes('text/html') ? c.redirect('/demo/') : c.json(info);
  });

  // the store is checked at most once per second, however often clients ask, because each check is a write
  let checked: { at: number; isHealthy: Promise<boolean> } | undefined;
  const health = (): Promise<boolean> => {
    if (checked && performance.now() - checked.at < HEALTH_CHECK_INTERVAL) return checked.isHealthy;
    const isHealthy = ping().then(
      () => true,
      (err: unknown) => {
        log.error({ err }, 'the store cannot be written to');
        return false;
      },
    );
    checked = { at: performance.now(), isHealthy };
    return isHealthy;
  };
  const state = (c: Context, isHealthy: boolean, failure: string) =>
    c.json({ status: isHealthy ? 'ok' : failure, timestamp: Date.now(), version }, isHealthy ? 200 : 503);
  app.get('/health', async (c) => state(c, await health(), 'unavailable'));
  // `/ready` is for load balancers: a server that is shutting down is healthy, but must not get new clients
  app.get('/ready', async (c) => (isDraining() ? state(c, false, 'draining') : state(c, await health(), 'unavailable')));
  app.get('/metrics', async (c) => {
    if (!mayReadMetrics(c, config))
      return refuse(
        c,
        403,
        'forbidden',
        'Without METRICS_TOKEN, only direct requests from this machine get metrics. Set METRICS_TOKEN and send it as a bearer token for requests from elsewhere, through a proxy, with further headers, or where PUBLIC_URL or TRUSTED_PROXIES is set',
      );
    const { type, body } = await metrics.text();
    return c.body(body, 200, { 'Content-Type': type });
  });

  if (config.staticRoot) {
    const files = new StaticFiles(config.staticRoot);
    const serve =
      (folder: string) =>
      async (c: Context, next: Next): Promise<Response | void> => {
        const reply = await files.reply(`${folder}${c.req.path}`, {
          acceptEncoding: c.req.header('accept-encoding') ?? '',
          ifNoneMatch: c.req.header('if-none-match') ?? '',
        });
        if (!reply) return next();
        // bypasses the web framework, which would copy the file for each reply
        const { incoming, outgoing } = c.env as HttpBindings;
        setCommonHeaders(incoming, outgoing, caps, config.corsOrigins);
        const { Vary, ...headers } = reply.headers;
        if (Vary) outgoing.appendHeader('Vary', Vary);
        if (isDraining()) outgoing.setHeader('Connection', 'close');
        outgoing.writeHead(reply.status, headers).end(reply.body);
        return RESPONSE_ALREADY_SENT;
      };
    app.get('/demo', (c) => c.redirect('/demo/'));
    app.get('/demo/*', serve(''));
    app.get('/dist/*', serve(''));
    app.get('/:file{rondevu-[\\w.-]+\\.js(?:\\.map)?}', serve('/dist'));
  }

  app.notFound((c) =>
    refuse(c, 404, 'not-found', `Not found: ${c.req.method} ${c.req.path.slice(0, 100)}. Send calls to POST /rpc`),
  );
  app.onError((error, c) => refuse(c, 500, 'unavailable', errors.publicError(error).message));
  return app;
}

const refuse = (c: Context, status: 403 | 404 | 500, code: ErrorCode, error: string) =>
  c.json({ success: false, error, code }, status);

function addressOf(c: Context): string {
  const { incoming } = c.env as { incoming?: { socket?: { remoteAddress?: string } } };
  return incoming?.socket?.remoteAddress ?? '';
}

/** Host names that always refer to this machine. In a DNS rebinding attack, `Host` is the attacker's domain. */
const LOCAL_HOST = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;
/**
 * Headers sent by metrics collectors, or by browsers when the user types the URL. Most proxies add headers that are not in this
 * list.
 */
const DIRECT_HEADERS = new Set([
  ...[
    'host',
    'connection',
    'user-agent',
    'accept',
    'accept-encoding',
    'accept-language',
    'authorization',
    'x-prometheus-scrape-timeout-seconds',
  ],
  ...['cache-control', 'pragma', 'priority', 'dnt', 'cookie', 'if-none-match', 'if-modified-since', 'upgrade-insecure-requests'],
  ...['sec-fetch-site', 'sec-fetch-mode', 'sec-fetch-user', 'sec-fetch-dest', 'sec-gpc', 'sec-ch-ua', 'sec-ch-ua-mobile'],
  'sec-ch-ua-platform',
]);

/**
 * Without a token, only processes on this machine may read the metrics, and only over a direct connection. Refuses requests
 * from web pages in a local browser (RFC 6454, Fetch Metadata, DNS rebinding) and from local proxies, which forward requests
 * from anybody. A proxy or port forwarder that leaves requests unchanged is indistinguishable from a local program; see
 * docs/operations.md.
 */
function mayReadMetrics(c: Context, { metricsToken: token, publicUrls, trustedProxies }: ServerConfig): boolean {
  if (token === undefined) {
    const { headers, httpVersion } = (c.env as { incoming: IncomingMessage }).incoming;
    const isPublic = trustedProxies.length > 0 || publicUrls.some((url) => !LOCAL_HOST.test(new URL(url).host));
    const isOfPage =
      headers.origin !== undefined || !['none', undefined].includes(headers['sec-fetch-site'] as string | undefined);
    const isProxied = !Object.keys(headers).every((name) => DIRECT_HEADERS.has(name));
    return (
      // nginx sends HTTP/1.0 requests upstream by default
      !isPublic &&
      !isOfPage &&
      !isProxied &&
      httpVersion !== '1.0' &&
      isLoopback(addressOf(c)) &&
      LOCAL_HOST.test(headers.host ?? '')
    );
  }
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(c.req.header('authorization') ?? ''), hash(`Bearer ${token}`));
}
