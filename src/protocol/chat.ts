/**
 * Chat messages as exchanged by <rondevu-chat> and the command line; see docs/elements.md, "What it says on the wire". The
 * sender's name is taken from the connection, and text from peers is sanitized before it is displayed.
 */

import { printable } from '../base/printable.js';

export { printable };

/** Maximum length of an accepted message, in characters of JSON. */
const MAX_MESSAGE = 16_384;
const MAX_NAME = 64;
/** Maximum number of messages per second from one peer; bursts may be twice as large. */
const RATE = 20;
/** Once this many peers are tracked, inactive peers are removed. */
const MAX_BUCKETS = 1000;

export interface ChatMessage {
  type: 'identify' | 'identify_ack' | 'message';
  from?: string;
  text?: string;
  publicKey?: string;
}

/** Parses a chat message; returns undefined for anything else. */
export function parseChatMessage(data: string | ArrayBuffer): ChatMessage | undefined {
  if (typeof data !== 'string' || data.length > MAX_MESSAGE) return undefined;
  try {
    const message = JSON.parse(data) as ChatMessage | null;
    return typeof message?.type === 'string' && /^(identify|identify_ack|message)$/.test(message.type) ? message : undefined;
  } catch {
    return undefined;
  }
}

/** Sanitizes and shortens a name for display. */
export const cleanName = (name: string): string => printable(name).slice(0, MAX_NAME);

/**
 * Returns the author of a message, and the forwarding peer if the message names a different author; only the forwarding peer
 * then vouches for the author.
 * @param username username of the peer that sent the message
 */
export function authorOf({ from }: ChatMessage, username: string): { author: string; via: string | undefined } {
  const peer = cleanName(username);
  const claimed = cleanName(typeof from === 'string' ? from : '');
  return claimed && claimed !== peer ? { author: claimed, via: peer } : { author: peer, via: undefined };
}

/** Limits the message rate of each peer with a token bucket, so that no peer floods the others. */
export class ChatRates {
  readonly #buckets = new Map<string, { tokens: number; at: number; warnedAt: number }>();
  readonly #warn: (text: string) => void;

  /** @param warn called with a user-readable text when messages are dropped, at most once per second per peer */
  constructor(warn: (text: string) => void) {
    this.#warn = warn;
  }

  /** Counts a message and returns whether it is accepted. @param now time of the monotonic clock, in ms */
  allows(username: string, now = performance.now()): boolean {
    // a bucket is full again after two seconds, so it can be dropped
    if (this.#buckets.size >= MAX_BUCKETS)
      for (const [name, { at }] of this.#buckets) if (now - at > 2000) this.#buckets.delete(name);
    const bucket = this.#buckets.get(username) ?? { tokens: 2 * RATE, at: now, warnedAt: -Infinity };
    this.#buckets.set(username, bucket);
    bucket.tokens = Math.min(2 * RATE, bucket.tokens + ((now - bucket.at) / 1000) * RATE);
    bucket.at = now;
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return true;
    }
    if (now - bucket.warnedAt >= 1000) {
      bucket.warnedAt = now;
      this.#warn(`${cleanName(username)} sends more than ${RATE} chat messages a second; some are dropped`);
    }
    return false;
  }
}
