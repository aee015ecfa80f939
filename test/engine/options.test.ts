/**
 * An invalid value of any public option causes a ValidationError that names the option and quotes the value, before anything is
 * sent. The tests also cover client calls in the wrong order.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_CONNECTION_CONFIG, connectionConfig } from '../../src/connection/connection-config.js';
import { RondevuError, ValidationError, quote } from '../../src/errors.js';
import { rtcConfiguration, takesServed, type IceServersOption } from '../../src/ice-servers.js';
import { Rondevu, type ConnectOptions, type PublishOptions, type RondevuOptions } from '../../src/index.js';
import { warnWithoutTurn } from '../../src/legacy/raw.js';
import { NodePeerConnection } from '../support/old-host.js';

/** Address of a port on which no server listens, so that every request fails. */
const CLOSED_PORT = 'http://127.0.0.1:9';

/** Options whose values are objects: errors state only the type of such a value, because it may contain secrets. */
const OBJECTS = /^(cryptoAdapter|turnServers|keypair|identity|connectionConfig|rtcConfig|pins)$/;

function isValidation(error: unknown, name: string, value: unknown, what: string): true {
  assert.ok(error instanceof ValidationError, `${what}: ${String(error)}`);
  assert.equal(error.code, 'bad-request');
  assert.ok(error.message.includes(name), `${what}: "${error.message}" does not name ${name}`);
  const received = OBJECTS.test(name) && value !== null ? typeof value : quote(value);
  assert.ok(error.message.includes(received), `${what}: "${error.message}" does not contain ${received}`);
  return true;
}

const client = (options: object = {}) =>
  Rondevu.connect({
    apiUrl: CLOSED_PORT,
    rtcPeerConnection: NodePeerConnection,
    lifecycle: false,
    ...options,
  } as RondevuOptions);

/** Option names, each followed by values that must be refused. */
type Table = [name: string, ...values: unknown[]][];

const NOT_STRING = [5, null, true, {}];
const NOT_COUNT = ['5', -1, NaN, null, true];
const NOT_FLAG = ['true', 0, null];
const NOT_FUNCTION = ['f', {}, null, true];

const CONNECT_CLIENT: Table = [
  ['apiUrl', 5, null, '', 'localhost:3000', 'ftp://x', '/rpc'],
  ['username', ...NOT_STRING, '', 'ab', 'Alice', 'a_b', '-abc', 'x'.repeat(33)],
  ['maxPeerConnections', ...NOT_COUNT],
  ['debug', ...NOT_FLAG],
  ['lifecycle', ...NOT_FLAG],
  ['rtcPeerConnection', ...NOT_FUNCTION],
  ['rtcIceCandidate', ...NOT_FUNCTION],
  ['webSocket', ...NOT_FUNCTION],
  ['cryptoAdapter', 'x', 5, true],
  ['turnServers', 'turn:x', 5, {}, [null], ['turn:x'], [{ username: 'u', credential: 'c' }]],
  ['identity', 'x', 5, {}, { privateKey: 'x' }],
  ['iceServers', 'nope', 5, {}, 'toString'],
];

for (const [name, ...values] of CONNECT_CLIENT) {
  test(`Rondevu.connect refuses invalid values of ${name}`, async () => {
    for (const value of values) {
      const error: unknown = await client({ [name]: value }).catch((caught: unknown) => caught);
      isValidation(error, name, value, `${name}: ${quote(value)}`);
    }
  });
}

test('Rondevu.connect refuses invalid batching options', async () => {
  for (const [batching, name, value] of [
    [{ maxBatchSize: 0 }, 'maxBatchSize', 0],
    [{ maxWaitTime: 'x' }, 'maxWaitTime', 'x'],
    [{ throttleInterval: -5 }, 'throttleInterval', -5],
  ] as const) {
    await assert.rejects(client({ batching }), (error) => isValidation(error, `batching.${name}`, value, name));
  }
});

test('Rondevu.connect refuses a missing apiUrl and unknown options', async () => {
  await assert.rejects(Rondevu.connect({} as RondevuOptions), (error) => isValidation(error, 'apiUrl', undefined, 'none'));
  await assert.rejects(client({ apiURL: 'http://x' }), (error) => isValidation(error, 'apiUrl', 'apiURL', 'a typing error'));
  for (const options of [undefined, null, 'http://localhost:3000']) {
    await assert.rejects(Rondevu.connect(options as unknown as RondevuOptions), ValidationError);
  }
});

test('Rondevu.connect refuses a keypair combined with an identity, and keys that do not match', async () => {
  const [one, other] = [(await client()).getKeypair(), (await client()).getKeypair()];
  await assert.rejects(client({ keypair: one, identity: await Rondevu.createIdentity() }), /keypair or identity/);
  await assert.rejects(client({ keypair: { ...one, publicKey: other.publicKey } }), /does not belong/);
  for (const keypair of [{}, { ...one, privateKey: 'short' }, { ...one, publicKey: 'AA==' }]) {
    await assert.rejects(client({ keypair }), (error) => error instanceof ValidationError && /keypair\./.test(error.message));
  }
});

test('Rondevu.connect makes no network requests and does not require WebRTC', async (t) => {
  const { mock } = t.mock.method(globalThis, 'fetch', () => Promise.reject(new Error('no network here')));
  let sockets = 0;
  class CountingSocket {
    constructor() {
      sockets++;
    }
  }
  const rondevu = await Rondevu.connect({ apiUrl: CLOSED_PORT, webSocket: CountingSocket as unknown as typeof WebSocket });
  assert.match(rondevu.getUsername(), /^anon-[a-z2-7]{26}$/);
  assert.equal(rondevu.signalingState, 'idle');
  await rondevu.close();
  assert.deepEqual([mock.callCount(), sockets], [0, 0]);
});

test('getKeypair throws key-not-exportable for a non-exportable identity', async () => {
  const rondevu = await client({ identity: await Rondevu.createIdentity() });
  assert.throws(
    () => rondevu.getKeypair(),
    (error) => error instanceof RondevuError && error.code === 'key-not-exportable',
  );
  const { publicKey, privateKey } = (await client()).getKeypair();
  assert.deepEqual([Buffer.from(publicKey, 'base64').length, Buffer.from(privateKey, 'base64').length], [32, 32]);
});

const PUBLISH: Table = [
  [
    'service',
    ...NOT_STRING,
    '',
    'chat',
    'chat:1',
    'chat:1.0',
    'Chat:1.0.0',
    ':1.0.0',
    'chat:',
    'chat:1.0.0@',
    'chat:1.0.0@somebody.else',
  ],
  ['maxOffers', ...NOT_COUNT],
  ['ttl', ...NOT_COUNT],
  ['maxConnections', ...NOT_COUNT],
  ['hidden', ...NOT_FLAG],
  ['offerFactory', ...NOT_FUNCTION],
  ['accept', ...NOT_FUNCTION],
  ['connectionConfig', 'x', 5, null, true],
  ['iceServers', 'nope', 5, {}],
];

for (const [name, ...values] of PUBLISH) {
  test(`publishService refuses invalid values of ${name}`, async () => {
    const rondevu = await client();
    for (const value of values) {
      const options = { service: 'chat:1.0.0', [name]: value } as PublishOptions;
      const error: unknown = await rondevu.publishService(options).catch((caught: unknown) => caught);
      const quoted = name === 'service' && value === 'chat:1.0.0@somebody.else' ? 'somebody.else' : value;
      isValidation(error, name, quoted, `${name}: ${quote(value)}`);
    }
    await rondevu.publishService({ service: 'chat:1.0.0' }); // the refused calls must leave no state behind
  });
}

test('publishService refuses unknown and missing options', async () => {
  const rondevu = await client();
  const unknown = rondevu.publishService({ service: 'chat:1.0.0', maxoffers: 3 } as PublishOptions);
  await assert.rejects(unknown, (error) => isValidation(error, 'maxOffers', 'maxoffers', 'a typing error'));
  for (const options of [undefined, null, 'chat:1.0.0']) {
    await assert.rejects(rondevu.publishService(options as unknown as PublishOptions), ValidationError);
  }
  await assert.rejects(rondevu.publishService({} as PublishOptions), (error) =>
    isValidation(error, 'service', undefined, 'none'),
  );
});

const CONNECT: Table = [
  ['serviceFqn', ...NOT_STRING, '', 'chat', 'chat:1.0.0@', 'chat:1.0.0@A', 'chat:1.0.0@alice#short'],
  ['service', ...NOT_STRING, '', 'chat'],
  ['username', ...NOT_STRING, '', 'Al'],
  ['wait', ...NOT_COUNT],
  ['failover', ...NOT_FLAG],
  ['rtcConfig', 'x', 5, null],
  ['connectionConfig', 'x', 5, null],
  ['signal', 'x', 5, null, {}, new AbortController()],
  ['iceServers', 'nope', 5, {}],
];

for (const [name, ...values] of CONNECT) {
  test(`connectToService refuses invalid values of ${name}`, async () => {
    const rondevu = await client();
    for (const value of values) {
      const options = { ...(name !== 'serviceFqn' && { service: 'chat:1.0.0' }), [name]: value } as ConnectOptions;
      const error: unknown = await rondevu.connectToService(options).catch((caught: unknown) => caught);
      isValidation(error, name, value, `${name}: ${quote(value)}`);
    }
  });
}

test('connectToService refuses missing or conflicting targets, invalid pins and unknown options', async () => {
  const rondevu = await client();
  await assert.rejects(rondevu.connectToService({}), (error) => isValidation(error, 'service', undefined, 'no target'));
  const both = { serviceFqn: 'chat:1.0.0@alice', username: 'alice' };
  await assert.rejects(
    rondevu.connectToService(both),
    (error) => error instanceof ValidationError && /not both/.test(error.message),
  );
  const pinned = rondevu.connectToService({ serviceFqn: 'chat:1.0.0@alice#short' });
  await assert.rejects(pinned, (error) => error instanceof ValidationError && /22 characters/.test(error.message));
  const unknown = rondevu.connectToService({ service: 'chat:1.0.0', timeout: 5 } as ConnectOptions);
  await assert.rejects(unknown, (error) => isValidation(error, 'wait', 'timeout', 'unknown'));
});

test('connectionConfig refuses invalid values and unknown options', () => {
  for (const [name, standard] of Object.entries(DEFAULT_CONNECTION_CONFIG)) {
    const bad = typeof standard === 'number' ? ['1', -1, NaN, null, true] : ['true', 1, null];
    for (const value of bad) {
      assert.throws(
        () => connectionConfig({ [name]: value }),
        (error) => isValidation(error, `connectionConfig: ${name}`, value, name),
      );
    }
    assert.doesNotThrow(() => connectionConfig({ [name]: standard, debug: undefined as unknown as boolean }));
  }
  assert.throws(
    () => connectionConfig({ reconnectJitter: 1.5 }),
    (error) => isValidation(error, 'reconnectJitter', 1.5, 'jitter'),
  );
  assert.throws(
    () => connectionConfig({ bufferenabled: true } as object),
    (error) => isValidation(error, 'bufferEnabled', 'bufferenabled', 'unknown'),
  );
  for (const name of ['constructor', 'toString', '__proto__']) {
    const options = JSON.parse(`{"${name}": 1}`) as object;
    assert.throws(
      () => connectionConfig(options),
      (error) => isValidation(error, 'the options of connectionConfig', name, name),
    );
  }
});

test('connectionConfig applies the defaults and accepts 0 and Infinity', () => {
  assert.deepEqual(connectionConfig(), DEFAULT_CONNECTION_CONFIG);
  const { maxReconnectAttempts, sessionTtl } = connectionConfig({ maxReconnectAttempts: 0, sessionTtl: Infinity });
  assert.deepEqual([maxReconnectAttempts, sessionTtl], [0, Infinity]);
});

test('findService refuses invalid names, unknown modes, and modes that conflict with the name', async () => {
  const rondevu = await client();
  for (const name of ['', 'chat', 5]) {
    await assert.rejects(rondevu.findService(name as string), (error) => isValidation(error, 'findService', name, String(name)));
  }
  await assert.rejects(rondevu.findService('chat:1.0.0', { mode: 'direct' }), /with @username/);
  await assert.rejects(rondevu.findService('chat:1.0.0@alice', { mode: 'random' }), /without @username/);
  const nonsense = rondevu.findService('chat:1.0.0', { mode: 'nearest' as 'random' });
  await assert.rejects(nonsense, (error) => isValidation(error, 'mode', 'nearest', 'unknown mode'));
});

test('each ICE preset selects its servers and transport policy', () => {
  const turnServers: RTCIceServer[] = [
    { urls: ['turn:192.0.2.1:3478?transport=udp', 'turns:turn.example.org:5349'], username: 'u', credential: 'c' },
    { urls: 'turn:turn.example.org:3478', username: 'u2', credential: 'c2' },
    { urls: 'stun:stun.example.org' },
  ];
  const of = (choice: IceServersOption, apiUrl = 'https://example.org') => rtcConfiguration(choice, turnServers, apiUrl);
  const urls = ({ iceServers = [] }: RTCConfiguration) => iceServers.flatMap((server) => server.urls);
  assert.deepEqual(of([{ urls: 'stun:mine' }]), { iceServers: [{ urls: 'stun:mine' }] });
  assert.deepEqual(of([]), { iceServers: [] });
  assert.match(urls(of('google-stun')).join(), /stun:stun\.l\.google\.com/);
  assert.deepEqual(of('server'), of('google-stun'));
  for (const host of ['localhost', '127.0.0.1', '[::1]', 'my.localhost']) {
    assert.deepEqual(urls(of('server', `http://${host}:3000`)), [], host);
  }
  assert.deepEqual(
    urls(of('ipv4-turn')).filter((url) => !url.startsWith('stun')),
    ['turn:192.0.2.1:3478?transport=udp'],
  );
  assert.deepEqual(
    urls(of('hostname-turns')).filter((url) => !url.startsWith('stun')),
    ['turns:turn.example.org:5349'],
  );
  const relay = of('relay-only');
  assert.equal(relay.iceTransportPolicy, 'relay');
  assert.deepEqual(urls(relay), [
    'turn:192.0.2.1:3478?transport=udp',
    'turns:turn.example.org:5349',
    'turn:turn.example.org:3478',
  ]);
  assert.deepEqual(
    relay.iceServers?.map(({ username, credential }) => [username, credential]),
    [
      ['u', 'c'],
      ['u2', 'c2'],
    ],
  );
});

test('`server` and, by default, `relay-only` use ICE servers from the signaling server', () => {
  const served: RTCIceServer[] = [
    { urls: ['stun:s.example.org'] },
    { urls: ['turn:t.example.org'], username: 'u', credential: 'c' },
  ];
  const of = (choice: IceServersOption, own: RTCIceServer[] = []) => rtcConfiguration(choice, own, 'https://example.org', served);
  assert.deepEqual(of('server'), { iceServers: served });
  assert.deepEqual(of('relay-only'), { iceServers: [served[1]], iceTransportPolicy: 'relay' });
  const own = { urls: ['turn:own.example.org'] };
  assert.deepEqual(of('relay-only', [own]), { iceServers: [own], iceTransportPolicy: 'relay' });
  assert.doesNotMatch(JSON.stringify(of('google-stun')), /example/);
  assert.deepEqual(rtcConfiguration('relay-only', [], 'https://example.org').iceServers, [], 'they may yet come');
  assert.deepEqual(
    [takesServed('server'), takesServed('relay-only'), takesServed('relay-only', [own]), takesServed([])],
    [true, true, false, false],
  );
});

test('TURN presets use TURN servers from the signaling server, or fall back to STUN with a warning', (t) => {
  const warn = t.mock.method(console, 'warn', () => undefined);
  const ip = { urls: ['turn:192.0.2.7:3478'], username: 'u', credential: 'very-secret' };
  const name = { urls: ['turns:t.example.org:5349'], username: 'u', credential: 'very-secret' };
  const urls = (choice: IceServersOption, served?: RTCIceServer[]) =>
    (rtcConfiguration(choice, [], 'https://example.org', served).iceServers ?? []).flatMap((server) => server.urls);
  const turn = (choice: IceServersOption, served?: RTCIceServer[]) =>
    urls(choice, served).filter((url) => url.startsWith('turn'));
  assert.deepEqual(
    [takesServed('ipv4-turn'), takesServed('hostname-turns'), takesServed('ipv4-turn', [ip])],
    [true, true, false],
  );
  assert.deepEqual(turn('ipv4-turn', [name, ip]), ip.urls);
  assert.deepEqual(turn('hostname-turns', [ip, name]), name.urls);
  assert.deepEqual(turn('ipv4-turn', [name]), name.urls, 'a relay of the other kind is better than none');
  for (const preset of ['ipv4-turn', 'hostname-turns'] as const) {
    const before = warn.mock.callCount();
    assert.deepEqual([turn(preset), turn(preset, [])], [[], []]);
    assert.match(urls(preset, []).join(), /stun:/);
    warnWithoutTurn(preset, [name]);
    assert.equal(warn.mock.callCount(), before);
    warnWithoutTurn(preset);
    warnWithoutTurn(preset, [{ urls: 'stun:s.example.org' }]);
    assert.equal(warn.mock.callCount(), before + 1);
    const text = String(warn.mock.calls.at(-1)!.arguments[0]);
    assert.ok(text.includes(preset) && text.includes('turnServers') && !text.includes('very-secret'), text);
  }
});

test('errors about options that may contain secrets never reveal the secrets', async () => {
  const secret = 'S3cretS3cret/+=';
  const password = `u:${secret}@example.org`;
  const server = { urls: 'turn:example.org', username: 'u', credential: secret };
  const shapes = [
    secret,
    password,
    `turn:${password}`,
    `ws://${password}/`,
    { secret },
    { toJSON: () => `turn:${password}` },
    server,
    [secret],
    [`turn:${password}`],
    [null, server],
    [{ credential: secret }],
  ];
  const rondevu = await client();
  const connect = (name: string) => (value: unknown) => client({ iceServers: 'hostname-turns', [name]: value });
  const join = (name: string) => (value: unknown) =>
    rondevu.connectToService({ service: 'chat:1.0.0', wait: Infinity, [name]: value });
  const publish = (name: string) => (value: unknown) => rondevu.publishService({ service: 'chat:1.0.0', [name]: value });
  const isHidden = async (act: (value: unknown) => Promise<unknown>, name: string, value: unknown) => {
    const error: unknown = await act(value).catch((caught: unknown) => caught);
    if (!(error instanceof Error)) return;
    const text = `${error.message}\n${error.stack}\n${JSON.stringify((error as RondevuError).context)}`;
    assert.ok(!text.includes(secret), `${name}: ${error.message}`);
  };
  for (const value of shapes) {
    for (const name of ['keypair', 'identity', 'cryptoAdapter', 'turnServers', 'pins'])
      await isHidden(connect(name), name, value);
    for (const name of ['rtcConfig', 'connectionConfig']) if (typeof value === 'string') await isHidden(join(name), name, value);
    // errors about these options quote short strings, so that a typo in a name or an address can be spotted
    if (value === secret || String(value) === secret) continue;
    await isHidden(connect('apiUrl'), 'apiUrl', value);
    if (Array.isArray(value)) continue;
    for (const act of [connect, join, publish]) await isHidden(act('iceServers'), 'iceServers', value);
  }
  for (const value of shapes.filter((shape) => typeof shape === 'object' && !Array.isArray(shape) && !('toJSON' in shape))) {
    for (const name of ['username', 'debug', 'maxPeerConnections', 'webSocket']) await isHidden(connect(name), name, value);
    for (const name of ['serviceFqn', 'failover', 'wait', 'signal']) await isHidden(join(name), name, value);
    for (const name of ['service', 'maxOffers', 'accept']) await isHidden(publish(name), name, value);
  }
  const whole = (act: (options: never) => Promise<unknown>) => (value: unknown) => act(value as never);
  await isHidden(whole(Rondevu.connect), 'Rondevu.connect', secret);
  await isHidden(
    whole((options) => rondevu.connectToService(options)),
    'connectToService',
    secret,
  );
  await isHidden(
    whole((options) => rondevu.publishService(options)),
    'publishService',
    secret,
  );
  for (const iceServers of ['ipv4-turn', 'hostname-turns']) {
    for (const urls of [`turn:${password}`, [`stun:example.org?${secret}`], secret]) {
      const turnServers = [{ urls, username: secret, credential: secret }];
      await isHidden(() => client({ iceServers, turnServers }), iceServers, urls);
      await assert.rejects(client({ iceServers, turnServers }), (error: Error) => error.message.includes(iceServers));
    }
  }
  await rondevu.close();
});

test('publishService refuses a service version that is already published', async () => {
  const rondevu = await client();
  await rondevu.publishService({ service: 'chat:1.0.0' });
  const twice = rondevu.publishService({ service: `chat:1.0.0@${rondevu.getUsername()}` });
  await assert.rejects(twice, (error) => error instanceof RondevuError && error.code === 'already-published');
  await rondevu.publishService({ service: 'chat:2.0.0' });
  await rondevu.unpublishService(`chat:1.0.0@${rondevu.getUsername()}`);
  await rondevu.publishService({ service: 'chat:1.0.0' });
  await rondevu.close();
});

test('startFilling before publishService rejects with an error that mentions publishService', async () => {
  const rondevu = await client();
  await assert.rejects(rondevu.startFilling(), (error) => error instanceof RondevuError && /publishService/.test(error.message));
});

test('the error for an invalid offerFactory result shows the expected form', async (t) => {
  const factories = [
    async () => ({ pc: {}, dc: {}, offer: { type: 'offer', sdp: '' } }),
    async () => ({}),
    async () => undefined,
  ];
  for (const factory of factories) {
    const rondevu = await client();
    t.after(() => rondevu.close());
    const offerFactory = factory as unknown as NonNullable<PublishOptions['offerFactory']>;
    const failures: RondevuError[] = [];
    rondevu.on('offer:failed', (_id, error) => failures.push(error));
    const pool = await rondevu.publishService({ service: 'chat:1.0.0', maxOffers: 1, offerFactory });
    await assert.rejects(pool.start(), (error) => {
      assert.ok(error instanceof ValidationError, String(error));
      assert.match(error.message, /offerFactory .*async \(pc\) =>/);
      return true;
    });
    assert.equal(failures.length, 1);
    assert.equal(failures[0]!.willRetry, false);
    await rondevu.close();
  }
});

test('after close, calls are refused and a second close has no effect', async () => {
  const rondevu = await client();
  assert.equal(rondevu.close(), rondevu.close());
  await rondevu.close();
  const closed = (error: unknown) => error instanceof RondevuError && error.code === 'closed';
  await assert.rejects(rondevu.publishService({ service: 'chat:1.0.0' }), closed);
  await assert.rejects(rondevu.connectToService({ service: 'chat:1.0.0' }), closed);
  await assert.rejects(rondevu.findService('chat:1.0.0'), closed);
});

test('the error for missing WebRTC names the rtcPeerConnection option', async () => {
  const rondevu = await Rondevu.connect({ apiUrl: CLOSED_PORT, lifecycle: false });
  const named = (error: unknown) => error instanceof RondevuError && /rtcPeerConnection/.test(error.message);
  await assert.rejects(rondevu.publishService({ service: 'chat:1.0.0' }), named);
  await assert.rejects(rondevu.connectToService({ service: 'chat:1.0.0' }), named);
});

test('connectionConfig caps timer delays at the maximum supported delay', () => {
  const long = connectionConfig({ connectionTimeout: Infinity, reconnectBackoffMax: 1e12, deadAfter: 2 ** 31 });
  assert.deepEqual([long.connectionTimeout, long.reconnectBackoffMax, long.deadAfter], Array(3).fill(2 ** 31 - 1));
  assert.equal(connectionConfig({ sessionTtl: Infinity, maxBufferAge: Infinity }).sessionTtl, Infinity);
});
