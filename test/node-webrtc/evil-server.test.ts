/**
 * A malicious signaling server in front of a real server alters the replies that it forwards. A pinned peer is never connected
 * to an impostor, no application data is exchanged, and the error gives the reason. See docs/security.md.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { describe, test, type TestContext } from 'node:test';
import { Rondevu, type RondevuError } from '../../src/index.js';
import { bytesToBase64Url, utf8 } from '../../src/base/bytes.js';
import { HandshakeProof, MemoryPinStore, WebCryptoAdapter, signerFromKeypair } from '../../src/identity/index.js';
import { canonicalJson, readSdpLine, type SdpLine } from '../../src/protocol/index.js';
import { startServer, until } from '../server/helpers.js';
import { NodePeerConnection } from '../support/old-host.js';
import { listenFor } from '../support/set-up.js';

const FQN = 'chat:1.0.0@alice';

interface Reply {
  method: string;
  params: { sdp?: string };
  result: { sdp?: string; publicKey?: string; answers?: { sdp: string; answererKey?: string }[] };
}
type Lie = (reply: Reply) => void | Promise<void>;

/** Starts a server that forwards every call and lets the test alter the replies. */
async function evilServer(t: TestContext) {
  const front = createServer((request, response) => {
    // clients try a WebSocket first; refusing the socket forces every reply through the malicious server
    if (request.method !== 'POST') return void response.writeHead(404).end();
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      pass(Buffer.concat(chunks).toString()).then(
        (text) => response.end(text),
        // forwarding fails when the real server is closed at the end of a test
        () => response.destroy(),
      );
    });
    response.setHeader('rondevu-caps', 'v2, instances, leases, wait, withdraw');
  });
  const url = await listenFor(t, front);
  const server = await startServer(t, { publicUrls: [url] });
  const evil = { url, lie: (() => undefined) as Lie };
  async function pass(body: string): Promise<string> {
    const reply = await fetch(`http://127.0.0.1:${server.port}/rpc`, { method: 'POST', body });
    const calls = [JSON.parse(body)].flat() as Pick<Reply, 'method' | 'params'>[];
    const replies = (await reply.json()) as unknown;
    for (const [index, one] of ([replies].flat() as { result?: Reply['result'] }[]).entries()) {
      if (one.result) await evil.lie({ ...calls[index]!, result: one.result });
    }
    return JSON.stringify(replies);
  }
  return evil;
}

/**
 * Creates a host, alice, and a joiner, bob, who trust each other's keys. Without a WebSocket, every reply passes through the
 * malicious server.
 */
async function setUp(t: TestContext, bobs: typeof RTCPeerConnection = NodePeerConnection) {
  const evil = await evilServer(t);
  const person = async (username: string, rtcPeerConnection = NodePeerConnection) => {
    const rondevu = await Rondevu.connect({
      apiUrl: evil.url,
      username,
      rtcPeerConnection,
      lifecycle: false,
    });
    t.after(() => rondevu.close());
    return rondevu;
  };
  const [alice, bob] = [await person('alice'), await person('bob', bobs)];
  await bob.trust('alice', alice.getPublicKey());
  await alice.trust('bob', bob.getPublicKey());
  const errors: RondevuError[] = [];
  const bytes: unknown[] = [];
  alice.on('offer:failed', (_id, error) => errors.push(error));
  alice.on('connection:opened', (_id, connection) => connection.on('message', (data) => bytes.push(data)));
  await (await alice.publishService({ service: 'chat:1.0.0', maxOffers: 2 })).start();
  const join = async () => {
    const connection = await bob.connectToService({
      serviceFqn: FQN,
      connectionConfig: { maxReconnectAttempts: 1, connectionTimeout: 2000 },
    });
    connection.send('secret');
    connection.on('message', (data) => bytes.push(data));
    await connection.opened;
    return connection;
  };
  return { evil, alice, bob, errors, bytes, join };
}

const changeLine = (sdp: string, change: Partial<SdpLine>): string =>
  sdp.replace(/a=x-rondevu:.*/, `a=x-rondevu:${bytesToBase64Url(utf8(canonicalJson({ ...readSdpLine(sdp)!, ...change })))}`);

/** Changes that the server makes to the offer for bob, and the resulting errors. */
const OFFER_LIES: [what: string, code: string, text: RegExp, lie: (sdp: string) => string][] = [
  ['swaps a fingerprint', 'unverified', /fp in the SDP line/, (sdp) => sdp.replace(/(a=fingerprint:sha-256 )../, '$100')],
  ...['a=FINGERPRINT:', 'a= fingerprint:', 'a=:fingerprint:', ' a=fingerprint:', 'b=AS:1\ra=fingerprint:', 'a=fingerprint'].map(
    (spelling): (typeof OFFER_LIES)[number] => [
      `adds a fingerprint as ${JSON.stringify(spelling)}`,
      'unverified',
      /line \d+ of a description must be/,
      (sdp) => sdp.replace('a=setup:', `${spelling}sha-256 ${'00:'.repeat(31)}00\r\na=setup:`),
    ],
  ),
  ['ends lines with LF alone', 'unverified', /end with CR LF/, (sdp) => sdp.replaceAll('\r\n', '\n')],
  ['adds a section', 'unverified', /media in the SDP line/, (sdp) => `${sdp}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n`],
  ['strips the line', 'unverified', /no proof, but the key is pinned/, (sdp) => sdp.replace(/a=x-rondevu:.*\r\n/, '')],
  ['strips `durable` from it', 'unverified', /signature is invalid/, (sdp) => changeLine(sdp, { caps: [] })],
];

describe('a malicious server', () => {
  test('two peers connect if the server alters nothing', async (t) => {
    const { bytes, join, errors } = await setUp(t);
    const connection = await join();
    await until(() => bytes.includes('secret'), 'the message');
    assert.deepEqual([connection.peer?.verified, connection.peer?.pinned, errors], [true, true, []]);
  });

  for (const [what, code, text, lie] of OFFER_LIES) {
    test(`a joiner refuses an offer if the server ${what}`, async (t) => {
      const { evil, bytes, join } = await setUp(t);
      evil.lie = ({ method, result }) => {
        if (method === 'getService' && result.sdp) result.sdp = lie(result.sdp);
      };
      await assert.rejects(join(), (error) => (error as RondevuError).code === code && text.test((error as Error).message));
      assert.deepEqual(bytes, []);
    });
  }

  test('a joiner refuses an offer from a different service of the same user', async (t) => {
    const { evil, alice, bob, bytes, join } = await setUp(t);
    await (await alice.publishService({ service: 'backup:9.0.0', maxOffers: 1 })).start();
    const other = await bob.findService('backup:9.0.0@alice');
    evil.lie = ({ method, result }) => {
      if (method === 'getService' && result.sdp) Object.assign(result, other);
    };
    await assert.rejects(join(), { code: 'identity-mismatch' });
    assert.deepEqual(bytes, []);
  });

  test("a joiner refuses an offer signed with the server's key", async (t) => {
    const { evil, bytes, join } = await setUp(t);
    const own = await new WebCryptoAdapter().generateKeypair();
    const mallory = new HandshakeProof(await signerFromKeypair(own), 'evil', evil.url, new MemoryPinStore());
    evil.lie = async ({ method, result }) => {
      if (method !== 'getService' || !result.sdp) return;
      const plain = result.sdp.replace(/a=x-rondevu:.*\r\n/, '').replace(/(a=fingerprint:sha-256 )../, '$100');
      Object.assign(result, await mallory.seal(plain, { role: 'offer', fqn: FQN, caps: ['durable'] }), {
        publicKey: own.publicKey,
      });
    };
    await assert.rejects(
      join(),
      (error) => (error as RondevuError).code === 'identity-changed' && / instead of /.test(String(error)),
    );
    assert.deepEqual(bytes, []);
  });

  test('a host refuses an answer to a replayed offer', async (t) => {
    const { evil, bytes, errors, join } = await setUp(t);
    const seen: string[] = [];
    evil.lie = ({ method, result }) => {
      if (method !== 'getService' || !result.sdp) return;
      seen.push(result.sdp);
      result.sdp = seen[0]!;
    };
    const first = await join();
    await until(() => bytes.length === 1, 'the first message');
    await first.close();
    await assert.rejects(join());
    assert.deepEqual(bytes, ['secret']);
    assert.ok(errors.some(({ code, message }) => code === 'unverified' && /belongs to another offer/.test(message)));
  });

  test('a host refuses an answer with an altered session id', async (t) => {
    const { evil, bytes, errors, join } = await setUp(t);
    evil.lie = ({ method, result }) => {
      if (method === 'poll')
        for (const answer of result.answers ?? []) answer.sdp = changeLine(answer.sdp, { sid: 'AAAAAAAAAAAAAAAAAAAAAA' });
    };
    await assert.rejects(join());
    assert.deepEqual(bytes, []);
    assert.ok(errors.some(({ code, message }) => code === 'unverified' && /signature is invalid/.test(message)));
  });

  test('a host refuses an answer from which the server removed the proof', async (t) => {
    const { evil, bytes, errors, join } = await setUp(t);
    evil.lie = ({ method, result }) => {
      if (method === 'poll') for (const answer of result.answers ?? []) answer.sdp = answer.sdp.replace(/a=x-rondevu:.*\r\n/, '');
    };
    await assert.rejects(join());
    assert.deepEqual(bytes, []);
    assert.ok(errors.some(({ code, message }) => code === 'unverified' && /no proof/.test(message)));
  });

  test('a joiner closes a link whose certificate does not match the signed fingerprint', async (t) => {
    const own = await standIn(t);
    class LenientPeerConnection extends NodePeerConnection {
      override setRemoteDescription({ type, sdp = '' }: RTCSessionDescriptionInit): Promise<void> {
        return super.setRemoteDescription({ type, sdp: sdp.replace(/a=fingerprint:.*(?=\r)/, own.fingerprint) });
      }
    }
    const { evil, bytes, join } = await setUp(t, LenientPeerConnection);
    evil.lie = async ({ method, params, result }) => {
      if (method === 'getService' && result.sdp) result.sdp = await own.offer(result.sdp);
      if (method === 'answerOffer') await own.answer(params.sdp!);
    };
    await assert.rejects(
      join(),
      (error) => (error as RondevuError).code === 'unverified' && /certificate in use/.test((error as Error).message),
    );
    assert.equal(own.pc.connectionState, 'connected', 'DTLS was up, so the comparison is what stopped it');
    assert.deepEqual([bytes, own.received], [[], []]);
  });
});

/** Creates the server's end of a link on which the server impersonates alice, with real ICE and DTLS. */
async function standIn(t: TestContext) {
  const pc = new NodePeerConnection({ iceServers: [] });
  t.after(() => pc.close());
  pc.createDataChannel('rondevu');
  const received: unknown[] = [];
  for (const id of [100, 101])
    pc.createDataChannel('rondevu', { negotiated: true, id }).onmessage = ({ data }) => received.push(data);
  const { sdp } = await pc.createOffer();
  const [fingerprint] = /a=fingerprint:\S+ \S+/.exec(sdp!)!;
  return {
    pc,
    received,
    fingerprint,
    /** Returns alice's signed offer with the server's candidates and ICE password, which the signature does not cover. */
    async offer(real: string): Promise<string> {
      const [ufrag] = /a=ice-ufrag:\S+/.exec(real)!;
      await pc.setLocalDescription({ type: 'offer', sdp: sdp!.replace(/a=ice-ufrag:\S+/, ufrag) });
      await until(() => pc.iceGatheringState === 'complete', 'gathering');
      const own = pc.localDescription!.sdp;
      const candidates = own.match(/^a=candidate:.*$/gm)!.map((line) => `${line.trim()}\r\n`);
      const [password] = /a=ice-pwd:\S+/.exec(own)!;
      return real.replace(/a=candidate:.*\r\n/g, '').replace(/a=ice-pwd:\S+/, password) + candidates.join('');
    },
    answer: (sdp: string) => pc.setRemoteDescription({ type: 'answer', sdp }),
  };
}
