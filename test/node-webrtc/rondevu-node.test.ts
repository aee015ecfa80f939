/**
 * Publishing a service, joining, and recovering from a lost link, with real WebRTC in Node (wrtc) and the real server: the
 * guarantees that connections give to applications. Tests that need a page or a bad network are in test/e2e and test/chaos.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { RondevuError, type OffererConnection, type RondevuConnection } from '../../src/index.js';
import { startServer, until } from '../server/helpers.js';
import { NodePeerConnection, SlowPeerConnection } from '../support/old-host.js';
import { client, listen, pair, record, sendRaw } from './pair.js';

const upAgain = (...connections: RondevuConnection[]) =>
  until(() => connections.every((connection) => connection.isConnected()), 'the link to be back', 20_000);
const codeOf = (act: () => unknown): string | undefined => {
  try {
    act();
  } catch (error) {
    return error instanceof RondevuError ? error.code : String(error);
  }
  return undefined;
};

/**
 * Returns a proxy of a peer connection that ignores one event handler and reports altered properties. A proxy is needed because
 * the properties of a peer connection cannot be redefined.
 */
const altered = (pc: RTCPeerConnection, ignored: string, says: Partial<RTCPeerConnection> = {}): RTCPeerConnection =>
  new Proxy(pc, {
    get(target, name) {
      const value: unknown = Reflect.get(name in says ? says : target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
    set: (target, name, value) => name === ignored || Reflect.set(target, name, value),
  });

describe('a connection', { concurrency: 3 }, () => {
  test('emits connected only after connectToService has resolved, even if the link opens earlier', async (t) => {
    const { server, opened } = await pair(t);
    const bob = await client(t, server, 'bob');
    const call = bob.api.call.bind(bob.api);
    bob.api.call = async (method, params, options) => {
      const result = await call(method, params, options);
      // delay the reply until the link is open
      if (method === 'answerOffer') await until(() => opened.length > 0, 'the link');
      return result;
    };
    const connection = await bob.connectToService({ serviceFqn: 'chat:1.0.0@alice', wait: 5000 });
    let connected = 0;
    connection.on('connected', () => connected++);
    await connection.opened;
    assert.equal(connected, 1);
  });

  test('replaces a peer connection that never finishes gathering candidates', async (t) => {
    const { join } = await pair(t);
    let made = 0;
    /** The first instance never finishes gathering, as sometimes happens in Chromium 156. */
    class Stalling extends NodePeerConnection {
      constructor(configuration?: RTCConfiguration) {
        super(configuration);
        if (made++ === 0) return altered(this, 'onicecandidate', { iceGatheringState: 'gathering' }) as this;
      }
    }
    const { connection, other } = await join('bob', { rtcPeerConnection: Stalling });
    assert.ok(made > 1, 'another link was made');
    const atHost = listen(other);
    assert.equal(await connection.send('over it').delivered, 'delivered');
    assert.deepEqual(atHost, ['over it']);
  });

  test('delivers messages after the joiner has been queued for a long time', async (t) => {
    const server = await startServer(t);
    let isClosed = false;
    class Observed extends NodePeerConnection {
      override close(): void {
        isClosed = true;
        super.close();
      }
    }
    const host = await client(t, server, 'alice');
    const bob = await client(t, server, 'bob', { rtcPeerConnection: Observed });
    const joining = bob.connectToService({ serviceFqn: 'chat:1.0.0@alice', wait: 60_000 });
    await until(() => isClosed, 'the spare link to be closed', 20_000);
    await (await host.publishService({ service: 'chat:1.0.0' })).start();
    const connection = await joining;
    await connection.opened;
    assert.equal(await connection.send('at last').delivered, 'delivered');
  });

  test('never exposes the message channel as the raw channel', async (t) => {
    const { join } = await pair(t);
    /** Peer connection that never reports a channel created by the peer. */
    class Unresponsive extends NodePeerConnection {
      constructor(configuration?: RTCConfiguration) {
        super(configuration);
        return altered(this, 'ondatachannel') as this;
      }
    }
    const { connection } = await join('bob', { rtcPeerConnection: Unresponsive });
    assert.equal(connection.getDataChannel(), undefined);
    assert.equal(await connection.send('a message').delivered, 'delivered');
  });

  test('delivers text and bytes in order in both directions', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const [atHost, atBob] = [listen(other), listen(connection)];
    const sent: (string | Uint8Array | Blob | ArrayBuffer)[] = [
      'hello',
      '',
      'ü 漢 🙂',
      Uint8Array.of(1, 2, 3),
      new ArrayBuffer(2),
    ];
    for (const data of [...sent, new Blob(['b']), new Uint8Array(4).subarray(1, 2), 'end']) connection.send(data);
    for (let i = 0; i < 500; i++) other.send(`${i}`);
    await until(() => atHost.at(-1) === 'end' && atBob.length === 500, 'all messages');
    assert.deepEqual(atHost, ['hello', '', 'ü 漢 🙂', [1, 2, 3], [0, 0], [98], [0], 'end']);
    assert.deepEqual(
      atBob,
      Array.from({ length: 500 }, (_, index) => `${index}`),
    );
  });

  test('copies bytes when send is called', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const atHost = listen(other);
    connection.getPeerConnection()!.close();
    const bytes = Uint8Array.of(1);
    connection.send(bytes);
    bytes[0] = 2;
    await until(() => atHost.length === 1, 'the message', 20_000);
    assert.deepEqual(atHost, [[1]]);
  });

  test('refuses to send unsupported values and messages above maxMessageSize', async (t) => {
    const { join } = await pair(t, { connectionConfig: { maxMessageSize: 1000 } });
    const { connection } = await join('bob');
    for (const data of [5, null, undefined, {}])
      assert.equal(
        codeOf(() => connection.send(data as unknown as string)),
        'bad-request',
      );
    assert.equal(
      codeOf(() => connection.send('x'.repeat(1001))),
      'too-large',
    );
    assert.equal(
      codeOf(() => connection.send('ü'.repeat(501))),
      'too-large',
    );
    assert.equal(
      codeOf(() => connection.send('x'.repeat(1000))),
      undefined,
    );
  });

  test('exposes the identity of the peer and the raw WebRTC objects', async (t) => {
    const { join, host, pool } = await pair(t);
    const { connection, other, rondevu } = await join('bob');
    assert.deepEqual([connection.peer?.username, connection.peer?.publicKey], ['alice', host.getPublicKey()]);
    assert.deepEqual([other.peer?.username, other.peer?.publicKey], ['bob', rondevu.getPublicKey()]);
    assert.equal(connection.serviceFqn, 'chat:1.0.0@alice');
    assert.equal(connection.getOfferId(), other.getOfferId());
    assert.equal(host.isConnected(other.getOfferId()), true);
    assert.deepEqual([...host.getActiveConnections().values()], [other]);
    assert.deepEqual(pool.connections, [other]);
    const atHost = listen(other);
    const raw: unknown[] = [];
    await until(() => connection.getDataChannel()?.readyState === 'open', 'the raw channel');
    other.getDataChannel()!.onmessage = ({ data }) => void raw.push(data);
    await sendRaw(connection.getDataChannel()!, () => raw.length > 0);
    assert.equal(raw[0], 'raw');
    assert.deepEqual(atHost, []);
    assert.equal(connection.getPeerConnection()!.connectionState, 'connected');
    const stats = (await connection.getStats())!;
    assert.ok(stats.report.size > 0);
    assert.deepEqual([stats.rotations, stats.path], [0, 'host']);
    assert.ok(stats.bytesSent > 0 && stats.bytesReceived > 0 && stats.roundTripTime! >= 0, JSON.stringify(stats));
  });

  test('calls a connected listener that is added in a connection:opened listener', async (t) => {
    const { host, pool, server } = await pair(t);
    const calls: string[] = [];
    host.on('connection:opened', (offerId, connection) => {
      calls.push(`opened ${connection.getState()}`);
      connection.on('connected', () => calls.push('connected'));
      assert.equal(host.getActiveConnections().get(offerId), connection);
      assert.deepEqual(
        host.getActiveOffers().map((offer) => [offer.offerId, offer.serviceFqn, offer.answered]),
        [[offerId, pool.fqn, true]],
      );
    });
    const bob = await client(t, server, 'bob');
    await (
      await bob.connectToService({ serviceFqn: pool.fqn })
    ).opened;
    await until(() => calls.length === 2, 'both');
    assert.deepEqual(calls, ['opened connected', 'connected']);
  });

  test('closing a connection closes it at the peer without a reconnect attempt', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const log = record(other, 'disconnected', 'reconnecting', 'closed');
    const reasons: string[] = [];
    other.on('closed', (reason) => reasons.push(reason));
    const first = connection.close({ reason: 'enough' });
    assert.equal(connection.getState(), 'closed');
    assert.equal(connection.close(), first, 'closing twice is once');
    await first;
    await until(() => other.getState() === 'closed', 'the peer to close');
    assert.deepEqual(log, ['closed'], 'no reconnecting before it');
    assert.match(reasons[0]!, /peer/);
    assert.equal(
      codeOf(() => connection.send('x')),
      'closed',
    );
    assert.equal(
      codeOf(() => other.send('x')),
      'closed',
    );
  });

  test('disconnectAll closes the connections of a host, whose service stays published', async (t) => {
    const { join, host } = await pair(t);
    const { connection } = await join('bob');
    const log = record(connection, 'reconnecting', 'closed');
    await host.disconnectAll();
    await until(() => connection.getState() === 'closed', 'the joiner to end');
    assert.deepEqual(log, ['closed']);
    assert.equal(host.getActiveConnections().size, 0);
    assert.equal(host.getServiceStatus().active, true);
    await (await join('carol')).connection.close();
  });
});

describe('recovery', { concurrency: 3 }, () => {
  for (const PeerConnection of [NodePeerConnection, SlowPeerConnection]) {
    const speed = PeerConnection === SlowPeerConnection ? 'slowly' : 'quickly';
    for (const side of ['host', 'joiner'] as const) {
      test(`connections recover ${speed} if the application closes the ${side}’s RTCPeerConnection`, async (t) => {
        const { join, host, opened } = await pair(t, {}, { rtcPeerConnection: PeerConnection });
        const { connection, other } = await join('bob');
        const [atHost, atBob] = [listen(other), listen(connection)];
        const names = ['disconnected', 'reconnecting', 'reconnect:success', 'closed', 'message:replayed'] as const;
        const [hostLog, bobLog] = [record(other, ...names), record(connection, ...names)];
        const rotations: [string, string, OffererConnection][] = [];
        host.on('connection:rotated', (...args) => rotations.push(args));
        const offerId = other.getOfferId();
        const [one, two] = [connection.getPeerConnection(), other.getPeerConnection()];

        (side === 'host' ? other : connection).getPeerConnection()!.close();
        await until(() => !connection.isConnected() && !other.isConnected(), 'both to notice');
        const buffered: unknown[] = [];
        connection.on('message:sent', (data, kept) => buffered.push(data, kept));
        for (const n of [1, 2, 3]) connection.send(`from bob ${n}`);
        for (const n of [1, 2, 3]) other.send(`from alice ${n}`);
        assert.deepEqual(buffered, ['from bob 1', true, 'from bob 2', true, 'from bob 3', true]);
        await upAgain(connection, other);
        connection.send('from bob 4');
        other.send('from alice 4');

        await until(() => atHost.length >= 4 && atBob.length >= 4, 'the messages');
        assert.deepEqual(
          atHost,
          [1, 2, 3, 4].map((n) => `from bob ${n}`),
        );
        assert.deepEqual(
          atBob,
          [1, 2, 3, 4].map((n) => `from alice ${n}`),
        );
        const expected = ['disconnected', 'reconnecting', 'reconnect:success', ...Array<string>(3).fill('message:replayed')];
        assert.deepEqual([hostLog.sort(), bobLog.sort()], [expected.sort(), expected.sort()]);
        assert.equal(opened.length, 1, 'connection:opened once per object');
        assert.deepEqual([rotations[0]![0], rotations.at(-1)![1]], [offerId, other.getOfferId()]);
        assert.ok(rotations.every(([, , rotated]) => rotated === other));
        assert.notEqual(connection.getPeerConnection(), one);
        assert.notEqual(other.getPeerConnection(), two);
      });
    }
  }

  test('messages are neither lost nor duplicated if the peer connection is closed repeatedly', async (t) => {
    const { join } = await pair(t);
    const { connection, other } = await join('bob');
    const [atHost, atBob] = [listen(other), listen(connection)];
    for (let round = 0; round < 5; round++) {
      (round % 2 ? connection : other).getPeerConnection()!.close();
      await until(() => !connection.isConnected() && !other.isConnected(), 'both to notice');
      connection.send(`b${round}`);
      other.send(`a${round}`);
      await upAgain(connection, other);
      await until(() => atHost.length > round && atBob.length > round, `the messages of round ${round}`);
    }
    assert.deepEqual(atHost, ['b0', 'b1', 'b2', 'b3', 'b4']);
    assert.deepEqual(atBob, ['a0', 'a1', 'a2', 'a3', 'a4']);
  });

  test('with bufferEnabled: false, send throws only while the link is down', async (t) => {
    const { join } = await pair(t, { connectionConfig: { bufferEnabled: false } });
    const { connection, other } = await join('bob');
    const atHost = listen(other);
    other.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    assert.equal(
      codeOf(() => connection.send('lost')),
      'not-connected',
    );
    await upAgain(connection, other);
    connection.send('kept');
    await until(() => atHost.length > 0, 'the message');
    assert.deepEqual(atHost, ['kept']);
  });

  test('the oldest messages beyond maxBufferSize are discarded and reported', async (t) => {
    const { join } = await pair(t, { connectionConfig: { maxBufferSize: 3 } });
    const { connection, other } = await join('bob');
    const atHost = listen(other);
    const discarded: unknown[] = [];
    connection.on('message:buffer:overflow', ({ data }) => discarded.push(data));
    const log = record(connection, 'message:buffered');
    connection.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    for (let n = 1; n <= 5; n++) connection.send(`${n}`);
    assert.deepEqual(discarded, ['1', '2']);
    assert.equal(log.length, 5);
    await until(() => atHost.length >= 3, 'the rest', 20_000);
    assert.deepEqual(atHost, ['3', '4', '5']);
  });

  test('messages older than maxBufferAge are reported as expired instead of being sent', async (t) => {
    const { join, pool } = await pair(t, { connectionConfig: { maxBufferAge: 50, sessionTtl: 60_000 } });
    const { connection, other } = await join('bob');
    const atHost = listen(other);
    const expired: unknown[] = [];
    connection.on('message:buffer:expired', ({ data }) => expired.push(data));
    await pool.stop({ close: false }); // the joiner finds no offer until the pool is restarted
    other.getPeerConnection()!.close();
    await until(() => !connection.isConnected(), 'the loss');
    connection.send('old');
    await until(() => expired.length === 1, 'the expiry to be reported while the link is down');
    assert.equal(connection.isConnected(), false);
    await pool.start();
    await upAgain(connection);
    connection.send('new');
    await until(() => pool.connections.some((one) => one.isConnected()) && atHost.length > 0, 'the new one', 20_000);
    assert.deepEqual([expired, atHost], [['old'], ['new']]);
  });

  test('messages for an absent peer reach only that peer, exactly once', async (t) => {
    const { join, opened, server } = await pair(t);
    const { connection, other, rondevu } = await join('bob');
    const keypair = rondevu.getKeypair();
    const hostLog = record(other, 'closed', 'reconnect:success');
    // bob leaves without closing the connection, like a killed process
    rondevu.hint('hide');
    await until(() => !other.isConnected(), 'the host to notice');
    const numbers = Array.from({ length: 51 }, (_, index) => index + 1);
    const handles = numbers.slice(0, 50).map((n) => other.send(`for bob ${n}`));

    const carols = [await join('carol'), await join('carla'), await join('caro')];
    const received: (string | ArrayBuffer)[] = [];
    for (const carol of carols) carol.connection.on('message', (data) => received.push(data));
    for (const carol of carols) {
      assert.notEqual(carol.other, other);
      carol.other.send('for you');
    }
    await until(() => received.length >= 3, 'their own messages');
    assert.deepEqual(received, ['for you', 'for you', 'for you']);

    const again = await client(t, server, 'bob', { keypair });
    const back = await again.connectToService({ serviceFqn: 'chat:1.0.0@alice', wait: 10_000 });
    const atBob = listen(back);
    await until(() => atBob.length >= 50, 'bob’s messages', 20_000);
    other.send('for bob 51');
    await until(() => atBob.length >= 51, 'the next one');
    assert.deepEqual(
      atBob,
      numbers.map((n) => `for bob ${n}`),
    );
    assert.deepEqual(new Set(await Promise.all(handles.map(({ delivered }) => delivered))), new Set(['delivered']));
    assert.deepEqual(hostLog, ['reconnect:success']);
    assert.equal(opened.length, 4);
    assert.equal(received.length, 3);
    assert.notEqual(connection.getState(), 'connected');
  });

  test('with reconnectEnabled: false, the loss of the link ends the connection', async (t) => {
    const { join } = await pair(t, { connectionConfig: { reconnectEnabled: false } });
    const { connection, other } = await join('bob');
    const log = record(connection, 'reconnecting', 'failed');
    other.getPeerConnection()!.close();
    await until(() => connection.getState() === 'failed', 'the failure');
    assert.deepEqual(log, ['failed']);
    await assert.doesNotReject(connection.opened, 'it was open once');
  });

  test('a second client of the same user gets its own connection', async (t) => {
    const { join, server, opened } = await pair(t);
    const { rondevu, other } = await join('bob');
    // a second client uses the same username and key while the first link is still alive
    const second = await client(t, server, 'bob', { keypair: rondevu.getKeypair() });
    const connection = await second.connectToService({ serviceFqn: 'chat:1.0.0@alice' });
    await connection.opened;
    await until(() => opened.length === 2, 'a connection of its own');
    assert.ok(other.isConnected() && opened[1]!.isConnected(), 'a second tab does not take the first one’s place');
  });

  test('malformed frames from the server affect neither connected peers nor new joiners', async (t) => {
    const sockets: WebSocket[] = [];
    /** WebSocket into which the test can inject frames that appear to come from the server. */
    class Tapped extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        sockets.push(this);
      }
    }
    const { join, host } = await pair(t, {}, { webSocket: Tapped as unknown as typeof globalThis.WebSocket });
    const { connection, other, rondevu } = await join('bob');
    await until(() => host.signalingState === 'push' && rondevu.signalingState === 'push', 'push');
    for (const frame of [
      'null',
      '5',
      '"x"',
      'true',
      '[null]',
      '{"id":1,"error":null}',
      '{"event":"answer","data":null,"seq":1000000000}',
    ])
      for (const socket of sockets) socket.emit('message', Buffer.from(frame), false);
    const heard = listen(other);
    assert.equal(await connection.send('still here').delivered, 'delivered');
    assert.deepEqual(heard, ['still here']);
    const { connection: later } = await join('carol');
    assert.ok(later.isConnected(), 'and others still get in');
  });

  test('ICE servers that the platform rejects are skipped with a single warning', async (t) => {
    const warn = t.mock.method(console, 'warn', () => undefined);
    /** Rejects invalid ICE servers, as required by WebRTC 1.0, section 4.4.1; wrtc itself accepts any value. */
    class Strict extends NodePeerConnection {
      constructor(configuration?: RTCConfiguration) {
        if (JSON.stringify(configuration).includes('nonsense')) throw new SyntaxError('an ICE server is invalid');
        super(configuration);
      }
    }
    const { server } = await pair(t);
    const bob = await client(t, server, 'bob', { rtcPeerConnection: Strict });
    const call = bob.api.call.bind(bob.api);
    bob.api.call = async (method, params, options) => {
      const result = await call(method, params, options);
      if (method === 'getService') Object.assign(result, { iceServers: [{ urls: ['nonsense'] }], iceTtl: 0 });
      return result;
    };
    for (let n = 0; n < 3; n++) await (await bob.connectToService({ serviceFqn: 'chat:1.0.0@alice', wait: 5000 })).opened;
    const warnings = warn.mock.calls.filter(({ arguments: [text] }) => String(text).includes('ICE servers'));
    assert.equal(warnings.length, 1);
  });

  test('a search distinguishes an unreachable server from a missing host', async (t) => {
    const gone = await startServer(t);
    await gone.close();
    const rondevu = await client(t, gone, 'bob');
    const connection = await rondevu.connectToService({ serviceFqn: 'chat:1.0.0@alice', wait: Infinity });
    const log: string[] = [];
    connection.on('waiting', () => log.push('waiting'));
    connection.on('failed', ({ code, willRetry }) => log.push(`${code} ${willRetry}`));
    await until(() => log.length > 0, 'the failure');
    assert.deepEqual(
      [log, rondevu.signalingState, rondevu.signalingError?.code],
      [['unavailable true'], 'offline', 'unavailable'],
    );
    await startServer(t, { port: gone.port });
    await until(() => log.length > 1, 'the server’s word', 20_000);
    assert.deepEqual([log, rondevu.signalingError], [['unavailable true', 'waiting'], undefined]);
    await rondevu.close();
  });
});
