/** Exporting and importing identities as text that is encrypted with a passphrase. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createIdentity, exportIdentity, importIdentity, RondevuError } from '../../src/index.js';

const PASSPHRASE = 'correct horse ünïcode';

test('an exported identity can be imported again, and its text does not reveal the private key', async () => {
  const identity = await createIdentity();
  const text = await exportIdentity(identity, PASSPHRASE);
  assert.ok(!text.includes(identity.exportKeypair!().privateKey));
  // the same passphrase, as typed on a keyboard that produces decomposed characters
  const back = await importIdentity(text, PASSPHRASE.normalize('NFD'));
  assert.deepEqual(back.exportKeypair!(), identity.exportKeypair!());
  const bytes = Uint8Array.of(1, 2, 3);
  assert.deepEqual(await back.sign(bytes), await identity.sign(bytes));
  assert.notEqual(await exportIdentity(identity, PASSPHRASE), text, 'salt and nonce are fresh');
});

test('importIdentity refuses a wrong passphrase and modified text', async () => {
  const identity = await createIdentity();
  const text = await exportIdentity(identity, PASSPHRASE);
  const wrong = /the passphrase is wrong, or the text was changed/;
  await assert.rejects(importIdentity(text, `${PASSPHRASE} `), wrong);
  const other = (await createIdentity()).publicKey;
  const value = JSON.parse(text) as Record<string, unknown>;
  const flipped = Buffer.from(String(value['sealed']), 'base64');
  flipped[0]! ^= 1;
  const changes: Record<string, unknown>[] = [
    { publicKey: other },
    { iterations: 600_001 },
    { sealed: flipped.toString('base64') },
    { salt: Buffer.alloc(16).toString('base64') },
    { more: 1 },
  ];
  for (const change of changes)
    await assert.rejects(
      importIdentity(JSON.stringify({ ...value, ...change }), PASSPHRASE),
      wrong,
      JSON.stringify(Object.keys(change)),
    );
});

test('malformed text, short passphrases and non-exportable keys are refused', async () => {
  const text = await exportIdentity(await createIdentity(), PASSPHRASE);
  const value = JSON.parse(text) as Record<string, unknown>;
  const wrong: [string, RegExp][] = [
    ['', /not from exportIdentity/],
    ['null', /not from exportIdentity/],
    ['{"publicKey":"x","privateKey":"y"}', /not from exportIdentity/],
    [JSON.stringify({ ...value, version: 2 }), /a newer release may support these, got \[2,/],
    [JSON.stringify({ ...value, iterations: 1 }), /iterations must be 100000 to 10000000, got 1/],
    [JSON.stringify({ ...value, iterations: 1e12 }), /iterations must be/],
    [JSON.stringify({ ...value, iv: 'AAAA' }), /iv must be 12 bytes/],
    [JSON.stringify({ ...value, sealed: undefined }), /sealed must be 48 bytes/],
  ];
  for (const [bad, message] of wrong) await assert.rejects(importIdentity(bad, PASSPHRASE), message);
  await assert.rejects(exportIdentity(await createIdentity(), 'short'), /at least 8 characters/);
  await assert.rejects(
    exportIdentity(await createIdentity({ exportable: false }), PASSPHRASE),
    (error: RondevuError) => error.code === 'key-not-exportable',
  );
});
