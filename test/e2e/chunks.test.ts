/** Lazily loaded chunks of the bundle: after a failed request, the next use requests the chunk again. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { launch, type BrowserName } from '../support/browsers.ts';
import { ServerProcess, type SiteFile } from '../support/site.ts';
import { useSite } from '../support/set-up.ts';

const requests: string[] = [];
/** Paths for which the next request fails with status 503, as on an overloaded server. */
const busy = new Set<string>();
const headers = { 'content-type': 'text/javascript' };
const file = (path: string): SiteFile => {
  requests.push(path);
  return busy.delete(path) ? { body: 'busy', status: 503 } : { body: readFileSync(`dist${path}`, 'utf8'), headers };
};
const files: Record<string, SiteFile> = {
  '/': { body: '<!doctype html><title>chunks</title>' },
  ...Object.fromEntries(
    ['elements', 'older-calls', 'durable', 'noble'].map((name) => [`/rondevu-${name}.js`, { body: '' } as SiteFile]),
  ),
};
for (const path of Object.keys(files)) {
  if (path.endsWith('.js')) Object.defineProperty(files, path, { get: () => file(path) });
}

const site = useSite(() => files);

/** For each chunk, code that defines a function `use` that requires the chunk. */
const USES = {
  durable: `const rondevu = await Rondevu.connect({ apiUrl: 'http://localhost:9' });
    const use = () => rondevu.connect('bob', 'chat:1.0.0').then(({ constructor }) => constructor);`,
  noble: `Object.defineProperty(crypto, 'subtle', { value: undefined });
    const use = () => Rondevu.connect({ apiUrl: 'http://localhost:9' }).then(({ constructor }) => constructor);`,
};

describe('loading a chunk after a failed request', () => {
  for (const name of ['chromium', 'firefox'] as BrowserName[]) {
    it(`requests the chunk again on the next use in ${name}`, async () => {
      const browser = await launch(name);
      try {
        for (const [chunk, begin] of Object.entries(USES)) {
          busy.add(`/rondevu-${chunk}.js`);
          requests.length = 0;
          const page = await browser.newPage();
          await page.goto(site.url);
          const outcome = await page.evaluate(`(async () => {
            const { Rondevu } = await import('/rondevu-elements.js');
            ${begin}
            const failure = await use().catch(({ name, code, message }) => [name, code, message]);
            const [first, second] = [await use(), await use()];
            return { failure, isFunction: typeof first === 'function', isSame: first === second };
          })()`);
          assert.deepEqual(outcome, {
            failure: [
              'RondevuError',
              'unsupported',
              `the file rondevu-${chunk}.js could not be loaded: check that it is beside the bundle, then try again`,
            ],
            isFunction: true,
            isSame: true,
          });
          // one failed and one successful request: a loaded chunk is not requested again
          assert.equal(requests.filter((path) => path === `/rondevu-${chunk}.js`).length, 2);
          await page.close();
        }
      } finally {
        await browser.close();
      }
    });
  }
});

describe('a bundle whose URL has a query string, as added by content management systems', () => {
  for (const name of ['chromium', 'firefox'] as BrowserName[]) {
    it(`loads each chunk once, with the same query string, in ${name}`, async () => {
      const server = new ServerProcess();
      await server.start();
      const browser = await launch(name);
      try {
        const scripts: string[] = [];
        const page = await browser.newPage();
        page.on('request', (request) => {
          const { pathname, search } = new URL(request.url());
          if (pathname.endsWith('.js')) scripts.push(`${pathname}${search}`);
        });
        await page.goto(site.url);
        const outcome = await page.evaluate(async (url: string) => {
          const script = Object.assign(document.createElement('script'), {
            type: 'module',
            src: `${url}/rondevu-elements.js?ver=1`,
          });
          document.body.append(script);
          await customElements.whenDefined('rondevu-service');
          document.body.insertAdjacentHTML(
            'beforeend',
            `<rondevu-service service="chat:1.0.0" username="alice" api-url="${url}"></rondevu-service>
            <rondevu-connect to="chat:1.0.0@alice" api-url="${url}"></rondevu-connect>`,
          );
          const joiner = document.querySelector('rondevu-connect')!;
          await new Promise((resolve) => {
            if (joiner.connection?.isConnected()) resolve(undefined);
            else joiner.addEventListener('rondevu-open', resolve, { once: true });
          });
          const stats = await joiner.connection!.getStats();
          const { Rondevu, diagnose } = (await import(script.src)) as typeof import('../../dist/src/index.js');
          const [check] = (await diagnose({ apiUrl: url })).checks;
          const rondevu = await Rondevu.connect({ apiUrl: url, username: 'bob' });
          const found = await rondevu.findService('chat:1.0.0@alice');
          await rondevu.close();
          return [typeof stats, check?.name, typeof found, customElements.get('rondevu-connect') === joiner.constructor];
        }, server.url);
        assert.deepEqual(outcome, ['object', 'server', 'object', true]);
        assert.deepEqual(scripts.toSorted(), [...new Set(scripts)].toSorted(), 'a file was requested twice');
        assert.deepEqual(
          scripts.filter((path) => !path.endsWith('.js?ver=1')),
          [],
          'a file was requested without the query',
        );
        for (const chunk of ['publishing', 'stats', 'checks', 'lookup']) {
          assert.ok(scripts.includes(`/rondevu-${chunk}.js?ver=1`), `rondevu-${chunk}.js was not requested`);
        }
      } finally {
        await browser.close();
        await server.close();
      }
    });
  }
});
