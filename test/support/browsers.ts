/**
 * Launches real browsers for tests that need more than one page or process. The executables are taken from CHROME_PATH and
 * FIREFOX_PATH, or found on PATH by their usual names. The flags enable WebRTC on loopback and allow headless Chromium to run
 * as root.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import puppeteer, { type Browser, type LaunchOptions } from 'puppeteer-core';

export type BrowserName = 'chromium' | 'firefox';

const NAMES: Record<BrowserName, { env: string; names: string[]; places: string[]; install: string }> = {
  chromium: {
    env: 'CHROME_PATH',
    names: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'],
    places: [
      '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
      'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
    ],
    install: 'apt-get install chromium (Debian), or set CHROME_PATH',
  },
  firefox: {
    env: 'FIREFOX_PATH',
    names: ['firefox-esr', 'firefox'],
    places: ['/Applications/Firefox.app/Contents/MacOS/firefox', 'C:\\Program Files\\Mozilla Firefox\\firefox.exe'],
    install: 'apt-get install firefox-esr (Debian), or set FIREFOX_PATH',
  },
};

const CHROMIUM_ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  // otherwise, timers in background pages are throttled, and any page of a test may be in the background
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
];

const FIREFOX_PREFS = {
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'dom.min_background_timeout_value': 4,
  'dom.min_background_timeout_value_without_budget_throttling': 4,
  'dom.timeout.enable_budget_timer_throttling': false,
  'dom.timeout.throttling_delay': -1,
};

/** @throws Error that explains how to install the browser */
function findBrowser(name: BrowserName): string {
  const { env, names, places, install } = NAMES[name];
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const candidates = [process.env[env] ?? '', ...names.flatMap((file) => folders.map((folder) => join(folder, file))), ...places];
  const found = candidates.find((path) => path && isExecutable(path));
  if (!found) throw new Error(`no ${name} was found: ${install}`);
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Launch options for a headless browser; the in-browser test runner also uses them. */
export function launchOptions(name: BrowserName): LaunchOptions {
  const executablePath = findBrowser(name);
  return name === 'chromium'
    ? { executablePath, headless: true, args: CHROMIUM_ARGS }
    : { browser: 'firefox', executablePath, headless: true, extraPrefsFirefox: FIREFOX_PREFS };
}

export const launch = (name: BrowserName): Promise<Browser> => puppeteer.launch(launchOptions(name));
