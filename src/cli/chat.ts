/** The words of <rondevu-chat> (docs/elements.md, "What it says"), for a terminal: identify, identify_ack, message. */
import type { RondevuConnection } from '../node/index.js';
import { printable } from './command.js';

/** Largest message taken, in characters of JSON, as <rondevu-chat> has it. */
const MAX_MESSAGE = 16_384;

export interface ChatWord {
  type: 'identify' | 'identify_ack' | 'message';
  from?: string;
  text?: string;
  publicKey?: string;
}

export function chatWord(data: string | ArrayBuffer): ChatWord | undefined {
  if (typeof data !== 'string' || data.length > MAX_MESSAGE) return undefined;
  try {
    const word = JSON.parse(data) as ChatWord;
    return /^(identify|identify_ack|message)$/.test(word?.type) ? word : undefined;
  } catch {
    return undefined;
  }
}

/** Who is at the other end, as it is safe to print; the key in the link has proven it, not the message. */
export const peerName = (connection: RondevuConnection): string => printable(connection.peer?.username ?? 'somebody');

/** What somebody wrote, for people; further lines are set in, so that none looks like another's. */
export const chatLine = (from: string, text: string): string => `${from}: ${printable(text, true).replaceAll('\n', '\n    ')}`;
