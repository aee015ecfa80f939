/**
 * All texts that the elements display. English is built in. A page can replace the texts of a language with `setStrings`, or
 * the texts of a single element with its `strings` property.
 */

export const ENGLISH = {
  messages: 'Messages',
  composerLabel: 'Message',
  placeholder: 'Write a message',
  send: 'Send',
  you: 'You',
  via: '{name} via {host}',
  empty: 'No messages yet. Say hello.',
  newMessages: '{count} new',
  sent: 'sent',
  delivered: 'delivered',
  waiting: 'waiting',
  failed: 'not sent',
  nobody: 'not sent, nobody is here',
  partly: 'not sent to {names}',
  noSource: 'Not connected',
  idle: 'Not started',
  waitingForPeer: 'Waiting for the host',
  connecting: 'Connecting',
  connected: 'Connected',
  connectedTo: 'Connected to {name}',
  live: 'Open, nobody here yet',
  members: '{count} here',
  membersServerAway: '{count} here. The server cannot be reached, so nobody else can join',
  serverAway: 'The server cannot be reached. Trying again',
  reconnecting: 'Reconnecting',
  reconnectingBuffered: 'Reconnecting, {count} messages waiting',
  reconnectingOne: 'Reconnecting, 1 message waiting',
  reconnectingServerAway: 'Reconnecting. The server cannot be reached',
  disconnected: 'Disconnected',
  closed: 'Closed',
  failedState: 'Connection failed',
  misconfigured: 'This chat is not set up correctly. See the console',
  nobodyCame: 'Nobody answered',
  noWebRtc: 'This browser cannot connect: WebRTC is disabled or blocked',
  keyChanged: '{name} has a different key than before. Somebody else may be using the name.',
  trustKey: 'Trust the new key',
  unverified: 'The other side could not be verified',
  nameTaken: 'The name {name} is taken: it belongs to another key',
  joined: '{name} joined',
  left: '{name} left',
};

export type Strings = { [K in keyof typeof ENGLISH]: string };

const tables = new Map<string, Partial<Strings>>();

/** Replaces the texts of a language in all elements on the page. @param lang a BCP 47 tag, for example `de` */
export function setStrings(lang: string, table: Partial<Strings>): void {
  tables.set(lang.toLowerCase(), table);
}

/** The texts of an element: its own texts override the texts of its language, which override English. */
export function stringsFor(element: Element, own: Partial<Strings>): Strings {
  const lang = (element.closest('[lang]')?.getAttribute('lang') ?? '').toLowerCase();
  return { ...ENGLISH, ...tables.get(lang.split('-')[0]!), ...tables.get(lang), ...own };
}

/** Replaces each `{name}` placeholder with its value. */
export const fill = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
