/** Removing or escaping unprintable characters before text from a peer is printed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { escapeUnprintable, printable } from '../../src/base/printable.js';
import { ConnectionError, RondevuError, ValidationError } from '../../src/errors.js';

/** At least one character of each kind: C0, DEL, C1, bidirectional, zero-width, separator, invisible and tag characters. */
const UNPRINTABLE = [
  ...[0x00, 0x07, 0x08, 0x0d, 0x1b, 0x7f, 0x80, 0x9b, 0x9d, 0x9f, 0xad, 0x61c, 0x180e, 0x200b, 0x200e, 0x2028],
  ...[0x202a, 0x202e, 0x2060, 0x2066, 0x2069, 0x206f, 0xfeff, 0xfff9, 0xe0001, 0xe0041],
].map((code) => String.fromCodePoint(code));

test('removes only terminal control characters and invisible characters', () => {
  for (const character of UNPRINTABLE) {
    assert.equal(printable(`a${character}b`), 'ab', escapeUnprintable(character));
    assert.equal(printable(`a${character}b`, true), 'ab');
  }
  assert.equal(printable('a\n\tb', true), 'a\n\tb');
  const fine = 'Zoë Ñandú 日本語 العربية 👩 ~ \u00a0';
  assert.deepEqual([printable(fine), escapeUnprintable(fine)], [fine, fine]);
});

test('escapes unprintable characters in JSON without changing its value', () => {
  const value = { text: UNPRINTABLE.join('x') };
  const json = escapeUnprintable(JSON.stringify(value));
  assert.equal(printable(json), json);
  assert.deepEqual(JSON.parse(json), value);
});

test('error messages are printable even if they quote unprintable text', () => {
  for (const error of [
    new RondevuError('timeout', `x ${UNPRINTABLE.join('')}\n`),
    new ValidationError(UNPRINTABLE.join('')),
    new ConnectionError('closed', UNPRINTABLE.join('')),
  ])
    assert.equal(printable(error.message), error.message);
});
