/** Terminal chat: peer names, received messages made safe to print, and typed input. */
import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from 'node:readline';
import type { RondevuConnection } from '../node/index.js';
import { cleanName, printable } from '../protocol/chat.js';
import { printer, warn, type Print, type Values } from './command.js';

/** Name of the peer, taken from the connection and not from a message. */
export const peerName = (connection: RondevuConnection): string => cleanName(connection.peer?.username ?? 'somebody');

/** Formats a received message; continuation lines are indented so that they cannot pass for another user's message. */
export const chatLine = (from: string, text: string): string => `${from}: ${printable(text, true).replaceAll('\n', '\n    ')}`;

/** Prints output and reads input. In a terminal, the prompt stays below the output, and a half-typed line is preserved. */
export class Screen {
  readonly #values: Values;
  readonly #print: Print;
  readonly #hasPrompt: boolean;
  #lines: Interface | undefined;

  constructor(values: Values) {
    this.#values = values;
    this.#print = printer(values);
    // a dumb terminal cannot erase text
    const isTerminal = process.stdin.isTTY && process.stdout.isTTY && process.env['TERM'] !== 'dumb';
    this.#hasPrompt = isTerminal && values['json'] !== true;
  }

  readonly print: Print = (event, text) => this.#above(() => this.#print(event, text));

  /** Prints a warning on stderr. @param code error code, included in `--json` output */
  readonly warn = (text: string, code?: string): void => this.#above(() => warn(text, this.#values, code));

  /** Calls `onLine` for each non-blank input line. @returns a promise that resolves at the end of the input */
  read(onLine: (text: string) => void): Promise<void> {
    const terminal = this.#hasPrompt && { output: process.stdout, prompt: '> ' };
    const lines = createInterface({ input: process.stdin, ...terminal });
    lines.on('line', (text) => {
      if (text.trim()) onLine(text);
      if (terminal) lines.prompt();
    });
    if (terminal) {
      this.#lines = lines;
      // in raw mode, Ctrl-C arrives as a character and not as a signal
      lines.on('SIGINT', () => process.emit('SIGINT', 'SIGINT'));
      // resumes the input, which stays paused after Ctrl-Z and fg
      lines.on('SIGCONT', () => lines.resume());
      lines.prompt();
    }
    return new Promise((resolve) => lines.on('close', () => (this.close(), resolve())));
  }

  /** Removes the prompt, so that subsequent output starts on the line that it occupied. */
  close(): void {
    const lines = this.#lines;
    if (!lines) return;
    this.#clear(lines);
    this.#lines = undefined;
    lines.close();
  }

  #above(print: () => void): void {
    if (this.#lines) this.#clear(this.#lines);
    print();
    this.#lines?.prompt(true);
  }

  /** Clears the line being typed, including the rows onto which it wraps. */
  #clear(lines: Interface): void {
    moveCursor(process.stdout, 0, -lines.getCursorPos().rows);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
    // otherwise, readline would clear the rows above the cursor and erase the text printed in the meantime
    (lines as Interface & { prevRows?: number }).prevRows = 0;
  }
}
