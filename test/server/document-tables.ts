/** Reads the tables of a Markdown document, and tracks which of them a test has read. */
import { readFileSync } from 'node:fs';

export interface Table {
  /** The nearest heading above the table. */
  section: string;
  /** Cells of the header row. */
  head: string[];
  /** Cells of each row below the header row. */
  rows: string[][];
}

const cellsOf = (line: string): string[] =>
  line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim());

/** Returns the text of each code span in a cell. */
export const codes = (cell = ''): string[] => [...cell.matchAll(/`([^`]*)`/g)].map(([, text]) => text!);

export class DocumentTables {
  readonly text: string;
  readonly all: readonly Table[];
  readonly #read = new Set<Table>();

  /** @param name path of the document, relative to the project root */
  constructor(name: string) {
    // some tables separate groups of digits with no-break spaces
    this.text = readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8').replaceAll('\u00a0', ' ');
    const tables: Table[] = [];
    let section = '';
    let table: Table | undefined;
    let isCode = false;
    for (const line of this.text.split('\n')) {
      if (line.startsWith('```')) isCode = !isCode;
      if (isCode) continue;
      if (/^#+ /.test(line)) section = line.replace(/^#+ /, '');
      if (!line.startsWith('|')) table = undefined;
      else if (table) table.rows.push(cellsOf(line));
      else tables.push((table = { section, head: cellsOf(line), rows: [] }));
    }
    // the delimiter row
    for (const { rows } of tables) rows.shift();
    this.all = tables;
  }

  /**
   * Returns the rows of a table.
   * @param index index of the table in its section, from 0
   */
  rows(section: string, index = 0): string[][] {
    const table = this.all.filter((each) => each.section === section)[index];
    if (!table) throw new Error(`no table ${index + 1} under "${section}"`);
    this.#read.add(table);
    return table.rows;
  }

  /** Tables whose rows have not been read with `rows`. */
  get unread(): Table[] {
    return this.all.filter((table) => !this.#read.has(table));
  }
}

/** Fields of an object, in the notation of the document: `{ name, optional?, nested: { … }, list: [{ … }] }`. */
export interface Shape {
  [name: string]: { isOptional: boolean; fields: Shape | undefined };
}

/**
 * Parses an object in the notation of the document.
 * @throws Error if the text is not an object in the notation of the document
 */
export function parseShape(text: string): Shape {
  let at = 0;
  const fail = (): never => {
    throw new Error(`not an object at character ${at}: ${text}`);
  };
  const skip = (pattern: RegExp): string => {
    const [found] = new RegExp(pattern.source, 'y').exec(text.slice(at)) ?? fail();
    at += found.length;
    return found;
  };
  const object = (): Shape => {
    const shape: Shape = {};
    skip(/\{\s*/);
    while (text[at] !== '}') {
      const name = skip(/"?\w+"?/).replaceAll('"', '');
      const isOptional = skip(/\??\s*/).startsWith('?');
      let fields: Shape | undefined;
      if (text[at] === ':') {
        skip(/:\s*/);
        if (text[at] === '{') fields = object();
        else if (text.startsWith('[{', at)) {
          skip(/\[/);
          fields = object();
          skip(/\s*\]/);
        } else skip(/\[[^\]]*\]|[^,}]+/);
      }
      shape[name] = { isOptional, fields };
      skip(/\s*,?\s*/);
    }
    skip(/\}/);
    return shape;
  };
  const shape = object();
  if (at < text.length) fail();
  return shape;
}
