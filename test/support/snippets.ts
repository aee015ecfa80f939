/** The fenced code blocks of a Markdown document. */
import { readFileSync, readdirSync } from 'node:fs';

export interface Snippet {
  /** The place of its first line, such as `README.md:12`. */
  at: string;
  /** Number of its first line in the document, from 1. */
  line: number;
  /** The language that the fence names; empty if it names none. */
  language: string;
  code: string;
  /** The second-level heading above it; empty if there is none. */
  section: string;
  /** The line of text above it; empty if there is none. */
  above: string;
}

/** The documents for users. */
export const DOCUMENTS = ['README.md', 'server/README.md', ...readdirSync('docs').map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);

/** @throws Error for a fence that is not closed, is indented, or uses a different notation */
export function snippetsOf(file: string): Snippet[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  const snippets: Snippet[] = [];
  let section = '';
  for (let index = 0; index < lines.length; index++) {
    section = /^## (.*)/.exec(lines[index]!)?.[1] ?? section;
    if (!/^\s*(?:```|~~~)/.test(lines[index]!)) continue;
    const at = `${file}:${index + 2}`;
    const language = /^```(\w*)$/.exec(lines[index]!)?.[1];
    const end = lines.indexOf('```', index);
    if (language === undefined || end < 0)
      throw new Error(`${at}: expected \`\`\`, a language, code, and \`\`\`; got ${lines[index]}`);
    const code = lines.slice(index + 1, end).join('\n');
    const above = lines.slice(0, index).findLast((line) => line) ?? '';
    snippets.push({ at, line: index + 2, language, code, section, above });
    index = end;
  }
  return snippets;
}
