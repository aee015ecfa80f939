/**
 * All server settings, each with its environment variable, flag, default and validation. If a value is invalid, the server does
 * not start; the error names the variable, the expected value and the received value.
 */
import { parseArgs } from 'node:util';
import { audience, checkUsername } from 'rondevu-elements/protocol';
import { proxyList } from './client-address.js';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from './log.js';
import { DEFAULT_LIMITS, type Limits } from './limits.js';
import { DEFAULT_TURN, type TurnConfig } from './turn.js';

export interface ServerConfig {
  /** TCP port; 0 selects a free port. Default 3000. */
  port: number;
  /** Address to listen on. Default `localhost`. */
  host: string;
  /** SQLite file, or `:memory:`. Default `rondevu.db` in the working directory. */
  storagePath: string;
  /**
   * `redis://` or `rediss://` URL of a Redis 7 or Valkey server that replaces the SQLite file and that several signaling
   * servers may share. Default none.
   */
  redisUrl?: string | undefined;
  /** Prefix of all Redis keys. Default `rondevu:`. */
  redisPrefix: string;
  /**
   * Public URLs of the server, accepted as the `aud` of signatures. If empty, the `Host` of each request is accepted instead,
   * which provides no protection.
   */
  publicUrls: string[];
  /** Origins that may call the server; `*` allows all origins. Default all. */
  corsOrigins: string[];
  /** Addresses and ranges (such as 10.0.0.0/8) of proxies whose `X-Forwarded-For` header is trusted. Default none. */
  trustedProxies: string[];
  /** Usernames that nobody can claim. Default: names such as `admin` or `support` that could be mistaken for the operator. */
  reservedNames: string[];
  /**
   * Whether signatures in the old form are accepted. Default `sticky`: old-form signatures are refused for keys that signed
   * with v2 in the last 7 days.
   */
  legacyAuth: (typeof LEGACY_AUTH)[number];
  /**
   * Folder with the layout of the rondevu-elements package, whose `demo/` and `dist/` are served; undefined or empty to serve
   * no files.
   */
  staticRoot?: string | undefined;
  /** Lowest level that is logged to stderr. Default `info` for the command, `warn` for `createServer`. */
  logLevel: LogLevel;
  /**
   * Whether log lines are JSON or plain text. Default `auto` for the command (plain text in a terminal, otherwise JSON), `json`
   * for `createServer`.
   */
  logFormat: LogFormat;
  /**
   * Bearer token that `/metrics` requires. Default none. Without a token, only programs on this machine may request `/metrics`.
   * Without a token, all requests for `/metrics` are refused if `trustedProxies` is set or `publicUrls` contains a URL that is
   * not a loopback address, because a proxy on this machine forwards requests from anybody.
   */
  metricsToken?: string | undefined;
  /**
   * How long the server continues to answer after SIGTERM or `close()`, in ms. After SIGTERM or `close()`, `/ready` fails
   * immediately, and sockets are closed one by one so that clients do not all reconnect at the same moment. Default 0.
   */
  drainTime: number;
  /** ICE servers that are handed out to clients. Default none. */
  turn: TurnConfig;
  limits: Limits;
}

/** Modes for old-form signatures; see "The old form" in docs/protocol.md. */
export const LEGACY_AUTH = ['allow', 'sticky', 'off'] as const;

export const DEFAULT_RESERVED = [
  ...['admin', 'administrator', 'root', 'system', 'rondevu', 'server', 'operator', 'moderator'],
  ...['support', 'help', 'security', 'abuse', 'webmaster', 'postmaster', 'everyone', 'anonymous'],
];

export const HELP = `rondevu-server: the signaling server of Rondevu Elements

  --port N           PORT           port, default 3000
  --host ADDRESS     HOST           address to listen on, default localhost
  --storage PATH     STORAGE_PATH   SQLite file, default ./rondevu.db; ":memory:" stores nothing
                     REDIS_URL      redis:// or rediss:// address of Redis 7 or Valkey, for several servers
                     REDIS_PREFIX   prefix of all keys in Redis, default "rondevu:"
  --public-url URL   PUBLIC_URL     addresses that clients use (comma-separated or repeated)
  --cors-origin O    CORS_ORIGINS   origins whose pages may call (comma-separated or repeated), default *
                     TRUSTED_PROXIES  addresses or ranges whose X-Forwarded-For is trusted (comma-separated)
                     RESERVED_NAMES usernames that nobody can claim (comma-separated), default admin, root and others
  --legacy-auth M    LEGACY_AUTH    signatures of v0.20 clients: allow, sticky (default) or off
  --static PATH      STATIC_ROOT    folder with demo/ and dist/ to serve; empty for none
  --drain SECONDS    DRAIN_SECONDS  how long to keep answering after SIGTERM, default 0
  --log-level L      LOG_LEVEL      fatal, error, warn, info (default), debug or silent
  --log-format F     LOG_FORMAT     auto (default: text in a terminal, else json), json or text
                     STUN_URLS      stun: addresses for clients (comma-separated)
                     TURN_URLS      turn: and turns: addresses for clients (comma-separated)
                     TURN_SECRET    coturn's static-auth-secret, 16 characters or more
                     TURN_TTL       lifetime of a TURN credential in seconds, 60 to 86400, default 3600
                     TURN_FOR       all (default) or claimed: anonymous users get no TURN
                     METRICS_TOKEN  bearer token for /metrics; without it only programs on this machine may request it,
                                    and nobody if TRUSTED_PROXIES is set or PUBLIC_URL is not a loopback address
                     LIMIT_…        a limit by its name, for example LIMIT_MAX_SOCKETS=20000; docs/security.md lists them
  --help`;

/**
 * @throws Error naming the invalid variable or flag
 */
export function readConfig(argv: string[], env: Record<string, string | undefined>): ServerConfig | 'help' {
  const { values } = parseArgs({
    args: argv,
    options: {
      port: { type: 'string' },
      host: { type: 'string' },
      storage: { type: 'string' },
      'public-url': { type: 'string', multiple: true },
      'cors-origin': { type: 'string', multiple: true },
      'legacy-auth': { type: 'string' },
      static: { type: 'string' },
      'log-level': { type: 'string' },
      'log-format': { type: 'string' },
      drain: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return 'help';
  const list = (flag: string[] | undefined, variable: string): string[] => {
    const texts = flag?.some(Boolean) ? flag : [env[variable] ?? ''];
    const items = texts
      .flatMap((text) => text.split(','))
      .map((text) => text.trim())
      .filter(Boolean);
    // falling back to the default would hide the mistake
    if (!items.length && texts.some(Boolean))
      throw new Error(`${variable} contains only commas and spaces, got "${texts.join(',')}"`);
    return items;
  };

  const corsOrigins = list(values['cors-origin'], 'CORS_ORIGINS');
  return {
    port: readPort(values.port ?? env['PORT'] ?? '3000'),
    // an empty host would make the server listen on every address of the machine
    host: (values.host ?? env['HOST']) || 'localhost',
    // REDIS_URL has no flag because it may contain a password
    redisUrl: readRedisUrl(env['REDIS_URL']),
    redisPrefix: env['REDIS_PREFIX'] ?? 'rondevu:',
    // with an empty path, SQLite would keep the database only until the server stops
    storagePath: (values.storage ?? env['STORAGE_PATH']) || 'rondevu.db',
    publicUrls: list(values['public-url'], 'PUBLIC_URL').map(readPublicUrl),
    corsOrigins: corsOrigins.length ? corsOrigins.map(readOrigin) : ['*'],
    logLevel: readLogLevel(values['log-level'] ?? env['LOG_LEVEL'] ?? 'info'),
    logFormat: readLogFormat(values['log-format'] ?? env['LOG_FORMAT'] ?? 'auto'),
    drainTime: readDrain(values.drain ?? env['DRAIN_SECONDS'] ?? '0'),
    turn: readTurn(list, env),
    // METRICS_TOKEN has no flag because command lines are visible to other users
    metricsToken: readToken(env['METRICS_TOKEN']),
    legacyAuth: readLegacyAuth(values['legacy-auth'] ?? env['LEGACY_AUTH'] ?? 'sticky'),
    staticRoot: values.static ?? env['STATIC_ROOT'],
    trustedProxies: readProxies(list(undefined, 'TRUSTED_PROXIES')),
    reservedNames: env['RESERVED_NAMES'] === undefined ? DEFAULT_RESERVED : list(undefined, 'RESERVED_NAMES').map(readReserved),
    limits: readLimits(env),
  };
}

/** Environment variable of a limit, for example LIMIT_MAX_BODY_BYTES for `maxBodyBytes`. */
const limitVariable = (name: string): string => `LIMIT_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

function readLimits(env: Record<string, string | undefined>): Limits {
  const limits = { ...DEFAULT_LIMITS };
  const known = new Map(Object.keys(limits).map((name) => [limitVariable(name), name as keyof Limits]));
  for (const [variable, text = ''] of Object.entries(env)) {
    if (!variable.startsWith('LIMIT_')) continue;
    const name = known.get(variable);
    if (!name) throw new Error(`${variable} is not a limit; expected one of ${[...known.keys()].join(', ')}`);
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1)
      throw new Error(`${variable} must be a whole number above 0, got "${text}"`);
    limits[name] = value;
  }
  return limits;
}

function readProxies(ranges: string[]): string[] {
  proxyList(ranges);
  return ranges;
}

/** The error does not quote the value, which may contain a password. */
function readRedisUrl(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined;
  if (!URL.canParse(text) || !/^rediss?:$/.test(new URL(text).protocol))
    throw new Error(
      `REDIS_URL must be redis://host:port or rediss://host:port; the value received is not shown because it may contain a password`,
    );
  return text;
}

function readReserved(name: string): string {
  try {
    checkUsername(name, 'RESERVED_NAMES');
  } catch {
    throw new Error(`RESERVED_NAMES must be valid usernames, in lower case, got "${name}"`);
  }
  return name;
}

function readPort(text: string): number {
  const port = Number(text);
  if (text.trim() !== '' && Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`PORT (--port) must be a whole number from 0 to 65535, got "${text}"`);
}

function readPublicUrl(text: string): string {
  try {
    return audience(text);
  } catch {
    throw new Error(`PUBLIC_URL (--public-url) must be an http or https address, got "${text}"`);
  }
}

function readOrigin(text: string): string {
  if (text === '*') return text;
  let origin: string | undefined;
  try {
    origin = new URL(text).origin;
  } catch {
    // reported below
  }
  if (origin === text) return text;
  throw new Error(`CORS_ORIGINS (--cors-origin) must be "*" or origins such as https://example.org, got "${text}"`);
}

function readLegacyAuth(text: string): ServerConfig['legacyAuth'] {
  const mode = LEGACY_AUTH.find((name) => name === text);
  if (mode) return mode;
  throw new Error(`LEGACY_AUTH (--legacy-auth) must be allow, sticky or off, got "${text}"`);
}

function readLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((name) => name === text);
  if (level) return level;
  throw new Error(`LOG_LEVEL (--log-level) must be one of ${LOG_LEVELS.join(', ')}, got "${text}"`);
}

function readLogFormat(text: string): LogFormat {
  const format = LOG_FORMATS.find((name) => name === text);
  if (format) return format;
  throw new Error(`LOG_FORMAT (--log-format) must be one of ${LOG_FORMATS.join(', ')}, got "${text}"`);
}

function readDrain(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 0 && seconds <= 3600) return seconds * 1000;
  throw new Error(`DRAIN_SECONDS (--drain) must be a number from 0 to 3600, got "${text}"`);
}

function readToken(text: string | undefined): string | undefined {
  if (text === undefined || text.length >= 16) return text;
  throw new Error(`METRICS_TOKEN must have 16 characters or more, got ${text.length}`);
}

type ReadList = (flag: string[] | undefined, variable: string) => string[];

function readTurn(list: ReadList, env: Record<string, string | undefined>): TurnConfig {
  const addresses = (name: string, scheme: RegExp, example: string): string[] => {
    const urls = list(undefined, name);
    const wrong = urls.find((url) => !scheme.test(url));
    if (wrong !== undefined) throw new Error(`${name} must be addresses such as ${example}, got "${wrong}"`);
    return urls;
  };
  const urls = addresses('TURN_URLS', /^turns?:[^\s/?]+(\?transport=(udp|tcp))?$/, 'turn:turn.example.org:3478?transport=udp');
  const secrets = list(undefined, 'TURN_SECRET');
  if (urls.length && !secrets.length) throw new Error("TURN_SECRET must be set if TURN_URLS is: coturn's static-auth-secret");
  const short = secrets.find((secret) => secret.length < 16);
  if (short !== undefined) throw new Error(`TURN_SECRET must have 16 characters or more, got ${short.length}`);
  const ttl = Number(env['TURN_TTL'] ?? DEFAULT_TURN.ttl);
  if (!Number.isInteger(ttl) || ttl < 60 || ttl > 86_400)
    throw new Error(`TURN_TTL must be a whole number from 60 to 86400, got "${env['TURN_TTL']}"`);
  const whom = env['TURN_FOR'] ?? DEFAULT_TURN.for;
  if (whom !== 'all' && whom !== 'claimed') throw new Error(`TURN_FOR must be all or claimed, got "${whom}"`);
  const stunUrls = addresses('STUN_URLS', /^stuns?:[^\s/?]+$/, 'stun:stun.example.org:3478');
  return { ...DEFAULT_TURN, stunUrls, urls, secrets, ttl, for: whom };
}
