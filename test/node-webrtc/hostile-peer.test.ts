/** A peer that speaks below the engine, with real WebRTC in Node: whatever it sends ends its own connection, and nothing else. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Link } from '../../src/connection/link.js';
import type { RondevuConnection } from '../../src/index.js';
import { pair } from './pair.js';

/** What the engine keeps to itself. */
interface Inner {
  link: Link;
  session: { receive(data: string | ArrayBuffer, link: Link): void; control(text: string, link: Link): boolean };
}
const inner = (connection: RondevuConnection): Inner => connection as unknown as Inner;

/** The codes of `failed`, and the end of it. */
function ending(connection: RondevuConnection): { codes: string[]; closed: Promise<void> } {
  const codes: string[] = [];
  connection.on('failed', ({ code }) => codes.push(code));
  return { codes, closed: new Promise((resolve) => connection.once('closed', () => resolve())) };
}

describe('a hostile peer', { concurrency: 3 }, () => {
  test('a malformed frame ends its connection with one error; others go on, and it may come back', async (t) => {
    const { join } = await pair(t);
    const honest = await join('carol');
    const got: unknown[] = [];
    honest.other.on('message', (data) => got.push(data));
    const frames = [Uint8Array.of(0, 1, 0), Uint8Array.of(4, 1, 1, 65), Uint8Array.of(7, 255, 255, 255), 'hello?', '[['];
    for (const [index, frame] of frames.entries()) {
      const { connection, other } = await join(`mallory-${index}`);
      other.on('message', () => undefined);
      const { codes, closed } = ending(other);
      // a second one is not looked at any more
      for (let i = 0; i < 2; i++) inner(connection).link.send(frame);
      await closed;
      assert.deepEqual(codes, ['bad-request'], String(frame));
      assert.equal(await honest.connection.send(`after ${index}`).delivered, 'delivered');
    }
    assert.deepEqual(
      got,
      frames.map((_, index) => `after ${index}`),
    );
  });

  test('an exception in a handler of what came ends the connection with an error, and not the process', async (t) => {
    const { join } = await pair(t);
    for (const [index, part] of (['receive', 'control'] as const).entries()) {
      const { connection, other } = await join(`bob-${index}`);
      const { codes, closed } = ending(other);
      inner(other).session[part] = () => {
        throw new TypeError('a fault of ours');
      };
      if (part === 'receive') connection.send('x');
      else inner(connection).link.control('x');
      await closed;
      assert.deepEqual(codes, ['bad-request'], part);
    }
  });
});
