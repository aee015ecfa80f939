/**
 * Limits the bytes of incomplete frames, which `ws` buffers until a frame is complete; points are charged only for complete
 * frames.
 */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { CLOSE } from './close-codes.js';
import type { Tally } from './tally.js';

/** Maximum number of bytes that a socket may send before its session is open: far more than `openSession` needs. */
export const MAX_BEFORE_SESSION = 65_536;
/** Maximum number of fragments per message; each fragment takes memory in addition to its bytes. */
export const MAX_FRAGMENTS = 256;
/** Maximum number of chunks in which a frame may arrive; each chunk takes memory in addition to its bytes. */
export const MAX_CHUNKS = 8192;
/** Number of pending bytes per socket that are not counted: the size of a typical frame. */
const UNCOUNTED_BYTES = 16_384;
/** Step size for reserving memory, in bytes. */
const RESERVATION_STEP = 65_536;
/** Memory that a chunk takes in addition to its content, in bytes. */
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
  /** Number of bytes received since the last message. */
  let pending = 0;
  let isComplete = true;
  let reserved = 0;
  let release: (() => void) | undefined;

  const refuse = (reason: string, code?: number): void => {
    socket.pause();
    receiver.refuse(reason, code);
  };
  socket.on('message', () => (isComplete = true));
  // ws registered its listener first, so a message that this chunk completes has already been emitted
  stream.on('data', (chunk: Buffer) => {
    if (!receiver.isOpen && (total += chunk.length) > MAX_BEFORE_SESSION)
      return refuse(`more than ${MAX_BEFORE_SESSION} bytes before the session is open`, CLOSE.tooLarge);
    // a chunk that ends one frame may also contain the beginning of the next frame
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
