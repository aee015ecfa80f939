/**
 * The two ends of a chaos test, in a real browser or in Node, with the same few commands. Both run the same code, so a page is
 * an end of Node with its functions sent over.
 */
import type { Browser, Page } from 'puppeteer-core';
import wrtc from '@roamhq/wrtc';
import { WebSocket as NodeSocket } from 'ws';
import { Rondevu, type ConnectionConfig } from '../../dist/src/index.js';
import { launch, type BrowserName } from '../support/browsers.js';
import { blankPage, openPage, serveFiles, until } from '../support/site.js';
import { createEnd, type EndState } from './end.js';
import { rigged } from './rigged-peer-connection.js';

export type Place = BrowserName | 'node';

export interface EndOptions {
  apiUrl: string;
  rigUrl: string;
  username: string;
  /** The service to publish; else `to` is joined. */
  service?: string;
  to?: string;
  config?: Partial<ConnectionConfig>;
  /** The key is kept under the username, so that a page opened again is the same peer. */
  keep?: boolean;
}

/** What a test does with an end. */
export interface End {
  readonly place: Place;
  readonly page: Page | undefined;
  /** Runs a function on the end's state, where the end is. */
  run<T, A extends unknown[]>(act: (end: EndState, ...args: A) => T | Promise<T>, ...args: A): Promise<T>;
  close(): Promise<void>;
}

declare const window: Window & { end: EndState; RTCPeerConnection: typeof RTCPeerConnection };

export class Places {
  readonly #browsers = new Map<BrowserName, Promise<Browser>>();
  #site: { url: string; close(): Promise<void> } | undefined;

  async open(place: Place, options: EndOptions): Promise<End> {
    return place === 'node' ? openInNode(options) : this.#openInBrowser(place, options);
  }

  async close(): Promise<void> {
    for (const browser of this.#browsers.values()) await (await browser).close();
    await this.#site?.close();
  }

  async #openInBrowser(name: BrowserName, options: EndOptions): Promise<End> {
    this.#site ??= await serveFiles(() => ({ '/': { body: blankPage(options.apiUrl) } }));
    if (!this.#browsers.has(name)) this.#browsers.set(name, launch(name));
    const browser = (await this.#browsers.get(name))!;
    const page = await openPage(browser, this.#site.url);
    page.on('console', (message) => process.env['CHAOS_DEBUG'] && console.log(name, options.username, message.text()));
    await page.evaluate(
      async (riggedText, createText, given) => {
        const make = (text: string) => (0, eval)(`(${text})`) as (...args: never[]) => unknown;
        const PeerConnection = make(riggedText)(RTCPeerConnection as never, given.rigUrl as never);
        const module = (await import(`${given.apiUrl}/rondevu-elements.js`)) as { Rondevu: typeof Rondevu };
        const create = make(createText) as unknown as typeof createEnd;
        window.end = await create(module.Rondevu, { rtcPeerConnection: PeerConnection as typeof RTCPeerConnection }, given);
      },
      rigged.toString(),
      createEnd.toString(),
      options,
    );
    return {
      place: name,
      page,
      run: (act, ...args) =>
        page.evaluate(
          (text, given) => ((0, eval)(`(${text})`) as (...all: unknown[]) => never)(window.end, ...given),
          act.toString(),
          args,
        ) as never,
      close: () => page.close(),
    };
  }
}

async function openInNode(options: EndOptions): Promise<End> {
  const end = await createEnd(
    Rondevu,
    {
      rtcPeerConnection: rigged(wrtc.RTCPeerConnection as typeof RTCPeerConnection, options.rigUrl),
      webSocket: NodeSocket as unknown as typeof WebSocket,
    },
    options,
  );
  return {
    place: 'node',
    page: undefined,
    run: async (act, ...args) => act(end, ...args),
    close: () => end.rondevu.close(),
  };
}

export { until };
