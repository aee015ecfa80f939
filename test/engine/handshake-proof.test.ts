/** The SDP line: its text, its signature, and everything a server can do to a handshake on its way. docs/protocol.md. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bytesToBase64Url, utf8 } from '../../src/base/bytes.js';
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
import { base64ToBytes } from '../../src/base/bytes.js';
import { canonicalJson, readSdpLine, sdpFacts, signedBytes, type SdpLine } from '../../src/protocol/index.js';
import { RondevuError } from '../../src/errors.js';

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
const OFFER = sdpOf('actpass', 'AA:BB:CC', 'uOfF');
const ANSWER = sdpOf('active', 'DD:EE:FF', 'uAnS');
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

test('vectors: the text that is signed, the signature, and the attribute', async () => {
  const vectors = JSON.parse(readFileSync('test/vectors/sdp-line.json', 'utf8')) as Vector[];
  assert.ok(vectors.length >= 2);
  for (const { note, keypair, line, signed, sig, attribute } of vectors) {
    const signer = await signerFromKeypair(keypair);
    assert.equal(new TextDecoder().decode(signedBytes(line)), signed, note);
    assert.equal(bytesToBase64Url(await signer.sign(signedBytes(line))), sig, note);
    assert.equal(`a=x-rondevu:${bytesToBase64Url(utf8(canonicalJson({ ...line, sig })))}`, attribute, note);
  }
});

test('both sides know whose description they have, and whether they met before', async () => {
  const { alice, bob, offer, answer, toBob, toAlice } = await meeting();
  const { peer, line } = await bob.proof.open(offer.sdp, toBob);
  assert.deepEqual(peer, { username: 'alice', publicKey: alice.key, verified: true, pinned: false });
  assert.deepEqual(line!.caps, ['durable']);
  await bob.proof.remember(peer);
  assert.equal((await bob.proof.open(offer.sdp, toBob)).peer.pinned, true);
  const there = await alice.proof.open(answer.sdp, toAlice);
  assert.deepEqual([there.peer.verified, there.line!.sid], [true, 's']);
});

test('the facts are sets: order, case and repetition do not matter', () => {
  const twice = OFFER + OFFER.slice(OFFER.indexOf('m=')).replace('AA:BB:CC', 'aa:bb:cc').replace('uOfF', 'uTwo');
  assert.deepEqual(sdpFacts(twice), { setup: 'actpass', ufrag: ['uOfF', 'uTwo'], fp: ['sha-256 aa:bb:cc'] });
});

test('a server that swaps, replays, splices or strips is found out before a description is used', async () => {
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
      () => bob.proof.open(offer.sdp.replace('AA:BB:CC', 'AA:BB:CD'), toBob),
      'unverified',
      /fp in the SDP line/,
    ],
    [
      'adds a fingerprint',
      () => bob.proof.open(`${offer.sdp}a=fingerprint:sha-256 00:11\r\n`, toBob),
      'unverified',
      /fp in the SDP line/,
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
    ['answers with its own key', () => bob.proof.open(forged.sdp, toBob), 'identity-mismatch', /has the key/],
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
      /there once/,
    ],
    [
      'moves the line',
      () => bob.proof.open(offer.sdp.replace(/(a=x-rondevu:.*\r\n)/, '') + /a=x-rondevu:.*\r\n/.exec(offer.sdp)![0], toBob),
      'unverified',
      /before the media/,
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

test('a pinned peer: no proof is no downgrade, another key is told with both keys', async () => {
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

test('a pin in the address is compared with the key, whatever is stored', async () => {
  const { alice, bob, offer, toBob } = await meeting();
  const pin = await pinOf(base64ToBytes(alice.key));
  assert.equal((await bob.proof.open(offer.sdp, { ...toBob, pin })).peer.pinned, true);
  await bob.proof.trust('alice', alice.key);
  await assert.rejects(bob.proof.open(offer.sdp, { ...toBob, pin: 'A'.repeat(22) }), IdentityChangedError);
  const stripped = offer.sdp.replace(/a=x-rondevu:.*\r\n/, '');
  await assert.rejects((await person()).proof.open(stripped, { ...toBob, pin }), refused('unverified', /no proof/));
});

test('an anonymous name must belong to the key that is shown', async () => {
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

test('an anonymous name without a proof is nobody, another name without one is an old client', async () => {
  const [alice, anonymous] = [await person(), await person()];
  const expected = { role: 'answer' as const, fqn: FQN, key: anonymous.key };
  const username = await anonymousNameOf(anonymous.key);
  await assert.rejects(alice.proof.open(ANSWER, { ...expected, username }), refused('unverified', /made from its key/));
  const { peer } = await alice.proof.open(ANSWER, { ...expected, username: 'old-client' });
  assert.deepEqual([peer.verified, peer.pinned], [false, false]);
});
