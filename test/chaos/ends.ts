/**
 * The two ends of a chaos test, each in a real browser or in Node, controlled by the same few commands. Pages and Node run the
 * same code: pages receive the functions as text.
 */
import { after } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import { WebSocket as NodeSocket } from 'ws';
import { Rondevu, findWebRtc, type ConnectionConfig, type WebRtcPackage } from '../../dist/src/node/index.js';
import { launch, type BrowserName } from '../support/browsers.js';
import { blankPage, openPage, serveFiles, type ServerProcess } from '../support/site.js';
import { useServer } from '../support/set-up.js';
import { until } from '../support/until.js';
import { createEnd, type EndState } from './end.js';
import { rigged } from './rigged-peer-connection.js';

/** WebRTC packages for Node, keyed by names without dashes: a dash separates the two names of a pair. */
export const NODE_PLACES = { node: '@roamhq/wrtc', datachannel: 'node-datachannel', werift: 'werift' } as const;
export type Place = BrowserName | keyof typeof NODE_PLACES;

export interface EndOptions {
  apiUrl: string;
  /** URL of the proxy that carries all traffic between the peers. Default: no proxy. */
  rigUrl?: string;
  username: string;
  /** The service to publish; if unset, the end joins `to`. */
  service?: string;
  to?: string;
  config?: Partial<ConnectionConfig>;
  /** Stores the key under the username, so that a reopened page is the same peer. */
  keep?: boolean;
  /** If set, the test sends its own messages instead of the numbered stream. */
  plain?: boolean;
}

/** Commands that a test can run on an end. */
export interface End {
  readonly place: Place;
  readonly page: Page | undefined;
  /** Runs a function with the end's state, in the page or process of the end. */
  run<T, A extends unknown[]>(act: (end: EndState, ...args: A) => T | Promise<T>, ...args: A): Promise<T>;
  close(): Promise<void>;
}

declare const window: Window & { end: EndState; RTCPeerConnection: typeof RTCPeerConnection };

export class Places {
  readonly #browsers = new Map<BrowserName, Promise<Browser>>();
  #site: { url: string; close(): Promise<void> } | undefined;

  async open(place: Place, options: EndOptions): Promise<End> {
    return place in NODE_PLACES
      ? openInNode(place as keyof typeof NODE_PLACES, options)
      : this.#openInBrowser(place as BrowserName, options);
  }

  /**
   * Opens a host and a joiner, and waits until they are connected.
   * @param username name of the host; the joiner's name is derived from it
   * @param joinerOptions additional options for the joiner
   */
  async openPair(
    hostPlace: Place,
    joinerPlace: Place,
    { username, service = 'chaos:1.0.0', ...common }: Omit<EndOptions, 'to' | 'keep'>,
    joinerOptions: Partial<EndOptions> = {},
  ): Promise<{ host: End; joiner: End }> {
    const host = await this.open(hostPlace, { ...common, username, service });
    const to = `${service}@${username}`;
    const joiner = await this.open(joinerPlace, { ...common, username: `j-${username}`.slice(0, 32), to, ...joinerOptions });
    await until(() => host.run(({ connection }) => connection?.isConnected()), 'the host to have its connection');
    return { host, joiner };
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
        const PeerConnection = given.rigUrl
          ? make(riggedText)(RTCPeerConnection as never, given.rigUrl as never)
          : RTCPeerConnection;
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

/** Sets up a server process and the places (browsers and Node) for the tests in a file. */
export function usePlaces(): { server: ServerProcess; places: Places } {
  const places = new Places();
  after(() => places.close());
  return { server: useServer(), places };
}

async function openInNode(place: keyof typeof NODE_PLACES, options: EndOptions): Promise<End> {
  const { RTCPeerConnection } = await findWebRtc(NODE_PLACES[place] satisfies WebRtcPackage);
  const end = await createEnd(
    Rondevu,
    {
      rtcPeerConnection: options.rigUrl ? rigged(RTCPeerConnection, options.rigUrl) : RTCPeerConnection,
      webSocket: NodeSocket as unknown as typeof WebSocket,
    },
    options,
  );
  return {
    place,
    page: undefined,
    run: async (act, ...args) => act(end, ...args),
    close: () => end.rondevu.close(),
  };
}
