/** Test fixtures that are torn down after a test, suite or file: browsers, servers and second origins. */
import type { Server } from 'node:http';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { after, before, type TestContext } from 'node:test';
import type { Browser } from 'puppeteer-core';
import { launch, type BrowserName } from './browsers.js';
import { ServerProcess, serveFiles, type SiteFile } from './site.js';

/** Starts a server process for the tests in a file. @param env environment variables for the server */
export function useServer(env?: Record<string, string>): ServerProcess {
  const server = new ServerProcess(env);
  before(() => server.start());
  after(() => server.close());
  return server;
}

/** Serves a second origin for the tests in a file. */
export function useSite(files: () => Record<string, SiteFile>): { readonly url: string } {
  let site: Awaited<ReturnType<typeof serveFiles>> | undefined;
  before(async () => void (site = await serveFiles(files)));
  after(() => site?.close());
  return {
    get url() {
      return site!.url;
    },
  };
}

/** Launches browsers for the tests in a suite. */
export function useBrowsers(...names: BrowserName[]): Readonly<Record<BrowserName, Browser>> {
  const browsers = {} as Record<BrowserName, Browser>;
  before(async () => {
    for (const name of names) browsers[name] = await launch(name);
  });
  after(async () => void (await Promise.all(Object.values(browsers).map((browser) => browser.close()))));
  return browsers;
}

/** Launches a browser for a single test. */
export async function launchFor(t: TestContext, name: BrowserName): Promise<Browser> {
  const browser = await launch(name);
  t.after(() => browser.close());
  return browser;
}

/** Serves a second origin for a single test. @returns its URL */
export async function serveFor(t: TestContext, files: Record<string, SiteFile>): Promise<string> {
  const site = await serveFiles(() => files);
  t.after(() => site.close());
  return site.url;
}

/** Listens on a free port on 127.0.0.1 until the test ends. @returns the URL */
export async function listenFor(t: TestContext, server: Server | NetServer): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    if ('closeAllConnections' in server) server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
