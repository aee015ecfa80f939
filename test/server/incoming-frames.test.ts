/** Tests the limits on the server memory that incomplete WebSocket frames use. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { DEFAULT_LIMITS } from '../../server/src/index.js';
import { MAX_BEFORE_SESSION, MAX_FRAGMENTS } from '../../server/src/incoming-frames.js';
import { MAX_CONCURRENT_BODIES } from '../../server/src/rpc-endpoint.js';
import { PushClient, PushSocket, post, someone, startServer, until } from './helpers.js';

const KIB = 1024;
const MAX_FRAME = 64 * KIB;
/** Starts a server with a small maximum frame size, so that the byte limit of an address is soon reached. */
const start = (t: TestContext) => startServer(t, { limits: { ...DEFAULT_LIMITS, maxBodyBytes: MAX_FRAME } });

const streamOf = ({ socket }: PushSocket): Socket => (socket as unknown as { _socket: Socket })._socket;
/** Builds the start of a masked text frame (RFC 6455, section 5.2): the header, and `sent` of `length` payload bytes. */
function frame(length: number, sent: number, { first = 0x81 } = {}): Buffer {
  const head = Buffer.alloc(14);
  head.writeUInt8(first, 0);
  head.writeUInt8(0xff, 1);
  head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, Buffer.alloc(sent, ' ')]);
}
/** Collects the close code of each socket that closes. */
function codesOf(sockets: PushSocket[]): Map<PushSocket, number> {
  const codes = new Map<PushSocket, number>();
  for (const socket of sockets) void socket.closed.then((code) => codes.set(socket, code));
  return codes;
}

test('incomplete frames and bodies from one address share a byte limit', async (t) => {
  const { url } = await start(t);
  const sockets: PushSocket[] = [];
  for (let i = 0; i <= MAX_CONCURRENT_BODIES; i++) sockets.push(await PushClient.open(url));
  const codes = codesOf(sockets);
  for (const socket of sockets) streamOf(socket).write(frame(MAX_FRAME, MAX_FRAME - 2 * KIB));
  await until(() => codes.size > 0, 'a socket to be closed');
  assert.deepEqual([...codes.values()], [4429]);
  const { status } = await post(url, ' '.repeat(32 * KIB));
  assert.equal(status, 429);
  for (const socket of sockets) socket.socket.terminate();
  await until(async () => (await post(url, ' '.repeat(32 * KIB))).status === 400, 'room for a body');
});

test('the overhead of each piece of a frame counts against the byte limit', async (t) => {
  const { url } = await start(t);
  const sockets: PushSocket[] = [];
  for (let i = 0; i <= MAX_CONCURRENT_BODIES; i++) sockets.push(await PushClient.open(url));
  const codes = codesOf(sockets);
  await Promise.all(
    sockets.map(async (socket) => {
      streamOf(socket).setNoDelay(true);
      streamOf(socket).write(frame(MAX_FRAME, 0));
      // sends each byte separately, with a pause during which the server reads the previous byte
      for (let i = 0; i < 600 && !codes.size; i++) {
        streamOf(socket).write(' ');
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }),
  );
  await until(() => codes.size > 0, 'a socket to be closed');
  assert.equal([...codes.values()][0], 4429);
});

test('complete frames do not count against the byte limit for incomplete frames', async (t) => {
  const { url } = await start(t);
  const client = await PushClient.open(url);
  for (let i = 0; i < 2 * MAX_CONCURRENT_BODIES; i++)
    await client.publish(`x:1.0.0@${client.username}`, [`${i} `.padEnd(48 * KIB, 'x')]);
});

test('limits the data that a socket may send before its session is open', async (t) => {
  const { url } = await startServer(t);
  const [unfinished, many] = [await new PushSocket(url).connect(), await new PushSocket(url).connect()];
  streamOf(unfinished).write(frame(1024 * KIB, MAX_BEFORE_SESSION));
  const small = frame(4 * KIB, 4 * KIB);
  for (let bytes = 0; bytes <= MAX_BEFORE_SESSION; bytes += small.length) streamOf(many).write(small);
  assert.equal(await unfinished.closed, 1009);
  assert.ok([1003, 1009].includes(await many.closed));
  await PushClient.open(url, someone());
});

test('refuses a message with too many fragments', async (t) => {
  const { url } = await startServer(t);
  const client = await PushClient.open(url);
  const next = frame(1, 1, { first: 0x00 });
  streamOf(client).write(Buffer.concat([frame(1, 1, { first: 0x01 }), ...Array<Buffer>(MAX_FRAGMENTS).fill(next)]));
  assert.equal(await client.closed, 1008);
});

for (const kind of ['ping', 'pong'] as const)
  test(`charges a socket for WebSocket ${kind} frames even if messages arrive in between`, async (t) => {
    const points = 20;
    const { url } = await startServer(t, { limits: { ...DEFAULT_LIMITS, pointsPerAddress: points } });
    const client = await PushClient.open(url);
    let code: number | undefined;
    void client.closed.then((told) => (code = told));
    let pongs = 0;
    client.socket.on('pong', () => pongs++);
    for (let sent = 16; code === undefined && sent <= 2 * 16 * points; sent += 16) {
      for (let i = 0; i < 16; i++) client.socket[kind]();
      client.send({ ack: 0 });
      // ws closes a socket with too many unanswered pings
      if (kind === 'ping') await until(() => pongs >= sent || code !== undefined, 'the pongs');
    }
    await until(() => code !== undefined, 'the socket to be closed');
    assert.equal(code, 4429);
  });

test('answers pings from a client', async (t) => {
  const { url } = await startServer(t);
  const { socket } = await PushClient.open(url);
  let pongs = 0;
  socket.on('pong', () => pongs++);
  for (let i = 0; i < 10; i++) socket.ping();
  await until(() => pongs === 10, 'the pongs');
});
