/** Pages taken from the documentation, and user actions in them. */
import assert from 'node:assert/strict';
import type { Page } from 'puppeteer-core';
import { snippetsOf } from './snippets.ts';
import { until } from './until.js';

/** Server URL used in the documentation. */
const DOCUMENTED_URL = 'http://localhost:3000';

/** Returns the README's code block for a file, with the documented server URL replaced by `serverUrl`. */
export function readmePage(name: string, serverUrl: string): string {
  const page = snippetsOf('README.md').find(({ above }) => above.endsWith(`\`${name}\`:`))?.code;
  assert.ok(page, `README.md has a page ${name}`);
  return page.replaceAll(DOCUMENTED_URL, serverUrl);
}

/** Returns the HTML blocks of a document with their locations, and with the documented server URL replaced by `serverUrl`. */
export const htmlSnippets = (file: string, serverUrl: string): { at: string; html: string }[] =>
  snippetsOf(file)
    .filter(({ language }) => language === 'html')
    .map(({ at, code }) => ({ at, html: code.replaceAll(DOCUMENTED_URL, serverUrl) }));

/** Returns the texts of the messages that the chat displays. */
export const bubbles = (page: Page): Promise<(string | null)[]> =>
  page.evaluate(() =>
    [...document.querySelector('rondevu-chat')!.shadowRoot!.querySelectorAll('[part=bubble]')].map(
      (bubble) => bubble.textContent,
    ),
  );

/** Types a message into the input with the keyboard, and sends it. */
export async function write(page: Page, text: string): Promise<void> {
  await page.evaluate(() => document.querySelector('rondevu-chat')!.focus());
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}

/** Waits until two pages are connected, and sends a message in each direction. */
export async function chat(host: Page, joiner: Page): Promise<void> {
  await joiner.waitForSelector('rondevu-connect[state=connected]');
  await host.waitForSelector('rondevu-service[peer-count="1"]');
  await joiner.bringToFront();
  await write(joiner, 'hello from the joiner');
  await until(async () => (await bubbles(host)).includes('hello from the joiner'), 'the message at the host');
  await host.bringToFront();
  await write(host, 'hello from the host');
  await until(async () => (await bubbles(joiner)).includes('hello from the host'), 'the message at the joiner');
}
