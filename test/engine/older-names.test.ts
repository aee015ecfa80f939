/**
 * Checks that all exports of the 0.20.0 and 0.9.0 Rondevu clients, and the methods of the exported classes, are still
 * available.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as core from '../../src/core.js';
import type * as Core from '../../src/core.js';
import { Emitter } from '../../src/base/emitter.js';
import { activeConnections } from '../../src/legacy/older-names.js';
import { startServer } from '../server/helpers.js';

const VALUES_0_20 =
  'Rondevu RondevuError NetworkError ValidationError ConnectionError RondevuAPI RpcBatcher RondevuConnection OffererConnection ' +
  'AnswererConnection ExponentialBackoff MessageBuffer WebCryptoAdapter NodeCryptoAdapter';
const VALUES_0_9 = 'Rondevu RondevuAuth RondevuUsername DurableConnection DurableChannel DurableService';

/** Types exported by the 0.20.0 client; a missing type is a compile error. */
export type Types020 = [
  Core.Signaler,
  Core.Binnable,
  Core.Keypair,
  Core.OfferRequest,
  Core.ServiceRequest,
  Core.Service,
  Core.ServiceOffer,
  Core.IceCandidate,
  Core.RondevuOptions,
  Core.PublishServiceOptions,
  Core.ConnectToServiceOptions,
  Core.ConnectionContext,
  Core.OfferContext,
  Core.OfferFactory,
  Core.ActiveOffer,
  Core.FindServiceOptions,
  Core.ServiceResult,
  Core.PaginatedServiceResult,
  Core.CryptoAdapter,
  Core.ConnectionConfig,
  Core.ConnectionState,
  Core.BufferedMessage,
  Core.ReconnectInfo,
  Core.StateChangeInfo,
  Core.ConnectionEventMap,
  Core.ConnectionEventName,
  Core.ConnectionEventArgs<'message'>,
  Core.OffererOptions,
  Core.AnswererOptions,
];
export type Types09 = [
  Core.Credentials,
  Core.FetchFunction,
  Core.UsernameClaimResult,
  Core.UsernameCheckResult,
  Core.DurableConnectionState,
  Core.DurableChannelState,
  Core.DurableConnectionConfig,
  Core.DurableChannelConfig,
  Core.DurableServiceConfig,
  Core.QueuedMessage,
  Core.DurableConnectionEvents,
  Core.DurableChannelEvents,
  Core.DurableServiceEvents,
  Core.ConnectionInfo,
  Core.ServiceInfo,
];

const EMITTER = 'on once off emit addListener removeListener removeAllListeners listeners listenerCount eventNames';
const MEMBERS: Record<string, string> = {
  Rondevu:
    `${EMITTER} isUsernameClaimed publishService startFilling stopFilling getOfferCount isConnected disconnectAll ` +
    'getServiceStatus connectToService findService postOfferAnswer getOfferAnswer poll addOfferIceCandidates ' +
    'getOfferIceCandidates getKeypair getUsername getPublicKey getActiveConnections getActiveOffers getAPIPublic ' +
    'getService discoverService discoverServices pollOffers exposeService connect connectByUuid',
  RondevuAPI:
    'isUsernameAvailable isUsernameClaimed publishService getService deleteService answerOffer getOfferAnswer poll ' +
    'addOfferIceCandidates getOfferIceCandidates',
  RpcBatcher: 'add flush getQueueSize clear',
  MessageBuffer: 'add getAll getValid getExpired remove clear incrementAttempt isEmpty isFull',
  ExponentialBackoff: 'next getAttempt reset peek',
  RondevuConnection: `${EMITTER} send getState getDataChannel getPeerConnection close`,
  OffererConnection: 'processAnswer rebindToOffer isRotating getOfferId',
  AnswererConnection: 'getOfferId',
  WebCryptoAdapter: 'generateKeypair signMessage verifySignature bytesToBase64 base64ToBytes randomBytes',
  DurableConnection: `${EMITTER} connect createChannel getChannel getState isConnected close`,
  DurableService: `${EMITTER} start stop getActiveConnections getServiceInfo`,
  DurableChannel: `${EMITTER} send close getQueueSize`,
  RondevuUsername:
    'generateKeypair signMessage checkUsername claimUsername saveKeypairToStorage loadKeypairFromStorage deleteKeypairFromStorage',
  RondevuAuth: 'register',
};

test('every class and function of the 0.20.0 and 0.9.0 clients is still exported', () => {
  const missing = `${VALUES_0_20} ${VALUES_0_9}`
    .split(' ')
    .filter((name) => typeof core[name as keyof typeof core] !== 'function');
  assert.deepEqual(missing, []);
  for (const name of ['generateKeypair', 'signMessage', 'verifySignature'] as const)
    assert.equal(typeof core.RondevuAPI[name], 'function');
});

for (const [name, members] of Object.entries(MEMBERS)) {
  test(`${name} still has all methods of the older clients`, () => {
    const { prototype } = core[name as keyof typeof core] as unknown as { prototype: object };
    assert.deepEqual(
      members.split(' ').filter((member) => typeof Reflect.get(prototype, member) !== 'function'),
      [],
    );
  });
}

test('the emitter supports the methods of EventEmitter', () => {
  const emitter = new Emitter<{ a: [number]; b: [] }>();
  const got: number[] = [];
  const listener = (n: number) => void got.push(n);
  emitter.addListener('a', listener).once('b', () => undefined);
  assert.deepEqual([emitter.eventNames(), emitter.listeners('a'), emitter.listenerCount('b')], [['a', 'b'], [listener], 1]);
  emitter.emit('a', 1);
  emitter.removeListener('a', listener).emit('a', 2);
  assert.deepEqual([got, emitter.eventNames()], [[1], ['b']]);
  emitter.on('a', listener).removeAllListeners('b');
  assert.deepEqual(emitter.eventNames(), ['a']);
  emitter.removeAllListeners();
  assert.deepEqual([emitter.eventNames(), emitter.emit('a', 3), got], [[], false, [1]]);
});

test('error constructors accept both the old and the new arguments', () => {
  const old = new core.RondevuError('it broke', { part: 1 });
  assert.deepEqual([old.message, old.context, old.code, old.name], ['it broke', { part: 1 }, 'bad-request', 'RondevuError']);
  assert.equal(new core.RondevuError('it broke').message, 'it broke');
  const cause = new Error('why');
  const now = new core.RondevuError('timeout', 'too late', { cause });
  assert.deepEqual([now.message, now.code, now.cause, now.context], ['too late', 'timeout', cause, undefined]);
  assert.deepEqual(new core.NetworkError('away', { url: 'x' }).context, { url: 'x' });
  assert.equal(new core.NetworkError('away', { cause, code: 'timeout' }).code, 'timeout');
  assert.deepEqual(new core.ValidationError('no', { got: 5 }).context, { got: 5 });
  const connection = new core.ConnectionError('gone', { peer: 'bob' });
  assert.deepEqual([connection.message, connection.context], ['gone', { peer: 'bob' }]);
  assert.equal(new core.ConnectionError('closed', 'gone').code, 'closed');
});

test('MessageBuffer still supports the methods of the older clients', () => {
  const buffer = new core.MessageBuffer({ maxSize: 2, maxAge: 60_000 });
  assert.ok(buffer.isEmpty());
  const first = buffer.add('one');
  buffer.add('two');
  assert.deepEqual([buffer.isFull(), first.data, first.attempts], [true, 'one', 0]);
  assert.equal(buffer.incrementAttempt(first.id), true);
  assert.equal(buffer.getAll()[0]?.attempts, 1);
  assert.equal(buffer.incrementAttempt('none'), false);
  const third = buffer.add('three');
  assert.deepEqual(
    buffer.getValid().map(({ data }) => data),
    ['two', 'three'],
  );
  assert.equal(buffer.remove(third.id)?.data, 'three');
  assert.equal(buffer.remove(third.id), null);
  buffer.add({ id: 'old', data: 'old', timestamp: Date.now() - 70_000, attempts: 0 });
  assert.deepEqual(
    [buffer.getValid(), buffer.getExpired()].map((messages) => messages.map(({ data }) => data)),
    [['two'], ['old']],
  );
  assert.deepEqual(
    buffer.clear().map(({ data }) => data),
    ['two'],
  );
  assert.equal(buffer.size, 0);
});

test('RpcBatcher counts and flushes queued calls', async () => {
  const sent: number[] = [];
  const batcher = new core.RpcBatcher(
    (requests) => (sent.push(requests.length), Promise.resolve(requests.map(() => ({ success: true, result: 1 })))),
    { maxWaitTime: 60_000 },
  );
  const request = { method: 'poll', message: '', signature: '', params: {} };
  await batcher.add(request); // the first call is sent without waiting
  const replies = [batcher.add(request), batcher.add(request)];
  assert.equal(batcher.getQueueSize(), 2);
  await batcher.flush();
  assert.equal(batcher.getQueueSize(), 0);
  assert.equal((await Promise.all(replies)).length, 2);
  assert.deepEqual(sent, [1, 2]);
});

test('active connections are a Map keyed by offer id, with array methods', () => {
  const of = (id: string) => ({ getOfferId: () => id }) as unknown as core.OffererConnection;
  const [one, two] = [of('1st'), of('2nd')];
  const active = activeConnections([one, two]);
  assert.ok(active instanceof Map);
  assert.deepEqual([active.size, active.length, active.get('2nd') === two, active[0] === one], [2, 2, true, true]);
  assert.deepEqual([...active.keys()], ['1st', '2nd']);
  for (const [id, connection] of active) assert.equal(connection.getOfferId(), id);
  assert.deepEqual(
    active.map((connection) => connection.getOfferId()),
    ['1st', '2nd'],
  );
  assert.equal(
    active.find((connection) => connection === two),
    two,
  );
  assert.deepEqual(Object.keys(active), []);
});

test('new Rondevu() throws an error that names its replacement', () => {
  const Old = core.Rondevu as unknown as new (options?: object) => unknown;
  for (const options of [undefined, {}, { baseUrl: 'https://api.example.org' }])
    assert.throws(() => new Old(options), /Rondevu\.connect\(\{ apiUrl, username, keypair \}\)/);
});

test('low-level calls accept positional arguments, including through getAPIPublic()', async (t) => {
  const { url } = await startServer(t);
  const keys = await core.RondevuAPI.generateKeypair();
  const host = new core.RondevuAPI(url, 'alice', keys, undefined, false);
  const bob = await core.Rondevu.connect({ apiUrl: url, username: 'bob', lifecycle: false });
  t.after(() => bob.close());
  const joiner = bob.getAPIPublic();
  assert.equal(await joiner.isUsernameAvailable('alice'), true);
  const serviceFqn = 'chat:1.0.0@alice';
  const sdp = 'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n';
  await host.publishService({ serviceFqn, offers: [{ sdp }], ttl: 60_000, signature: '', message: '' });
  assert.equal(await joiner.isUsernameAvailable('alice'), false);
  assert.equal((await joiner.getService('chat:1.0.0', { limit: 5, offset: 0 })).count, 1);
  const { offerId } = await joiner.getService(serviceFqn);
  assert.equal(await host.getOfferAnswer(serviceFqn, offerId), null);
  assert.deepEqual(await joiner.answerOffer(serviceFqn, offerId, sdp), { success: true, offerId });
  assert.equal((await host.getOfferAnswer(serviceFqn, offerId))?.answererId, 'bob');
  assert.equal((await host.poll(0)).answers.length, 1);
  await joiner.addOfferIceCandidates(serviceFqn, offerId, [{ candidate: 'candidate:1', sdpMid: '0' }]);
  assert.equal((await host.getOfferIceCandidates(serviceFqn, offerId, 0)).candidates.length, 1);
  assert.equal(await bob.getOfferAnswer(serviceFqn, offerId).catch(({ code }: core.RondevuError) => code), 'forbidden');
});

test('RondevuUsername claims a username and stores its key pair in localStorage, as in 0.9', async (t) => {
  const { url } = await startServer(t);
  const kept = new Map<string, string>();
  const localStorage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
  Object.defineProperty(globalThis, 'localStorage', { value: localStorage, configurable: true });
  t.after(() =>
    before ? Object.defineProperty(globalThis, 'localStorage', before) : Reflect.deleteProperty(globalThis, 'localStorage'),
  );
  const usernames = new core.RondevuUsername(url);
  assert.equal((await usernames.checkUsername('dave')).available, true);
  const { publicKey, privateKey } = await usernames.claimUsername('dave');
  assert.equal((await usernames.checkUsername('dave')).available, false);
  usernames.saveKeypairToStorage('dave', publicKey, privateKey);
  assert.deepEqual([...kept.keys()], ['rondevu:keypair:dave']);
  const keypair = usernames.loadKeypairFromStorage('dave')!;
  assert.deepEqual(keypair, { publicKey, privateKey });
  const dave = await core.Rondevu.connect({ apiUrl: url, username: 'dave', keypair, lifecycle: false });
  t.after(() => dave.close());
  assert.deepEqual(await dave.poll(), { answers: [], iceCandidates: {} });
  usernames.deleteKeypairFromStorage('dave');
  assert.equal(usernames.loadKeypairFromStorage('dave'), null);
  await assert.rejects(new core.RondevuAuth().register(), /nothing to register/);
});
