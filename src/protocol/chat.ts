/**
 * The chat's words, as <rondevu-chat> and the command line say them: docs/elements.md, "What it says on the wire". Who wrote comes from
 * the link, and what others wrote is cleaned before it is shown.
 */

import { printable } from '../base/printable.js';

export { printable };

/** Largest message taken, in characters of JSON. */
const MAX_MESSAGE = 16_384;
const MAX_NAME = 64;
/** Messages a second that one peer may send; twice as many in a burst. */
const RATE = 20;
/** How many peers are remembered before those that have been silent are forgotten. */
const MOST_BUCKETS = 1000;

export interface ChatMessage {
  type: 'identify' | 'identify_ack' | 'message';
  from?: string;
  text?: string;
  publicKey?: string;
}

/** What the chat takes, or undefined for anything else. */
export function parseChatMessage(data: string | ArrayBuffer): ChatMessage | undefined {
  if (typeof data !== 'string' || data.length > MAX_MESSAGE) return undefined;
  try {
    const message = JSON.parse(data) as ChatMessage | null;
    return typeof message?.type === 'string' && /^(identify|identify_ack|message)$/.test(message.type) ? message : undefined;
  } catch {
    return undefined;
  }
}

/** A name as it is shown. */
export const cleanName = (name: string): string => printable(name).slice(0, MAX_NAME);

/**
 * Whose words they are, and who passed them on, where another is said to have written them: then we have but the peer's word for it.
 * @param username of the peer at the other end of the link
 */
export function authorOf({ from }: ChatMessage, username: string): { author: string; via: string | undefined } {
  const peer = cleanName(username);
  const claimed = cleanName(typeof from === 'string' ? from : '');
  return claimed && claimed !== peer ? { author: claimed, via: peer } : { author: peer, via: undefined };
}

/** A token bucket for each peer, so that none floods the others. */
export class ChatRates {
  readonly #buckets = new Map<string, { tokens: number; at: number; toldAt: number }>();
  readonly #tell: (text: string) => void;

  /** @param tell is given a line for people when messages are dropped, at most once a second and peer */
  constructor(tell: (text: string) => void) {
    this.#tell = tell;
  }

  /** Whether one more message is taken. @param now in ms, of the monotonic clock */
  mayTalk(username: string, now = performance.now()): boolean {
    // after two seconds one is full, as one is that is not there
    if (this.#buckets.size >= MOST_BUCKETS)
      for (const [name, { at }] of this.#buckets) if (now - at > 2000) this.#buckets.delete(name);
    const bucket = this.#buckets.get(username) ?? { tokens: 2 * RATE, at: now, toldAt: -Infinity };
    this.#buckets.set(username, bucket);
    bucket.tokens = Math.min(2 * RATE, bucket.tokens + ((now - bucket.at) / 1000) * RATE);
    bucket.at = now;
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return true;
    }
    if (now - bucket.toldAt >= 1000) {
      bucket.toldAt = now;
      this.#tell(`${cleanName(username)} sends more than ${RATE} chat messages a second; some are dropped`);
    }
    return false;
  }
}
