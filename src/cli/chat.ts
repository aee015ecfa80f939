/** A conversation in a terminal: who is there, and what they wrote, as it is safe to print. */
import type { RondevuConnection } from '../node/index.js';
import { cleanName, printable } from '../protocol/chat.js';

/** Who is at the other end; the key in the link has proven it, not the message. */
export const peerName = (connection: RondevuConnection): string => cleanName(connection.peer?.username ?? 'somebody');

/** What somebody wrote, for people; further lines are set in, so that none looks like another's. */
export const chatLine = (from: string, text: string): string => `${from}: ${printable(text, true).replaceAll('\n', '\n    ')}`;
