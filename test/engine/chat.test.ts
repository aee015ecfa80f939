/** The words of the chat: what is taken, whose they are, and what is taken out before they are shown. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChatRates, authorOf, cleanName, parseChatMessage, printable } from '../../src/protocol/chat.ts';

test('what the chat takes, and what it does not', () => {
  assert.deepEqual(parseChatMessage('{"type":"message","text":"hi"}'), { type: 'message', text: 'hi' });
  assert.equal(parseChatMessage('{"type":"identify_ack","from":"alice"}')?.from, 'alice');
  const long = (length: number) => JSON.stringify({ type: 'message', text: 'x'.repeat(length - 28) });
  assert.equal(long(16_384).length, 16_384);
  assert.ok(parseChatMessage(long(16_384)));
  for (const other of [long(16_385), '{"type":"messages"}', '{"type":', 'null', '[]', '7', '"message"', '', new ArrayBuffer(4)])
    assert.equal(parseChatMessage(other), undefined, String(other).slice(0, 40));
});

test('whose words they are: of the peer, or as it says of another', () => {
  assert.deepEqual(authorOf({ type: 'message' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 'alice' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 'bob' }, 'alice'), { author: 'bob', via: 'alice' });
  // what would only look like another name, and what is none
  assert.deepEqual(authorOf({ type: 'message', from: 'ali\u200bce' }, 'alice'), { author: 'alice', via: undefined });
  assert.deepEqual(authorOf({ type: 'message', from: 7 as never }, 'alice'), { author: 'alice', via: undefined });
});

test('control and bidirectional characters are taken out; line breaks and tabs may stay', () => {
  assert.equal(printable('a\u001b[31m\u0007b\u202ec\r\n\td\u0085'), 'a[31mbcd');
  assert.equal(printable('a\u001b\r\n\tb', true), 'a\n\tb');
  assert.equal(cleanName('x'.repeat(100)).length, 64);
});

test('takes no message whose type is anything but a text', () => {
  for (const type of [['message'], { message: 1 }, 1, null]) assert.equal(parseChatMessage(JSON.stringify({ type })), undefined);
});

test('a flood is cut to 20 messages a second and peer, after 40 at once, and told once a second', () => {
  let now = 0;
  const told: string[] = [];
  const rates = new ChatRates((text) => told.push(text));
  const burst = (name: string) => Array.from({ length: 100 }, () => rates.mayTalk(name, now)).filter(Boolean).length;
  assert.equal(burst('mallory'), 40);
  assert.equal(told.length, 1);
  assert.match(told[0]!, /^mallory sends more than 20 chat messages a second/);
  assert.equal(burst('alice'), 40, 'of another');
  now += 1000;
  assert.equal(burst('mallory'), 20);
  assert.equal(told.length, 3);
  now += 60_000;
  assert.equal(burst('mallory'), 40);
});
