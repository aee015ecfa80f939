/** A conversation in a terminal: who is there, what they wrote as it is safe to print, and what is being typed. */
import { clearScreenDown, createInterface, cursorTo, moveCursor, type Interface } from 'node:readline';
import type { RondevuConnection } from '../node/index.js';
import { cleanName, printable } from '../protocol/chat.js';
import { printer, warn, type Print, type Values } from './command.js';

/** Who is at the other end; the key in the link has proven it, not the message. */
export const peerName = (connection: RondevuConnection): string => cleanName(connection.peer?.username ?? 'somebody');

/** What somebody wrote, for people; further lines are set in, so that none looks like another's. */
export const chatLine = (from: string, text: string): string => `${from}: ${printable(text, true).replaceAll('\n', '\n    ')}`;

/** What is printed and what is typed. In a terminal a prompt stays below what comes, and a line that is half typed stays whole. */
export class Screen {
  readonly #values: Values;
  readonly #print: Print;
  readonly #hasPrompt: boolean;
  #lines: Interface | undefined;

  constructor(values: Values) {
    this.#values = values;
    this.#print = printer(values);
    // a dumb terminal cannot take back what it shows
    const isTerminal = process.stdin.isTTY && process.stdout.isTTY && process.env['TERM'] !== 'dumb';
    this.#hasPrompt = isTerminal && values['json'] !== true;
  }

  readonly print: Print = (event, text) => this.#above(() => this.#print(event, text));

  /** Reports on stderr something that does not end the command. @param code for programs, as errors have it */
  readonly warn = (text: string, code?: string): void => this.#above(() => warn(text, this.#values, code));

  /** Hands over each line that is typed. @returns settled when the input has ended */
  read(onLine: (text: string) => void): Promise<void> {
    const terminal = this.#hasPrompt && { output: process.stdout, prompt: '> ' };
    const lines = createInterface({ input: process.stdin, ...terminal });
    lines.on('line', (text) => {
      if (text.trim()) onLine(text);
      if (terminal) lines.prompt();
    });
    if (terminal) {
      this.#lines = lines;
      // in raw mode a terminal hands Ctrl-C over as a character
      lines.on('SIGINT', () => process.emit('SIGINT', 'SIGINT'));
      // after Ctrl-Z and fg it waits to be told so
      lines.on('SIGCONT', () => lines.resume());
      lines.prompt();
    }
    return new Promise((resolve) => lines.on('close', () => (this.close(), resolve())));
  }

  /** Takes the prompt away; what is printed from now on begins where it stood. */
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

  /** Of a line that is typed on, all rows that it has. */
  #clear(lines: Interface): void {
    moveCursor(process.stdout, 0, -lines.getCursorPos().rows);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
    // where readline takes its line to begin, that many rows above the cursor; it would clear what is printed now
    (lines as Interface & { prevRows?: number }).prevRows = 0;
  }
}
