/**
 * Tests the two log formats, neither of which may contain terminal control characters, and the addresses that a server
 * reports.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import type { NetworkInterfaceInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { lanUrls, localUrl } from '../../server/src/addresses.js';
import { createLog, lineWriter, type LogFormat } from '../../server/src/log.js';
import { temporaryFile } from './helpers.js';

const EVIL = '\u001b]0;title\u0007\u001b[2J\u009b31m\u007f\u202egpj.exe\u2066\u200b\r\nforged line';
const CONTROLS = /[\0-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066]/;

function logged(format: LogFormat): string[] {
  const lines: string[] = [];
  const log = createLog('debug', format, (line) => lines.push(line));
  log.warn({ username: EVIL, sockets: 3, url: 'http://localhost:3000', [EVIL]: EVIL }, EVIL);
  log.error({ err: new Error(EVIL) }, 'failed');
  return lines;
}

for (const format of ['json', 'text'] as const)
  test(`the ${format} log contains no terminal control characters`, () => {
    const lines = logged(format);
    for (const line of lines) assert.doesNotMatch(line, CONTROLS);
    // a line break sent by a client does not start a new log line
    assert.doesNotMatch(lines.join(''), /^forged line/m);
  });

test('the JSON log has one object per line, with the original values', () => {
  const [warning] = logged('json').map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual([warning!['username'], warning!['sockets'], warning!['msg']], [EVIL, 3, EVIL]);
});

test('the text log shows the time, level, message, values and error stack', () => {
  const [warning, error] = logged('text');
  assert.match(warning!, /^\d\d:\d\d:\d\d warn /);
  assert.match(warning!, / sockets=3 url=http:\/\/localhost:3000 /);
  assert.match(error!, /^\d\d:\d\d:\d\d error failed\n {4}Error: /);
});

test('a server that listens on all interfaces reports the addresses at which it can be reached', () => {
  const address = (address: string, family: 'IPv4' | 'IPv6', internal = false): NetworkInterfaceInfo =>
    ({ address, family, internal }) as NetworkInterfaceInfo;
  const interfaces = {
    lo: [address('127.0.0.1', 'IPv4', true), address('::1', 'IPv6', true)],
    eth0: [address('192.168.1.5', 'IPv4'), address('fe80::1', 'IPv6'), address('2001:db8::5', 'IPv6')],
    none: undefined,
  };
  assert.deepEqual(lanUrls('0.0.0.0', 3000, interfaces), ['http://192.168.1.5:3000']);
  assert.deepEqual(lanUrls('::', 3000, interfaces), ['http://192.168.1.5:3000', 'http://[2001:db8::5]:3000']);
  assert.deepEqual(lanUrls('localhost', 3000, interfaces), []);
  assert.deepEqual(
    ['0.0.0.0', '::', '::1', 'localhost', '10.0.0.1'].map((host) => localUrl(host, 80)),
    ['http://localhost:80', 'http://localhost:80', 'http://[::1]:80', 'http://localhost:80', 'http://10.0.0.1:80'],
  );
});

/** Reads all data that is buffered in a pipe. */
function drained(fd: number): Buffer {
  const pieces: Buffer[] = [];
  for (;;)
    try {
      const piece = Buffer.alloc(65_536);
      pieces.push(piece.subarray(0, readSync(fd, piece)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      return Buffer.concat(pieces);
    }
}

test('the log drops whole lines when the pipe is full, and reports their number', (t) => {
  const path = join(dirname(temporaryFile(t)), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(writer));
  const log = createLog('warn', 'json', lineWriter(writer));
  const count = 300;
  // the text is longer than PIPE_BUF, the maximum size of an atomic write to a pipe
  const text = 'é'.repeat(5000);
  for (let i = 0; i < count; i++) log.warn({ i, text }, 'before');
  const before = drained(reader);
  log.warn('after');
  const lines = Buffer.concat([before, drained(reader)])
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string; lines?: number; text?: string });
  const kept = lines.filter(({ msg }) => msg === 'before');
  assert.ok(kept.length > 0 && kept.length < count);
  assert.ok(kept.every((line) => line.text === text));
  assert.equal(lines.at(-2)!.msg, 'after');
  assert.equal(lines.at(-1)!.lines, count - kept.length);
  closeSync(reader);
  // the pipe no longer has a reader
  log.warn('lost');
});

test('the log keeps its count of dropped lines until the count is reported', () => {
  const lines: string[] = [];
  let room = 0;
  const log = createLog('warn', 'json', (line) => {
    if (room-- <= 0) throw new Error('no space left');
    lines.push(line);
  });
  for (let i = 0; i < 3; i++) log.warn('lost');
  room = 1;
  log.warn('kept');
  room = 2;
  log.warn('kept');
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { lines?: number }).lines),
    [undefined, undefined, 3],
  );
});
