/** Runs the SDP parser of each platform: browsers in a page, and the WebRTC packages for Node in separate processes. */
import type { Page } from 'puppeteer-core';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { WebRtcPackage } from '../../src/node/webrtc.js';
import { launch, type BrowserName } from '../support/browsers.js';
import type { Request } from './reader.js';
import { makeOffer, readAll, readAllCandidates } from './reading.js';

export interface Platform {
  name: string;
  isBrowser: boolean;
  /** Resolves with an offer created by the platform. */
  offer(): Promise<string>;
  /**
   * Sets each description as the remote description and resolves with the platform's serialization, or null if it was refused.
   */
  read(descriptions: string[]): Promise<(string | null)[]>;
  /** Like `read`, but adds candidates to a description, one at a time. */
  readCandidates(description: string, candidates: string[]): Promise<(string | null)[]>;
  close(): Promise<void>;
}

/** Number of descriptions per peer connection: Chromium cannot create more than about 500 peer connections. */
const SHARED_BY = 100;
const READER = fileURLToPath(new URL('reader.ts', import.meta.url));

export async function browserPlatform(name: BrowserName): Promise<Platform> {
  const browser = await launch(name);
  const page: Page = await browser.newPage();
  const inPage = <T>(call: string, ...args: unknown[]): Promise<T> =>
    page.evaluate(`(${call})(${args.map((arg) => JSON.stringify(arg)).join()})`) as Promise<T>;
  // the test runner's compiler wraps named functions in calls to `__name`
  await page.evaluate('globalThis.__name = (f) => f; globalThis.make = () => new RTCPeerConnection({ iceServers: [] })');
  return {
    name,
    isBrowser: true,
    offer: () => inPage(`() => (${makeOffer.toString()})(make())`),
    read: (descriptions) => inPage(`(all) => (${readAll.toString()})(make, all, ${SHARED_BY})`, descriptions),
    readCandidates: (sdp, all) => inPage(`(sdp, all) => (${readAllCandidates.toString()})(make, sdp, all)`, sdp, all),
    close: () => browser.close(),
  };
}

export async function nodePlatform(name: WebRtcPackage): Promise<Platform> {
  let child: ChildProcess | undefined;
  const ask = async <T>(request: Request): Promise<T> => {
    if (!child) {
      child = fork(READER, [name], { execArgv: ['--import', 'tsx'] });
      await once(child, 'message');
    }
    const reader = child;
    reader.send(request);
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null, signal: string | null) => {
        child = undefined;
        reject(new ReaderEndedError(`${name} ended its process (${signal ?? code})`));
      };
      reader.once('exit', onExit);
      reader.once('message', ({ result }: { result: T }) => {
        reader.off('exit', onExit);
        resolve(result);
      });
    });
  };
  const read = async (descriptions: string[]): Promise<(string | null)[]> => {
    try {
      return await ask({ method: 'read', descriptions });
    } catch (error) {
      if (!(error instanceof ReaderEndedError) || descriptions.length < 2)
        throw new Error(`${error}: ${JSON.stringify(descriptions)}`);
      // bisect to find the description that crashed the process
      const half = descriptions.length >> 1;
      return [...(await read(descriptions.slice(0, half))), ...(await read(descriptions.slice(half)))];
    }
  };
  return {
    name,
    isBrowser: false,
    offer: () => ask({ method: 'offer' }),
    read,
    readCandidates: (description, candidates) => ask({ method: 'readCandidates', description, candidates }),
    close: async () => void child?.kill(),
  };
}

class ReaderEndedError extends Error {}
