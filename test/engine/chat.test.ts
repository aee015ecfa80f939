/** Chat messages: validation, authors, removal of unprintable characters before display, and rate limits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChatRates, authorOf, cleanName, parseChatMessage, printable } from '../../src/protocol/chat.ts';

test('parseChatMessage accepts chat messages and ignores anything else', () => {
  assert.deepEqual(parseChatMessage('{"type":"message","text":"hi"}'), { type: 'message', text: 'hi' });
  assert.equal(parseChatMessage('{"type":"identify_ack","from":"alice"}')?.from, 'alice');
  const long = (length: number) => JSON.stringify({ type: 'message', text: 'x'.repeat(length - 28) });
  assert.equal(long(16_384).length, 16_384);
  assert.ok(parseChatMessage(long(16_384)));
  for (const other of [long(16_385), '{"type":"messages"}', '{"type":', 'null', '[]', '7', '"message"', '', new ArrayBuffer(4)])
    assert.equal(parseChatMessage(other), undefined, String(other).slice(0, 40));
});

test('the author of a message is the peer, or the user whose message the peer relays', () => {
  assert.deepEqual(authorOf({ type: 'message' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 'alice' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 'bob' }, 'alice'), { author: 'bob', via: 'alice' });
  // a name that looks identical to the peer's name, and an invalid name
  assert.deepEqual(authorOf({ type: 'message', from: 'ali\u200bce' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 7 as never }, 'alice'), { author: 'alice', via: undefined });
});

test('control and bidirectional characters are removed, with optional exceptions for line breaks and tabs', () => {
  assert.equal(printable('a\u001b[31m\u0007b\u202ec\r\n\td\u0085'), 'a[31mbcd');
  assert.equal(printable('a\u001b\r\n\tb', true), 'a\n\tb');
  assert.equal(cleanName('x'.repeat(100)).length, 64);
});

test('messages whose type is not a string are ignored', () => {
  for (const type of [['message'], { message: 1 }, 1, null]) assert.equal(parseChatMessage(JSON.stringify({ type })), undefined);
});

test('each peer may send 20 messages per second after a burst of 40', () => {
  let now = 0;
  const warnings: string[] = [];
  const rates = new ChatRates((text) => warnings.push(text));
  const burst = (name: string) => Array.from({ length: 100 }, () => rates.allows(name, now)).filter(Boolean).length;
  assert.equal(burst('mallory'), 40);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /^mallory sends more than 20 chat messages a second/);
  assert.equal(burst('alice'), 40, 'of another');
  now += 1000;
  assert.equal(burst('mallory'), 20);
  assert.equal(warnings.length, 3);
  now += 60_000;
  assert.equal(burst('mallory'), 40);
});
