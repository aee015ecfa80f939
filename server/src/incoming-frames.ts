/**
 * Bounds the bytes of frames that have not arrived in full: `ws` buffers them until the frame is complete, and points are charged
 * only then.
 */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { CLOSE } from './close-codes.js';
import type { Tally } from './tally.js';

/** Bytes that a socket may send before its session is open: far more than `openSession` needs. */
export const MAX_BEFORE_SESSION = 65_536;
/** Fragments of one message; each takes memory beyond its bytes. */
export const MAX_FRAGMENTS = 256;
/** Chunks in which one frame may arrive; each takes memory beyond its bytes. */
export const MAX_CHUNKS = 8192;
/** Bytes of a socket that are not counted: the size of a typical frame. */
const UNCOUNTED_BYTES = 16_384;
/** Bytes are reserved in steps of this size. */
const RESERVATION_STEP = 65_536;
/** Bytes of memory that a chunk takes beyond its content. */
const CHUNK_OVERHEAD = 256;

export interface FrameReceiver {
  readonly address: string;
  readonly isOpen: boolean;
  /** Closes the socket of a client that sends too much. */
  refuse(reason: string, code?: number): void;
}

/**
 * @param stream the stream that the socket reads from
 * @param bytesOfAddress counts the bytes of incomplete frames and of HTTP bodies, by address
 */
export function limitIncomingFrames(stream: Duplex, socket: WebSocket, receiver: FrameReceiver, bytesOfAddress: Tally): void {
  let total = 0;
  /** Bytes received since the last message. */
  let pending = 0;
  let isComplete = true;
  let reserved = 0;
  let release: (() => void) | undefined;

  const refuse = (reason: string, code?: number): void => {
    socket.pause();
    receiver.refuse(reason, code);
  };
  socket.on('message', () => (isComplete = true));
  // ws registered its listener first, so a message that this chunk completes has been emitted already
  stream.on('data', (chunk: Buffer) => {
    if (!receiver.isOpen && (total += chunk.length) > MAX_BEFORE_SESSION)
      return refuse(`more than ${MAX_BEFORE_SESSION} bytes before the session is open`, CLOSE.tooLarge);
    // a chunk that ends one frame may begin the next
    pending = (isComplete ? 0 : pending) + chunk.length + CHUNK_OVERHEAD;
    isComplete = false;
    const needed = pending <= UNCOUNTED_BYTES ? 0 : Math.ceil(pending / RESERVATION_STEP) * RESERVATION_STEP;
    if (needed === reserved) return;
    release?.();
    release = needed ? bytesOfAddress.take(receiver.address, needed) : undefined;
    reserved = release ? needed : 0;
    if (needed && !release) refuse('too many bytes of unfinished frames from this address');
  });
  stream.once('close', () => release?.());
}
