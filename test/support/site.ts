/**
 * Helpers for browser tests: the signaling server as a process that can be killed, a second origin for pages, and pages that
 * load the bundle.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer as createHttpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import type { Browser, Page } from 'puppeteer-core';
import { temporaryFolder } from './folders.js';

/** Runs the server as a separate process that can be killed and restarted with the same port and database file. */
export class ServerProcess {
  url = '';
  #port = 0;
  #process: ChildProcess | undefined;
  readonly #folder = temporaryFolder();
  readonly #env: Record<string, string>;

  /** @param env environment variables for the server, added to the environment of this process */
  constructor(env: Record<string, string> = {}) {
    this.#env = env;
  }

  /** The server's database file. */
  get database(): string {
    return join(this.#folder, 'rondevu.db');
  }

  async start(): Promise<void> {
    const args = ['server/dist/main.js', '--port', String(this.#port), '--storage', this.database, '--static', '.'];
    const env = { ...process.env, ...this.#env };
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
    this.#process = child;
    this.url = await new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it listened`)));
      child.stdout!.on('data', (text: Buffer) => {
        const found = /on (http:\/\/\S+)/.exec(String(text))?.[1];
        if (found) resolve(found);
      });
    });
    this.#port = Number(new URL(this.url).port);
  }

  /** @param signal SIGKILL gives the server no chance to shut down cleanly */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Suspends the server with SIGSTOP: the kernel still accepts connections, but the server does not answer. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  async close(): Promise<void> {
    await this.stop('SIGKILL');
  }
}

export interface SiteFile {
  body: string;
  headers?: Record<string, string>;
  /** Default 200. */
  status?: number;
}

/** Serves the given files on a second origin. */
export async function serveFiles(files: () => Record<string, SiteFile>): Promise<{ url: string; close(): Promise<void> }> {
  const server: Server = createHttpServer((request, response) => {
    const file = files()[new URL(request.url ?? '/', 'http://x').pathname];
    response.writeHead(file ? (file.status ?? 200) : 404, { 'content-type': 'text/html; charset=utf-8', ...file?.headers });
    response.end(file?.body ?? 'not found');
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://localhost:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** HTML of a page that loads only the bundle. */
export const blankPage = (apiUrl: string, extra = ''): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>test</title><script type="module" src="${apiUrl}/rondevu-elements.js"></script>${extra}`;

/** Opens a page that prints its errors to the test's output, and waits until the custom elements are defined. */
export async function openPage(browser: Browser, url: string): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error('page error:', error));
  // the test runner's compiler wraps named functions in calls to `__name`
  await page.evaluateOnNewDocument('globalThis.__name = (f) => f');
  await page.goto(url);
  await page.evaluate(async () => {
    await customElements.whenDefined('rondevu-connect');
  });
  return page;
}

/** Number of rounds: few in CI; `RONDEVU_ROUNDS=20` for a full run. */
export const ROUNDS = Number(process.env['RONDEVU_ROUNDS'] ?? 3);
