/**
 * The signed SDP line (docs/protocol.md): its encoding, its signature, and every change that a server can make to a handshake
 * in transit.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { base64ToBytes, bytesToBase64, bytesToBase64Url, utf8 } from '../../src/base/bytes.js';
import {
  HandshakeProof,
  IdentityChangedError,
  MemoryPinStore,
  WebCryptoAdapter,
  anonymousNameOf,
  pinOf,
  signerFromKeypair,
  type Expected,
  type PinStore,
} from '../../src/identity/index.js';
import { canonicalJson, parseSdp, readSdpLine, signedBytes, type SdpLine } from '../../src/protocol/index.js';
import { RondevuError } from '../../src/errors.js';
import { isCandidate } from '../../src/protocol/sdp.js';

interface Vector {
  note: string;
  keypair: { publicKey: string; privateKey: string };
  line: Omit<SdpLine, 'sig'>;
  signed: string;
  sig: string;
  attribute: string;
}

const sdpOf = (setup: string, fingerprint: string, ufrag: string): string =>
  [
    'v=0',
    'o=- 1 2 IN IP4 127.0.0.1',
    's=-',
    't=0 0',
    'a=group:BUNDLE 0',
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    `a=ice-ufrag:${ufrag}`,
    'a=ice-pwd:secretsecretsecretsecret',
    `a=fingerprint:sha-256 ${fingerprint}`,
    `a=setup:${setup}`,
    'a=mid:0',
    'a=sctp-port:5000',
    '',
  ].join('\r\n');
const fingerprintOf = (byte: string): string => Array.from({ length: 32 }, () => byte).join(':');
const OFFER = sdpOf('actpass', fingerprintOf('AA'), 'uOfF');
const ANSWER = sdpOf('active', fingerprintOf('DD'), 'uAnS');
const FQN = 'chat:1.0.0@alice';

async function person(pins: PinStore = new MemoryPinStore()) {
  const keypair = await new WebCryptoAdapter().generateKeypair();
  const signer = await signerFromKeypair(keypair);
  return { key: keypair.publicKey, proof: new HandshakeProof(signer, 'instance', 'https://server', pins) };
}

async function meeting() {
  const [alice, bob] = [await person(), await person()];
  const offer = await alice.proof.seal(OFFER, { role: 'offer', fqn: FQN, caps: ['durable'] });
  const toBob: Expected = { role: 'offer', fqn: FQN, username: 'alice', key: alice.key };
  const answer = await bob.proof.seal(ANSWER, { role: 'answer', fqn: FQN, caps: ['durable'], sid: 's', offerSig: offer.sig });
  const toAlice: Expected = { role: 'answer', fqn: FQN, username: 'bob', key: bob.key, offerSig: offer.sig };
  return { alice, bob, offer, answer, toBob, toAlice };
}

const refused = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof RondevuError && error.code === code && text.test(error.message);

test('the signed text, the signature and the attribute match the test vectors', async () => {
  const vectors = JSON.parse(readFileSync('test/vectors/sdp-line.json', 'utf8')) as Vector[];
  assert.ok(vectors.length >= 2);
  for (const { note, keypair, line, signed, sig, attribute } of vectors) {
    const signer = await signerFromKeypair(keypair);
    assert.equal(new TextDecoder().decode(signedBytes(line)), signed, note);
    assert.equal(bytesToBase64Url(await signer.sign(signedBytes(line))), sig, note);
    assert.equal(`a=x-rondevu:${bytesToBase64Url(utf8(canonicalJson({ ...line, sig })))}`, attribute, note);
  }
});

test('opening a description returns the verified identity of its signer', async () => {
  const { alice, bob, offer, answer, toBob, toAlice } = await meeting();
  const { peer, line } = await bob.proof.open(offer.sdp, toBob);
  assert.deepEqual(peer, { username: 'alice', publicKey: alice.key, verified: true, pinned: false });
  assert.deepEqual(line!.caps, ['durable']);
  await bob.proof.remember(peer);
  assert.equal((await bob.proof.open(offer.sdp, toBob)).peer.pinned, true);
  const there = await alice.proof.open(answer.sdp, toAlice);
  assert.deepEqual([there.peer.verified, there.line!.sid], [true, 's']);
});

test('parseSdp merges repeated attributes, and ignores the case of fingerprints', () => {
  const section = OFFER.slice(OFFER.indexOf('m='))
    .replace(/m=.*/, 'm=audio 9 UDP/TLS/RTP/SAVPF 111')
    .replace(/a=sctp.*\r\n/, '');
  const twice = OFFER + section.replaceAll('AA', 'aa');
  const { setup, ufrag, fp, media } = parseSdp(twice);
  assert.deepEqual([setup, ufrag, fp], ['actpass', ['uOfF'], [`sha-256 ${fingerprintOf('aa')}`]]);
  assert.deepEqual(media, ['application', 'audio']);
});

test('a description that the server altered, replayed or replaced is refused', async () => {
  const { alice, bob, offer, answer, toBob, toAlice } = await meeting();
  const mallory = await person();
  const other = await alice.proof.seal(OFFER.replace('uOfF', 'uNew'), { role: 'offer', fqn: FQN, caps: ['durable'] });
  const forged = await mallory.proof.seal(OFFER, { role: 'offer', fqn: FQN, caps: ['durable'] });
  const elsewhere = await alice.proof.seal(OFFER, { role: 'offer', fqn: 'files:1.0.0@alice', caps: ['durable'] });
  const lineOf = (sdp: string): SdpLine => readSdpLine(sdp)!;
  const tampered = (sdp: string, change: Partial<SdpLine>): string =>
    sdp.replace(/a=x-rondevu:.*/, `a=x-rondevu:${bytesToBase64Url(utf8(canonicalJson({ ...lineOf(sdp), ...change })))}`);
  const cases: [what: string, () => Promise<unknown>, code: string, text: RegExp][] = [
    [
      'swaps a fingerprint',
      () => bob.proof.open(offer.sdp.replace('AA:AA:', 'AA:AB:'), toBob),
      'unverified',
      /fp in the SDP line/,
    ],
    [
      'adds a fingerprint',
      () => bob.proof.open(`${offer.sdp}a=fingerprint:sha-384 ${'00:'.repeat(47)}00\r\n`, toBob),
      'unverified',
      /fp in the SDP line/,
    ],
    [
      'adds a media section',
      () => bob.proof.open(`${offer.sdp}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n`, toBob),
      'unverified',
      /media in the SDP line/,
    ],
    ['swaps the ufrag', () => bob.proof.open(offer.sdp.replace('uOfF', 'uEvl'), toBob), 'unverified', /ufrag/],
    ['swaps setup', () => bob.proof.open(offer.sdp.replace('actpass', 'active'), toBob), 'unverified', /setup/],
    ['strips durable', () => bob.proof.open(tampered(offer.sdp, { caps: [] }), toBob), 'unverified', /signature/],
    ['swaps the session', () => alice.proof.open(tampered(answer.sdp, { sid: 't' }), toAlice), 'unverified', /signature/],
    [
      'gives an answer to another offer',
      () => alice.proof.open(answer.sdp, { ...toAlice, offerSig: other.sig }),
      'unverified',
      /another offer/,
    ],
    ['gives an answer for an offer', () => bob.proof.open(answer.sdp, toBob), 'unverified', /is an answer/],
    ['gives the offer of another service', () => bob.proof.open(elsewhere.sdp, toBob), 'unverified', /files:1.0.0@alice/],
    ['answers with its own key', () => bob.proof.open(forged.sdp, toBob), 'identity-mismatch', /presented key/],
    [
      'puts its key into the line',
      () => bob.proof.open(tampered(offer.sdp, { key: mallory.key }), { ...toBob, key: mallory.key }),
      'unverified',
      /signature/,
    ],
    [
      'doubles the line',
      () => bob.proof.open(offer.sdp.replace(/(a=x-rondevu:.*\r\n)/, '$1$1'), toBob),
      'unverified',
      /x-rondevu once/,
    ],
    [
      'moves the line',
      () => bob.proof.open(offer.sdp.replace(/(a=x-rondevu:.*\r\n)/, '') + /a=x-rondevu:.*\r\n/.exec(offer.sdp)![0], toBob),
      'unverified',
      /allowed at this level, got "a=x-rondevu/,
    ],
    [
      'breaks the line',
      () => bob.proof.open(offer.sdp.replace(/a=x-rondevu:.*/, 'a=x-rondevu:AAAA'), toBob),
      'unverified',
      /base64url of JSON/,
    ],
  ];
  for (const [what, act, code, text] of cases) await assert.rejects(act, refused(code, text), what);
});

test('a pinned peer must present a proof with the pinned key', async () => {
  const { alice, bob, offer, toBob } = await meeting();
  const stripped = offer.sdp.replace(/a=x-rondevu:.*\r\n/, '');
  assert.equal((await bob.proof.open(stripped, toBob)).peer.verified, false, 'an old client, at the first meeting');
  await bob.proof.remember((await bob.proof.open(offer.sdp, toBob)).peer);
  await assert.rejects(bob.proof.open(stripped, toBob), refused('unverified', /no proof/));

  const other = await person();
  const forged = await other.proof.seal(OFFER, { role: 'offer', fqn: FQN, caps: [] });
  const changed = bob.proof.open(forged.sdp, { ...toBob, key: other.key });
  await assert.rejects(
    changed,
    (error) => error instanceof IdentityChangedError && error.old === alice.key && error.new === other.key,
  );
  await bob.proof.trust('alice', other.key);
  assert.equal((await bob.proof.open(forged.sdp, { ...toBob, key: other.key })).peer.pinned, true);
});

test('a pin in the address takes precedence over a stored key', async () => {
  const { alice, bob, offer, toBob } = await meeting();
  const pin = await pinOf(base64ToBytes(alice.key));
  assert.equal((await bob.proof.open(offer.sdp, { ...toBob, pin })).peer.pinned, true);
  await bob.proof.trust('alice', alice.key);
  await assert.rejects(bob.proof.open(offer.sdp, { ...toBob, pin: 'A'.repeat(22) }), IdentityChangedError);
  const stripped = offer.sdp.replace(/a=x-rondevu:.*\r\n/, '');
  await assert.rejects((await person()).proof.open(stripped, { ...toBob, pin }), refused('unverified', /no proof/));
});

test('an anonymous name must be derived from the key in the proof', async () => {
  const [alice, anonymous] = [await person(), await person()];
  const offer = await alice.proof.seal(OFFER, { role: 'offer', fqn: FQN, caps: [] });
  const answer = await anonymous.proof.seal(ANSWER, { role: 'answer', fqn: FQN, caps: [], sid: 's', offerSig: offer.sig });
  const username = await anonymousNameOf(anonymous.key);
  const expected = { role: 'answer' as const, fqn: FQN, key: undefined, offerSig: offer.sig };
  assert.equal((await alice.proof.open(answer.sdp, { ...expected, username })).peer.verified, true);
  const foreign = await anonymousNameOf(alice.key);
  await assert.rejects(
    alice.proof.open(answer.sdp, { ...expected, username: foreign }),
    refused('identity-mismatch', /does not belong/),
  );
});

test('a missing proof is accepted from an old client, but not under an anonymous name', async () => {
  const [alice, anonymous] = [await person(), await person()];
  const expected = { role: 'answer' as const, fqn: FQN, key: anonymous.key };
  const username = await anonymousNameOf(anonymous.key);
  await assert.rejects(alice.proof.open(ANSWER, { ...expected, username }), refused('unverified', /derived from a key/));
  const { peer } = await alice.proof.open(ANSWER, { ...expected, username: 'old-client' });
  assert.deepEqual([peer.verified, peer.pinned], [false, false]);
});

test('ambiguous or malformed descriptions are refused', () => {
  const changes: [what: string, change: (sdp: string) => string][] = [
    ['an upper-case name', (sdp) => sdp.replace('a=fingerprint', 'a=FINGERPRINT')],
    ['a blank before a name', (sdp) => sdp.replace('a=setup', 'a= setup')],
    ['a longer name', (sdp) => sdp.replace('a=ice-ufrag', 'a=ice-ufragx')],
    ['a blank after a value', (sdp) => sdp.replace('actpass', 'actpass ')],
    ['a lone CR', (sdp) => sdp.replace('a=mid:0', 'a=mid:0\ra=fingerprint:x')],
    ['LF alone', (sdp) => sdp.replaceAll('\r\n', '\n')],
    ['no end of line', (sdp) => sdp.slice(0, -2)],
    ['an empty line', (sdp) => sdp.replace('\r\na=mid', '\r\n\r\na=mid')],
    ['a control character', (sdp) => sdp.replace('a=mid:0', 'a=mid:0\0')],
    ['a character outside ASCII', (sdp) => sdp.replace('s=-', 's=\u2028')],
    ['a second description', (sdp) => sdp + sdp],
    ['another first line', (sdp) => sdp.replace('v=0', 'v=1')],
    ['lines in another order', (sdp) => sdp.replace('v=0\r\no=- 1 2 IN IP4 127.0.0.1', 'o=- 1 2 IN IP4 127.0.0.1\r\nv=0')],
    [
      'a fingerprint of the session and one of a section',
      (sdp) => sdp.replace('t=0 0', `t=0 0\r\n${/a=fing.*(?=\r)/.exec(sdp)![0]}`),
    ],
    ['a second fingerprint of one hash', (sdp) => `${sdp}a=fingerprint:sha-256 ${fingerprintOf('BB')}\r\n`],
    ['a weak hash', (sdp) => sdp.replace(/sha-256 .*(?=\r)/, `sha-1 ${fingerprintOf('AA').slice(0, 59)}`)],
    ['a short fingerprint', (sdp) => sdp.replace(/:AA(?=\r)/, '')],
    ['two setups', (sdp) => `${sdp}a=setup:active\r\n`],
    ['two user fragments', (sdp) => `${sdp}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:uTwo\r\n`],
    ['setup holdconn', (sdp) => sdp.replace('actpass', 'holdconn')],
    ['a short ice-pwd', (sdp) => sdp.replace('secretsecretsecretsecret', 'secret')],
    ['a second data section', (sdp) => sdp + sdp.slice(sdp.indexOf('m='))],
    ['too many sections', (sdp) => sdp + 'm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n'.repeat(64)],
    ['a section of another kind', (sdp) => `${sdp}m=text 9 UDP/TLS/RTP/SAVPF 98\r\n`],
    ['a tiny max-message-size', (sdp) => `${sdp}a=max-message-size:1\r\n`],
    ['two sctp-ports', (sdp) => `${sdp}a=sctp-port:5000\r\n`],
    ['a candidate of the session', (sdp) => sdp.replace('t=0 0', 't=0 0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host')],
    ['a malformed candidate', (sdp) => `${sdp}a=candidate:1 1 udp 1 192.0.2.1 9 host\r\n`],
    ['a candidate with a host name', (sdp) => `${sdp}a=candidate:1 1 udp 1 cafe.de 9 typ host\r\n`],
    ['too many candidates', (sdp) => sdp + 'a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n'.repeat(129)],
    ['an identity assertion', (sdp) => sdp.replace('t=0 0', 't=0 0\r\na=identity:AAAA')],
    ['keys in the description', (sdp) => `${sdp}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n`],
    ['too many lines', (sdp) => sdp + 'a=x\r\n'.repeat(4096)],
    ['too many characters', (sdp) => `${sdp}a=x:${'x'.repeat(131_072)}\r\n`],
    ['nothing', () => ''],
  ];
  assert.ok(parseSdp(OFFER));
  for (const [what, change] of changes) {
    assert.notEqual(change(OFFER), OFFER, what);
    assert.throws(() => parseSdp(change(OFFER)), refused('bad-request', /description/), what);
  }
});

test('candidates must contain an IP address or a browser-generated mDNS name', () => {
  const candidate = (address: string): string => `candidate:1 1 udp 2122260223 ${address} 50000 typ host generation 0`;
  const taken = ['192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1', 'fe80::1%eth0', '5e2b6d1c-94a3-4a0e-8b0b-0d7c1f1f7a11.local'];
  const names = [
    'example.com',
    'localhost',
    'printer.local',
    '999.1.1.1',
    '::dead.beef',
    '010.0.0.1',
    'cafe.de',
    'fade',
    '1.2.3.example',
    '5e2b6d1c-94a3-4a0e-8b0b-0d7c1f1f7a11',
  ];
  for (const address of taken) assert.equal(isCandidate(candidate(address)), true, address);
  for (const name of names) assert.equal(isCandidate(candidate(name)), false, name);
});

test('a signed SDP line that is not canonical JSON is refused', async () => {
  const { bob, offer, toBob } = await meeting();
  const [, text] = /a=x-rondevu:(.*)\r/.exec(offer.sdp)!;
  const json = Buffer.from(text!, 'base64url').toString();
  const respelled = [json.replace('{', '{"caps":["evil"],'), json.replace('{', '{ '), `${json} `, `\ufeff${json}`];
  for (const other of respelled) {
    const sdp = offer.sdp.replace(text!, Buffer.from(other).toString('base64url'));
    await assert.rejects(bob.proof.open(sdp, toBob), refused('unverified', /canonical|base64url of JSON/), other);
  }
});

test('a key of small order is refused because it verifies forged signatures', async () => {
  const { bob, offer, toBob } = await meeting();
  const line = readSdpLine(offer.sdp)!;
  const identity = new Uint8Array(32);
  identity[0] = 1;
  for (const key of [new Uint8Array(32), identity]) {
    const forged = { ...line, key: bytesToBase64(key), sig: bytesToBase64Url(new Uint8Array([...key, ...new Uint8Array(32)])) };
    const sdp = offer.sdp.replace(/a=x-rondevu:.*(?=\r)/, `a=x-rondevu:${bytesToBase64Url(utf8(canonicalJson(forged)))}`);
    await assert.rejects(bob.proof.open(sdp, { ...toBob, key: forged.key }), refused('unverified', /signature is invalid/));
  }
});
