/** Chat in a terminal: peer names, received messages in a form that is safe to print, and typed input. */
import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from 'node:readline';
import type { RondevuConnection } from '../node/index.js';
import { cleanName, printable } from '../protocol/chat.js';
import { printer, warn, type Print, type Values } from './command.js';

/** Name of the peer, which comes from the link and not from a message. */
export const peerName = (connection: RondevuConnection): string => cleanName(connection.peer?.username ?? 'somebody');

/** A received message as text; further lines are indented, so that none looks like another user's message. */
export const chatLine = (from: string, text: string): string => `${from}: ${printable(text, true).replaceAll('\n', '\n    ')}`;

/** Prints output and reads input. In a terminal the prompt stays below the output, and a half-typed line stays intact. */
export class Screen {
  readonly #values: Values;
  readonly #print: Print;
  readonly #hasPrompt: boolean;
  #lines: Interface | undefined;

  constructor(values: Values) {
    this.#values = values;
    this.#print = printer(values);
    // a dumb terminal cannot erase what it shows
    const isTerminal = process.stdin.isTTY && process.stdout.isTTY && process.env['TERM'] !== 'dumb';
    this.#hasPrompt = isTerminal && values['json'] !== true;
  }

  readonly print: Print = (event, text) => this.#above(() => this.#print(event, text));

  /** Prints a warning on stderr. @param code error code, for `--json` */
  readonly warn = (text: string, code?: string): void => this.#above(() => warn(text, this.#values, code));

  /** Calls `onLine` for each typed line that is not blank. @returns a promise that resolves at the end of the input */
  read(onLine: (text: string) => void): Promise<void> {
    const terminal = this.#hasPrompt && { output: process.stdout, prompt: '> ' };
    const lines = createInterface({ input: process.stdin, ...terminal });
    lines.on('line', (text) => {
      if (text.trim()) onLine(text);
      if (terminal) lines.prompt();
    });
    if (terminal) {
      this.#lines = lines;
      // in raw mode a terminal delivers Ctrl-C as a character
      lines.on('SIGINT', () => process.emit('SIGINT', 'SIGINT'));
      // after Ctrl-Z and fg, the input stays paused until it is resumed
      lines.on('SIGCONT', () => lines.resume());
      lines.prompt();
    }
    return new Promise((resolve) => lines.on('close', () => (this.close(), resolve())));
  }

  /** Removes the prompt; later output starts in its place. */
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

  /** Clears all rows of the line being typed, which may wrap. */
  #clear(lines: Interface): void {
    moveCursor(process.stdout, 0, -lines.getCursorPos().rows);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
    // readline clears from this many rows above the cursor, which would erase the text printed next
    (lines as Interface & { prevRows?: number }).prevRows = 0;
  }
}
