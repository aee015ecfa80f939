/**
 * Tests src/protocol and src/identity, which the client and the server share. Canonical JSON is checked against RFC 8785,
 * Ed25519 against RFC 8032, base32 against RFC 4648, and names and versions with property tests. Error messages must not
 * contain secrets.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  base64ToBytes,
  bytesToBase32,
  bytesToBase64,
  bytesToBase64Url,
  bytesToHex,
  utf8,
  type Bytes,
} from '../../src/base/bytes.js';
import {
  WebCryptoAdapter,
  anonymousNameOf,
  exportKeypair,
  generateSigner,
  isStrictPublicKey,
  pinOf,
  sha256,
  signText,
  signerFromKeypair,
  verify,
} from '../../src/identity/index.js';
import * as noble from '../../src/identity/noble.js';
import {
  ValidationError,
  audience,
  canonicalJson,
  compareVersions,
  digestInput,
  formatServiceName,
  isAnonymousName,
  isCompatible,
  isUsername,
  legacyMessage,
  parseMessage,
  parseServiceName,
  v2Message,
} from '../../src/protocol/index.js';

const bytes = (hex: string): Bytes => Uint8Array.from(Buffer.from(hex, 'hex'));
const sort = (versions: string[]): string[] => [...versions].sort(compareVersions);

test('canonical JSON matches the example in RFC 8785, section 3.2.2', () => {
  const input = String.raw`{
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
    "literals": [null, true, false]
  }`;
  const output = String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`;
  assert.equal(canonicalJson(JSON.parse(input)), output);
});

test('canonical JSON sorts property names by UTF-16 code units (RFC 8785, section 3.2.3)', () => {
  const input = {
    '\u20ac': 'Euro Sign',
    '\r': 'Carriage Return',
    '\ufb33': 'Hebrew Letter Dalet With Dagesh',
    '1': 'One',
    '\ud83d\ude00': 'Emoji: Grinning Face',
    '\u0080': 'Control',
    '\u00f6': 'Latin Small Letter O With Diaeresis',
  };
  const order = Object.keys(JSON.parse(canonicalJson(input)) as object);
  // a parsed object lists the key "1" first regardless of its position in the text, so the text is checked as well
  assert.deepEqual(order, ['1', '\r', '\u0080', '\u00f6', '\u20ac', '\ud83d\ude00', '\ufb33']);
  assert.ok(canonicalJson(input).startsWith('{"\\r":"Carriage Return","1":"One"'));
});

test('canonical JSON matches the number samples in RFC 8785, appendix B', () => {
  const samples: [hex: string, text: string][] = [
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
  ];
  for (const [hex, text] of samples) assert.equal(canonicalJson(Buffer.from(hex, 'hex').readDoubleBE()), text);
});

test('canonical JSON refuses values that JSON cannot represent', () => {
  for (const value of [
    undefined,
    NaN,
    Infinity,
    () => 1,
    1n,
    Symbol('s'),
    '\ud800',
    { a: undefined },
    ['\udc00'],
    { '\ud800': 1 },
  ]) {
    assert.throws(() => canonicalJson(value), ValidationError);
  }
  const deep = JSON.parse(`${'['.repeat(66)}${']'.repeat(66)}`) as unknown;
  assert.throws(() => canonicalJson(deep), /64 levels/);
});

const json = fc.jsonValue({ stringUnit: 'grapheme' });
test('canonical JSON preserves values and does not depend on property order', () => {
  const shuffled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffled);
    if (typeof value !== 'object' || value === null) return value;
    // built with JSON.parse because an assignment to "__proto__" would set the prototype
    const entries = Object.entries(value).reverse();
    return JSON.parse(
      `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${JSON.stringify(shuffled(item))}`).join(',')}}`,
    );
  };
  fc.assert(
    fc.property(json, (value) => {
      const plain = JSON.parse(JSON.stringify(value)) as unknown;
      const text = canonicalJson(plain);
      assert.deepEqual(JSON.parse(text), plain);
      assert.equal(canonicalJson(JSON.parse(text)), text);
      assert.equal(canonicalJson(shuffled(plain)), text);
    }),
  );
});

test('the digest covers aud, method and params, and treats absent params as {}', () => {
  const text = new TextDecoder().decode(digestInput('https://a.example', 'poll', { since: 1 }));
  assert.equal(text, '{"aud":"https://a.example","method":"poll","params":{"since":1}}');
  for (const params of [undefined, null]) {
    assert.deepEqual(digestInput('https://a.example', 'poll', params), digestInput('https://a.example', 'poll', {}));
  }
});

test('parseMessage returns the parts from which a message was built', () => {
  const username = fc.constantFrom('alice', 'bob.smith', `anon-${'a'.repeat(26)}`);
  const context = fc.constantFrom('', 'chat:1.0.0@alice', 'offer:0', 'a:b:c', '~v3');
  const timestamp = fc.nat(Number.MAX_SAFE_INTEGER);
  fc.assert(
    fc.property(username, context, timestamp, (name, middle, at) => {
      assert.deepEqual(parseMessage(legacyMessage('poll', name, middle, at)), {
        ...{ method: 'poll', username: name, context: middle, timestamp: at },
      });
      const [nonce, digest] = ['n'.repeat(22), 'd'.repeat(43)];
      assert.deepEqual(parseMessage(v2Message('poll', name, nonce, digest, at)), {
        ...{ method: 'poll', username: name, nonce, digest, timestamp: at },
      });
    }),
  );
});

test('parseMessage refuses malformed messages', () => {
  const bad = [
    undefined,
    null,
    7,
    {},
    '',
    'poll',
    'poll:alice',
    ':alice:1',
    'poll::1',
    'poll:alice:',
    'poll:alice:x',
    'poll:alice:-1',
  ];
  const wrongV2 = ['~v2', '~v2:n:d', `~v2:${'n'.repeat(22)}:${'d'.repeat(44)}`, `~v2:${'n'.repeat(22)}`];
  for (const message of [...bad, ...wrongV2.map((middle) => `poll:alice:${middle}:1`), `poll:alice:${'x'.repeat(1100)}:1`]) {
    assert.throws(() => parseMessage(message), ValidationError, String(message));
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseMessage(text);
      } catch (error) {
        assert.ok(error instanceof ValidationError);
      }
    }),
  );
});

test('the audience is the normalised server address without a trailing slash', () => {
  for (const [address, aud] of [
    ['https://A.example', 'https://a.example'],
    ['https://a.example:443/', 'https://a.example'],
    ['http://a.example:80/api//', 'http://a.example/api'],
    ['http://localhost:3000/x/../y', 'http://localhost:3000/y'],
    ['https://a.example/api?x=1#y', 'https://a.example/api'],
    ['http://[::1]:3000', 'http://[::1]:3000'],
  ]) {
    assert.equal(audience(address!), aud);
    assert.equal(audience(aud!), aud);
  }
  for (const bad of ['', 'a.example', '/api', 'ws://a.example', 'javascript:1'])
    assert.throws(() => audience(bad), ValidationError);
});

const part = fc.nat(999_999_999);
const release = fc.tuple(part, part, part).map((numbers) => numbers.join('.'));
const prerelease = fc.stringMatching(
  /^(0|[1-9][0-9]{0,3}|[A-Za-z-][0-9A-Za-z-]{0,5})(\.(0|[1-9][0-9]{0,3}|[A-Za-z-][0-9A-Za-z-]{0,5})){0,2}$/,
);
const version = fc.oneof(
  release,
  fc.tuple(release, prerelease).map(([numbers, pre]) => `${numbers}-${pre}`),
);

test('service names survive a round trip through parsing and formatting', () => {
  const name = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?$/);
  const username = fc.option(fc.stringMatching(/^[a-z0-9][a-z0-9.-]{1,30}[a-z0-9]$/), { nil: undefined });
  fc.assert(
    fc.property(name, version, username, (n, v, u) => {
      const text = formatServiceName({ name: n, version: v, ...(u !== undefined && { username: u }) });
      const parsed = parseServiceName(text);
      assert.deepEqual([parsed.name, parsed.version, parsed.username, parsed.pin], [n, v, u, undefined]);
      assert.equal(formatServiceName(parsed), text);
      const pinned = parseServiceName(`${text}#${'P'.repeat(22)}`);
      assert.equal(pinned.pin, 'P'.repeat(22));
      assert.equal(formatServiceName(pinned), text, 'a pin is never sent');
    }),
  );
});

test('invalid service names and usernames are refused', () => {
  for (const bad of [
    '',
    'chat',
    'chat:',
    'chat:1',
    'chat:1.0',
    'chat:1.0.0.0',
    'chat:01.0.0',
    'Chat:1.0.0',
    '-a:1.0.0',
    'a-:1.0.0',
  ]) {
    assert.throws(
      () => parseServiceName(bad),
      (error: Error) => error instanceof ValidationError && error.message.includes(JSON.stringify(bad)),
    );
  }
  for (const bad of [
    'chat:1.0.0@',
    'chat:1.0.0@al',
    'chat:1.0.0@Alice',
    'chat:1.0.0@a@b',
    'chat:1.0.0#short',
    'x'.repeat(129) + ':1.0.0',
    7,
    null,
  ]) {
    assert.throws(() => parseServiceName(bad), ValidationError);
  }
  for (const good of ['abc', 'a-b', 'a.b', 'x'.repeat(32), '0x0']) assert.ok(isUsername(good), good);
  for (const bad of ['ab', 'x'.repeat(33), '-ab', 'ab-', '.ab', 'a_b', 'ABC', 'a b', 'ab\n', '', 7, undefined])
    assert.ok(!isUsername(bad));
});

test('versions are ordered as specified in Semantic Versioning 2.0, section 11', () => {
  const order = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '2.0.0',
    '2.1.0',
    '2.1.1',
    '10.0.0',
  ];
  assert.deepEqual(sort([...order].reverse()), order);
});

test('compareVersions defines a total order', () => {
  fc.assert(
    fc.property(version, version, version, (a, b, c) => {
      assert.equal(Math.sign(compareVersions(a, b)), -Math.sign(compareVersions(b, a)) || 0);
      assert.equal(compareVersions(a, a), 0);
      const [x, y, z] = sort([a, b, c]) as [string, string, string];
      assert.ok(compareVersions(x, y) <= 0 && compareVersions(y, z) <= 0 && compareVersions(x, z) <= 0);
    }),
  );
});

test('isCompatible accepts newer releases of the same major version (of the same minor version in 0.x)', () => {
  const yes = [
    ['1.2.3', '1.2.3'],
    ['1.3.0', '1.2.9'],
    ['0.1.2', '0.1.0'],
    ['1.0.0-b', '1.0.0-b'],
  ];
  const no = [
    ['1.2.2', '1.2.3'],
    ['2.0.0', '1.0.0'],
    ['0.2.0', '0.1.0'],
    ['1.0.0-b', '1.0.0-a'],
    ['1.0.0', '1.0.0-a'],
    ['1.1.0-a', '1.0.0'],
  ];
  for (const [available, requested] of yes) assert.ok(isCompatible(available!, requested!), `${available} for ${requested}`);
  for (const [available, requested] of no) assert.ok(!isCompatible(available!, requested!), `${available} for ${requested}`);
  fc.assert(
    fc.property(release, release, (a, b) => {
      if (isCompatible(a, b)) assert.ok(compareVersions(a, b) >= 0 && a.split('.')[0] === b.split('.')[0]);
      assert.ok(isCompatible(a, a));
    }),
  );
});

test('base32 matches the vectors in RFC 4648, section 10, and the other encodings match Node', () => {
  const base32 = { '': '', f: 'my', fo: 'mzxq', foo: 'mzxw6', foob: 'mzxw6yq', fooba: 'mzxw6ytb', foobar: 'mzxw6ytboi' };
  for (const [text, encoded] of Object.entries(base32)) assert.equal(bytesToBase32(utf8(text)), encoded);
  fc.assert(
    fc.property(fc.uint8Array(), (data) => {
      const node = Buffer.from(data);
      assert.equal(bytesToBase64(data), node.toString('base64'));
      assert.equal(bytesToBase64Url(data), node.toString('base64url'));
      assert.equal(bytesToHex(data), node.toString('hex'));
      assert.deepEqual(base64ToBytes(bytesToBase64(data)), Uint8Array.from(data));
    }),
  );
});

/** Test vectors 1, 2 and 3 from RFC 8032, section 7.1. */
const RFC8032 = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
] as const;
for (const [index, [seed, key, message, signature]] of RFC8032.entries()) {
  test(`Ed25519 passes test ${index + 1} in RFC 8032, section 7.1, with WebCrypto and with noble`, async () => {
    const keypair = { privateKey: bytesToBase64(bytes(seed)), publicKey: bytesToBase64(bytes(key)) };
    const signer = await signerFromKeypair(keypair);
    assert.equal(bytesToHex(await signer.sign(bytes(message))), signature);
    assert.equal(bytesToHex(await noble.publicKeyOf(bytes(seed))), key);
    assert.equal(bytesToHex(await noble.sign(bytes(message), bytes(seed))), signature);
    for (const check of [verify, noble.verify]) {
      assert.equal(await check(bytes(signature), bytes(message), bytes(key)), true);
      assert.equal(await check(bytes(signature), bytes(`${message}00`), bytes(key)), false);
    }
    assert.ok(await isStrictPublicKey(bytes(key)));
  });
}

test('SHA-256 with WebCrypto and with noble matches Node', async () => {
  for (const text of ['', 'abc', 'ü'.repeat(1000)]) {
    const expected = createHash('sha256').update(text).digest('hex');
    assert.equal(bytesToHex(await sha256(utf8(text))), expected);
    assert.equal(bytesToHex(noble.sha256(utf8(text))), expected);
  }
});

test('anonymous names and pins are derived from the public key', async () => {
  const key = bytes(RFC8032[0][1]);
  const hash = createHash('sha256').update(key).digest();
  const name = await anonymousNameOf(bytesToBase64(key));
  assert.equal(name, `anon-${bytesToBase32(hash).slice(0, 26)}`);
  assert.ok(isAnonymousName(name) && isUsername(name));
  assert.equal(await pinOf(key), hash.toString('base64url').slice(0, 22));
  for (const other of ['anon-abc', `anon-${Date.now().toString(36)}-0a1b2c`, `${name}a`, name.toUpperCase(), name.slice(0, -1)]) {
    assert.ok(!isAnonymousName(other), other);
  }
});

test('isStrictPublicKey refuses keys of small order and of the wrong length', async () => {
  const weak = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    `ec${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
    `ed${'ff'.repeat(31)}`,
  ];
  for (const hex of weak) assert.equal(await isStrictPublicKey(bytes(hex)), false, hex);
  assert.equal(await isStrictPublicKey(new Uint8Array(31)), false);
});

test('errors about key pairs never quote the private key', async () => {
  const { privateKey, publicKey } = await new WebCryptoAdapter().generateKeypair();
  const secret = privateKey.slice(0, 40);
  const bad = [
    { privateKey: secret, publicKey },
    { privateKey: `${privateKey}!!`, publicKey },
    { privateKey: ` ${privateKey}${privateKey}`, publicKey },
    { privateKey, publicKey: privateKey },
    { privateKey, publicKey: 'short' },
    { privateKey: 7 as unknown as string, publicKey },
  ];
  for (const keypair of bad) {
    const error = await signerFromKeypair(keypair).catch((caught: unknown) => caught);
    assert.ok(error instanceof ValidationError, String(error));
    assert.ok(!`${error.message} ${String(error.cause ?? '')}`.includes(secret.slice(0, 8)), error.message);
  }
  await assert.rejects(signerFromKeypair(undefined as never), ValidationError);
});

test('a signer created from a key pair is exportable, but a generated signer is not', async () => {
  const keypair = await new WebCryptoAdapter().generateKeypair();
  assert.deepEqual(exportKeypair(await signerFromKeypair(keypair)), keypair);
  const signer = await generateSigner();
  assert.equal(signer.exportable, false);
  assert.throws(() => exportKeypair(signer), { code: 'key-not-exportable' });
  const signature = await signText(signer, 'text');
  assert.ok(await new WebCryptoAdapter().verifySignature('text', signature, signer.publicKey));
  assert.equal(await new WebCryptoAdapter().verifySignature('other', signature, signer.publicKey), false);
  assert.equal(await new WebCryptoAdapter().verifySignature('text', 'not base64!', signer.publicKey), false);
});
