/**
 * Tests the settings and the lifecycle of the server process: the defaults, environment variables, flags and error messages of
 * readConfig; a port in use; a database file that cannot be opened; SIGTERM; and a restart on the same file after SIGKILL.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { HELP } from '../../server/src/config.js';
import {
  DEFAULT_LIMITS,
  DEFAULT_RESERVED,
  DEFAULT_TURN,
  createServer,
  readConfig,
  type ServerConfig,
  type ServerOptions,
} from '../../server/src/index.js';
import { Client, PushClient, newInstance, refused, someone, spawnServer, startServer, temporaryFile } from './helpers.js';

const read = (argv: string[] = [], env: Record<string, string> = {}): ServerConfig => readConfig(argv, env) as ServerConfig;

test('readConfig applies the defaults', () => {
  assert.deepEqual(read(), {
    port: 3000,
    host: 'localhost',
    storagePath: 'rondevu.db',
    redisUrl: undefined,
    redisPrefix: 'rondevu:',
    trustedProxies: [],
    reservedNames: DEFAULT_RESERVED,
    publicUrls: [],
    corsOrigins: ['*'],
    logLevel: 'info',
    logFormat: 'auto',
    drainTime: 0,
    metricsToken: undefined,
    legacyAuth: 'sticky',
    staticRoot: undefined,
    turn: DEFAULT_TURN,
    limits: DEFAULT_LIMITS,
  });
});

const ENV = {
  PORT: '8080',
  HOST: '0.0.0.0',
  STORAGE_PATH: '/data/r.db',
  REDIS_URL: 'rediss://user:word@redis.example:6380',
  REDIS_PREFIX: 'staging:',
  TRUSTED_PROXIES: '10.0.0.0/8, ::1',
  RESERVED_NAMES: 'boss,chief',
  LIMIT_MAX_SOCKETS: '7',
  PUBLIC_URL: 'https://A.example:443/api/, http://localhost:3000',
  CORS_ORIGINS: 'https://a.example,https://b.example:8443',
  LEGACY_AUTH: 'off',
  STATIC_ROOT: '/srv',
  LOG_LEVEL: 'debug',
  LOG_FORMAT: 'text',
  DRAIN_SECONDS: '1.5',
  METRICS_TOKEN: 'sixteen-or-more!',
};
const FROM_ENV = {
  port: 8080,
  host: '0.0.0.0',
  storagePath: '/data/r.db',
  redisUrl: 'rediss://user:word@redis.example:6380',
  redisPrefix: 'staging:',
  trustedProxies: ['10.0.0.0/8', '::1'],
  reservedNames: ['boss', 'chief'],
  publicUrls: ['https://a.example/api', 'http://localhost:3000'],
  corsOrigins: ['https://a.example', 'https://b.example:8443'],
  logLevel: 'debug',
  logFormat: 'text',
  drainTime: 1500,
  metricsToken: 'sixteen-or-more!',
  legacyAuth: 'off',
  staticRoot: '/srv',
  turn: DEFAULT_TURN,
  limits: { ...DEFAULT_LIMITS, maxSockets: 7 },
};
test('readConfig reads the environment variables', () => assert.deepEqual(read([], ENV), FROM_ENV));

test('flags, including repeated ones, override environment variables', () => {
  const argv = [
    '--port',
    '0',
    '--host',
    '::1',
    '--storage',
    ':memory:',
    '--legacy-auth',
    'allow',
    '--static',
    'out',
    '--log-level',
    'warn',
    '--log-format',
    'json',
    '--drain',
    '10',
  ];
  for (const url of ['https://c.example', 'https://d.example/']) argv.push('--public-url', url);
  for (const origin of ['https://e.example', '*']) argv.push(`--cors-origin=${origin}`);
  assert.deepEqual(read(argv, ENV), {
    port: 0,
    host: '::1',
    storagePath: ':memory:',
    redisUrl: FROM_ENV.redisUrl,
    redisPrefix: 'staging:',
    trustedProxies: FROM_ENV.trustedProxies,
    reservedNames: FROM_ENV.reservedNames,
    publicUrls: ['https://c.example', 'https://d.example'],
    corsOrigins: ['https://e.example', '*'],
    logLevel: 'warn',
    logFormat: 'json',
    drainTime: 10_000,
    metricsToken: 'sixteen-or-more!',
    legacyAuth: 'allow',
    staticRoot: 'out',
    turn: DEFAULT_TURN,
    limits: FROM_ENV.limits,
  });
});

test('every limit and every environment variable is documented', () => {
  const read = (name: string): string =>
    readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8').replaceAll('\u00a0', ' ');
  const [security, readme] = [read('docs/security.md'), read('server/README.md')];
  for (const [name, value] of Object.entries(DEFAULT_LIMITS)) {
    const variable = name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
    const digits = value.toLocaleString('en').replaceAll(',', ' ');
    assert.match(security, new RegExp(`\\| \`LIMIT_${variable}\` +\\| ${digits}\\b`), variable);
  }
  const variables = [...HELP.matchAll(/\b[A-Z]+_[A-Z_]+\b|\b(?:PORT|HOST)\b/g)].map(([name]) => name);
  assert.ok(variables.length > 15);
  for (const name of variables.filter((each) => !each.startsWith('LIMIT_'))) assert.ok(readme.includes(`\`${name}\``), name);
});

test('readConfig returns `help` for --help', () => assert.equal(readConfig(['--help'], {}), 'help'));

test('the error for an invalid REDIS_URL does not quote the value, which may contain a password', () => {
  for (const value of ['redis.example', 'http://u:geheim@redis.example', 'redis://u:geheim@:x'])
    assert.throws(() => read([], { REDIS_URL: value }), { message: /^REDIS_URL must be redis:\/\/(?!.*geheim)/ }, value);
});

test('the errors for invalid limits, unknown limits and invalid proxies name the setting', () => {
  for (const value of ['', '0', '-1', '1.5', 'many'])
    assert.throws(() => read([], { LIMIT_MAX_OFFERS: value }), {
      message: `LIMIT_MAX_OFFERS must be a whole number above 0, got "${value}"`,
    });
  assert.throws(() => read([], { LIMIT_OFFERS: '5' }), {
    message: /^LIMIT_OFFERS is not a limit; expected one of LIMIT_MAX_BODY_BYTES, /,
  });
  for (const value of ['example.org', '10.0.0.0/33', '10.0.0.0/', '::1/129', '1.2.3.4/8/8'])
    assert.throws(() => read([], { TRUSTED_PROXIES: value }), {
      message: `TRUSTED_PROXIES must be addresses or ranges such as 10.0.0.0/8, got "${value}"`,
    });
});

test('refuses malformed lists, but treats an empty path or host as unset', () => {
  for (const variable of ['PUBLIC_URL', 'CORS_ORIGINS', 'TRUSTED_PROXIES', 'RESERVED_NAMES', 'STUN_URLS', 'TURN_SECRET'])
    assert.throws(() => read([], { [variable]: ' , ' }), { message: `${variable} contains only commas and spaces, got " , "` });
  assert.throws(() => read(['--cors-origin', ',']), { message: 'CORS_ORIGINS contains only commas and spaces, got ","' });
  assert.throws(() => read([], { RESERVED_NAMES: 'boss,Admin' }), {
    message: 'RESERVED_NAMES must be valid usernames, in lower case, got "Admin"',
  });
  for (const [argv, env] of [
    [[], { STORAGE_PATH: '' }],
    [['--storage', ''], {}],
  ] as const)
    assert.equal(read([...argv], env).storagePath, 'rondevu.db');
  assert.equal(read([], { HOST: '' }).host, 'localhost');
  assert.deepEqual(read(['--cors-origin', ''], { CORS_ORIGINS: 'https://a.example' }).corsOrigins, ['https://a.example']);
});

for (const [variable, flag, values] of [
  ['PORT', '--port', ['', 'http', '-1', '65536', '1.5', 'NaN']],
  ['PUBLIC_URL', '--public-url', ['example.org', 'ftp://a.example', '/api', 'https://']],
  ['CORS_ORIGINS', '--cors-origin', ['example.org', 'https://a.example/', 'https://a.example/x', 'null', 'HTTPS://A.example']],
  ['LEGACY_AUTH', '--legacy-auth', ['', 'on', 'Sticky']],
  ['LOG_LEVEL', '--log-level', ['', 'verbose', 'WARN']],
  ['DRAIN_SECONDS', '--drain', ['', '-1', 'soon', '3601']],
] as const) {
  test(`the error for an invalid ${variable} states the expected and the received value`, () => {
    for (const value of values) {
      const text = { message: new RegExp(`${variable} \\(${flag}\\) must be .+, got "${value.replaceAll('.', '\\.')}"`) };
      assert.throws(() => read([`${flag}=${value}`]), text, value);
      assert.throws(() => read([], { [variable]: value }), text, value);
    }
  });
}

test('the error for a METRICS_TOKEN that is too short does not quote the token', () => {
  assert.throws(() => read([], { METRICS_TOKEN: 'short-secret' }), {
    message: 'METRICS_TOKEN must have 16 characters or more, got 12',
  });
});

test('refuses an unknown flag', () => assert.throws(() => read(['--prot', '1']), /--prot/));

test('the error for a port in use names the port and suggests how to change it', async (t) => {
  const { port } = await startServer(t);
  await assert.rejects(createServer({ port, host: '127.0.0.1', storagePath: ':memory:' }), {
    message: `port ${port} on 127.0.0.1 is taken: choose another with PORT or --port`,
  });
});

test('the error for a database that cannot be opened names the file and suggests what to check', async (t) => {
  const path = `${temporaryFile(t)}/no/such/folder.db`;
  await assert.rejects(createServer({ port: 0, host: '127.0.0.1', storagePath: path }), (error: Error) => {
    assert.match(error.message, /^cannot open the database .*folder\.db: .*Does the folder exist/);
    return true;
  });
});

test('createServer uses the default for an option that is undefined', async () => {
  const options = { port: 0, storagePath: ':memory:', host: undefined, corsOrigins: undefined, limits: undefined };
  const server = await createServer(options as unknown as ServerOptions);
  try {
    assert.match(server.url, /^http:\/\/localhost:\d+$/);
    const response = await fetch(`${server.url}/health`, { headers: { origin: 'https://page.example' } });
    assert.equal(response.headers.get('access-control-allow-origin'), '*');
  } finally {
    await server.close();
  }
});

const local = (storage: string): string[] => ['--port', '0', '--host', '127.0.0.1', '--storage', storage];

test('the command prints its address and storage, and warns if PUBLIC_URL is not set', async (t) => {
  const server = await spawnServer(t, local(':memory:'));
  assert.equal(((await (await fetch(server.url)).json()) as { name: string }).name, 'Rondevu');
  assert.match(server.output(), /storage: :memory:/);
  assert.match(server.output(), /PUBLIC_URL is not set/);
  const quiet = await spawnServer(t, local(':memory:'), { PUBLIC_URL: 'https://a.example' });
  assert.doesNotMatch(quiet.output(), /PUBLIC_URL/);
});

test('the command reports an invalid setting without a stack trace and exits with code 1', async (t) => {
  const server = await spawnServer(t, local(':memory:'), { LEGACY_AUTH: 'maybe' });
  assert.deepEqual(await server.ended, [1, null]);
  assert.equal(server.output(), 'rondevu-server: LEGACY_AUTH (--legacy-auth) must be allow, sticky or off, got "maybe"\n');
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`exits with code 0 on ${signal} despite a queued joiner, an open socket and an idle connection`, async (t) => {
    const server = await spawnServer(t, local(':memory:'));
    const host = await PushClient.open(server.url);
    const fqn = `chat:1.0.0@${host.username}`;
    await host.publish(fqn, ['offer']);
    const joiner = new Client(server.url, someone(), 'v2', newInstance());
    await joiner.take(fqn);
    const waiting = refused(joiner.take(fqn, { wait: 20_000 }), 'unavailable');
    await host.event('demand');
    server.process.kill(signal);
    await waiting;
    assert.deepEqual(await server.ended, [0, null]);
    assert.equal(await host.closed, 1001);
  });
}

test('claims, services and offers survive SIGKILL and a restart on the same database file', async (t) => {
  const path = temporaryFile(t);
  const first = await spawnServer(t, local(path));
  const host = someone('host');
  const fqn = `chat:1.0.0@${host.username}`;
  const instance = newInstance();
  const { serviceId } = await new Client(first.url, host, 'v2', instance).publish(fqn, ['offer'], { metadata: { a: 1 } });
  first.process.kill('SIGKILL');
  await first.ended;

  const second = await spawnServer(t, local(path));
  const joiner = new Client(second.url, someone(), 'v2', newInstance());
  const found = await joiner.take(fqn);
  assert.deepEqual([found.serviceId, found.sdp, found.metadata], [serviceId, 'offer', { a: 1 }]);
  await refused(new Client(second.url, someone().as(host.username)).call('poll', {}), 'name-taken');
  await joiner.answer(found, 'answer');
  const { answers } = await new Client(second.url, host, 'v2', instance).call('poll', {});
  assert.equal(answers[0]!.sdp, 'answer');
});
