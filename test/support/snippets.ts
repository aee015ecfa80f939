/** Extracts the fenced code blocks from a Markdown document. */
import { readFileSync, readdirSync } from 'node:fs';

export interface Snippet {
  /** Location of the first line, such as `README.md:12`. */
  at: string;
  /** Line number of the first line in the document, from 1. */
  line: number;
  /** Language specified after the opening fence, or an empty string. */
  language: string;
  code: string;
  /** The nearest second-level heading above the block, or an empty string. */
  section: string;
  /** The nearest non-empty line above the block, or an empty string. */
  above: string;
}

/** The documents for users. */
export const DOCUMENTS = ['README.md', 'server/README.md', ...readdirSync('docs').map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);

/** @throws Error if a fence is unclosed, indented or written in a different notation */
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
