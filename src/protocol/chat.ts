/**
 * The chat's messages, as <rondevu-chat> and the command line exchange them: docs/elements.md, "What it says on the wire". The
 * sender's name comes from the link, and text from peers is cleaned before it is shown.
 */

import { printable } from '../base/printable.js';

export { printable };

/** Maximum length of an accepted message, in characters of JSON. */
const MAX_MESSAGE = 16_384;
const MAX_NAME = 64;
/** Messages per second that one peer may send; twice as many in a burst. */
const RATE = 20;
/** Number of tracked peers at which silent ones are removed. */
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

/** A name in the form in which it is shown. */
export const cleanName = (name: string): string => printable(name).slice(0, MAX_NAME);

/**
 * Author of a message, and the peer that forwarded it if it names a different author; only that peer then vouches for the
 * author.
 * @param username name of the peer
 */
export function authorOf({ from }: ChatMessage, username: string): { author: string; via: string | undefined } {
  const peer = cleanName(username);
  const claimed = cleanName(typeof from === 'string' ? from : '');
  return claimed && claimed !== peer ? { author: claimed, via: peer } : { author: peer, via: undefined };
}

/** A token bucket per peer, so that no peer floods the others. */
export class ChatRates {
  readonly #buckets = new Map<string, { tokens: number; at: number; warnedAt: number }>();
  readonly #warn: (text: string) => void;

  /** @param warn called with a text for users when messages are dropped, at most once per second and peer */
  constructor(warn: (text: string) => void) {
    this.#warn = warn;
  }

  /** Whether another message is accepted. @param now in ms, of the monotonic clock */
  allows(username: string, now = performance.now()): boolean {
    // after two seconds a bucket is full, the same as a new one
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
