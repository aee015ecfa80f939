/** Every HTML snippet in the documentation works when it is pasted alone into an empty page. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connect } from '../../dist/src/node/index.js';
import type { BrowserName } from '../support/browsers.ts';
import { htmlSnippets } from '../support/pages.ts';
import { ServerProcess, type SiteFile } from '../support/site.ts';
import { until } from '../support/until.ts';
import { useSite, useBrowsers } from '../support/set-up.ts';
import { DOCUMENTS } from '../support/snippets.ts';

// browsers request the favicon on their own
const files: Record<string, SiteFile> = { '/favicon.ico': { body: '' } };
const browsers = useBrowsers('chromium', 'firefox');
const site = useSite(() => files);

/** Creates the peer for the element in a snippet: a host if the element joins, a joiner if the element hosts. */
async function meet(html: string, apiUrl: string): Promise<{ received: string[]; close(): Promise<void> }> {
  const received: string[] = [];
  const [, service, hostName] = /<rondevu-connect[^>]* to="([^"@]+)@([^"]+)"/.exec(html) ?? [];
  if (service && hostName) {
    const host = await connect({ apiUrl, username: hostName });
    host.on('connection:opened', (_id, connection) => {
      connection.on('message', (data) => received.push(String(data)));
      connection.send('from the host');
    });
    await (await host.publishService({ service })).start();
    return { received, close: () => host.close() };
  }
  const [, username] = /<rondevu-service[^>]* username="([^"]+)"/.exec(html) ?? [];
  const [, name] = /<rondevu-service[^>]* service="([^"]+)"/.exec(html) ?? [];
  assert.ok(username && name, 'a snippet hosts or joins');
  const joiner = await connect({ apiUrl });
  const connection = await joiner.connectToService({ serviceFqn: `${name}@${username}`, wait: 60_000 });
  connection.on('message', (data) => received.push(String(data)));
  // makes a chat reply
  connection.send(JSON.stringify({ type: 'identify', from: joiner.getUsername(), publicKey: joiner.getPublicKey() }));
  return { received, close: () => joiner.close() };
}

describe('HTML snippets in the documentation', () => {
  for (const { at } of DOCUMENTS.flatMap((file) => htmlSnippets(file, ''))) {
    for (const name of ['chromium', 'firefox'] as BrowserName[]) {
      it(`the snippet at ${at} connects and exchanges messages in ${name}`, async () => {
        // each snippet gets a server with an empty store, because a username belongs to the first key that claims it
        const server = new ServerProcess();
        await server.start();
        const { html } = htmlSnippets(at.split(':')[0]!, server.url).find((snippet) => snippet.at === at)!;
        files['/'] = { body: html };
        const page = await browsers[name].newPage();
        const errors: string[] = [];
        page.on('pageerror', (error) => errors.push(String(error)));
        page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
        const meeting = meet(html, server.url);
        meeting.catch(() => undefined);
        await page.goto(site.url);
        const tags = [...new Set(html.match(/(?<=<)rondevu-[a-z]+/g))];
        assert.ok(tags.length, 'a snippet has an element');
        const isDefined = (): Promise<boolean> =>
          page.evaluate((names) => names.every((tag) => customElements.get(tag) !== undefined), tags);
        await until(isDefined, `${at} to define ${tags.join()}`, 10_000);
        const peer = await meeting;
        await page.waitForSelector('rondevu-connect[state=connected], rondevu-service[peer-count="1"]');
        await until(() => peer.received.length > 0, `a message of ${at}`);
        assert.deepEqual(errors, []);
        await Promise.all([page.close(), peer.close()]);
        await server.close();
      });
    }
  }
});
