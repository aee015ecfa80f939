/** Pages of the documents, and the actions of a person in them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Page } from 'puppeteer-core';

/** The server's address in the documents. */
const DOCUMENTED_URL = 'http://localhost:3000';

/** The README's code block that follows a file's name, with another server's address. */
export function readmePage(name: string, serverUrl: string): string {
  const [, page] = new RegExp(`\`${name}\`:\\n\\n\`\`\`html\\n([\\s\\S]*?)\`\`\``).exec(readFileSync('README.md', 'utf8')) ?? [];
  assert.ok(page, `README.md has a page ${name}`);
  return page.replaceAll(DOCUMENTED_URL, serverUrl);
}

/** Every block of HTML in a document, by its place, with another server's address. */
export function htmlSnippets(file: string, serverUrl: string): { at: string; html: string }[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.flatMap((line, index) => {
    if (line !== '```html') return [];
    const end = lines.indexOf('```', index);
    const html = lines.slice(index + 1, end).join('\n');
    return [{ at: `${file}:${index + 2}`, html: html.replaceAll(DOCUMENTED_URL, serverUrl) }];
  });
}

/** The texts of the messages that the chat shows. */
export const bubbles = (page: Page): Promise<(string | null)[]> =>
  page.evaluate(() =>
    [...document.querySelector('rondevu-chat')!.shadowRoot!.querySelectorAll('[part=bubble]')].map(
      (bubble) => bubble.textContent,
    ),
  );

/** Writes like a person: into the input, with the keyboard. */
export async function write(page: Page, text: string): Promise<void> {
  await page.evaluate(() => document.querySelector('rondevu-chat')!.focus());
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}
