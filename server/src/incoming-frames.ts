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
/** Pieces in which one frame may arrive; each takes memory beyond its bytes. */
export const MAX_PIECES = 8192;
/** Bytes of a socket that are not counted: the size of a typical frame. */
const UNCOUNTED = 16_384;
/** Bytes are reserved in steps of this size. */
const STEP = 65_536;
/** Bytes of memory that a piece takes beyond its content. */
const PIECE = 256;

export interface FrameReceiver {
  readonly address: string;
  readonly isOpen: boolean;
  /** Closes the socket of a client that sends too much. */
  refuse(reason: string, code?: number): void;
}

/**
 * @param stream what the socket reads from
 * @param bytesOfAddress bytes that one address may have under way
 */
export function boundIncomingFrames(stream: Duplex, socket: WebSocket, receiver: FrameReceiver, bytesOfAddress: Tally): void {
  let total = 0;
  /** Bytes that came since the last message. */
  let pending = 0;
  let isWhole = true;
  let reserved = 0;
  let release: (() => void) | undefined;

  const refuse = (reason: string, code?: number): void => {
    socket.pause();
    receiver.refuse(reason, code);
  };
  socket.on('message', () => (isWhole = true));
  // ws registered its listener first, so a message that this piece completes has been emitted already
  stream.on('data', (piece: Buffer) => {
    if (!receiver.isOpen && (total += piece.length) > MAX_BEFORE_SESSION)
      return refuse(`more than ${MAX_BEFORE_SESSION} bytes before the session is open`, CLOSE.tooLarge);
    // a piece that ends one frame may begin the next
    pending = (isWhole ? 0 : pending) + piece.length + PIECE;
    isWhole = false;
    const needed = pending <= UNCOUNTED ? 0 : Math.ceil(pending / STEP) * STEP;
    if (needed === reserved) return;
    release?.();
    release = needed ? bytesOfAddress.take(receiver.address, needed) : undefined;
    reserved = release ? needed : 0;
    if (needed && !release) refuse('too many bytes of unfinished frames from this address');
  });
  stream.once('close', () => release?.());
}
