/** `rondevu connect`: joins a service to chat, or to transfer bytes from stdin and to stdout. */
import { constants } from 'node:os';
import {
  ConnectionError,
  RondevuError,
  type AnswererConnection,
  type ConnectOptions,
  type EndCode,
  type Rondevu,
} from '../node/index.js';
import { authorOf, parseChatMessage, printable } from '../protocol/chat.js';
import { isServiceId } from '../protocol/service-name.js';
import { Screen, chatLine, peerName } from './chat.js';
import { CLIENT_HELP, CLIENT_OPTIONS, EXIT, UsageError, clientOf, serverOf, type Command, type Values } from './command.js';
import { PIPE_CONFIG, Pipe, saveMemory } from './pipe.js';
import { inputLength, showProgress } from './progress.js';

/** Whether a signal has interrupted the command. */
let isCut = false;
/** Whether a link has been up. */
let isOpen = false;

/** How long the first link may take to open after an offer has been found, in ms. */
const OPEN_TIMEOUT = 60_000;
/** How long the command waits before it reports that it is still waiting, in ms. */
const QUIET = 2000;

/**
 * Reports failures that are retried: every failure before the first link, and only an unreachable server after the first link.
 */
function reportRetries(connection: AnswererConnection, screen: Screen): void {
  let reported: string | undefined;
  const forget = (): void => void (reported = undefined);
  connection.on('connected', forget).on('waiting', forget);
  connection.on('failed', (error) => {
    if (!error.willRetry || error.message === reported || (isOpen && error.code !== 'unavailable')) return;
    reported = error.message;
    screen.warn(`${error.message}; trying again`, error.code);
  });
}

/** Finds a host to join. @param wait how long to wait for a host, in s @throws RondevuError */
async function search(rondevu: Rondevu, name: string, wait: number, screen: Screen, values: Values): Promise<AnswererConnection> {
  const connection = await rondevu.prepareConnection({
    ...(isServiceId(name) ? { serviceId: name } : { serviceFqn: name }),
    connectionConfig: values['raw'] ? PIPE_CONFIG : { maxReconnectAttempts: 0 },
  } satisfies ConnectOptions);
  reportRetries(connection, screen);
  let isAbsent = false;
  connection.on('waiting', () => void (isAbsent = true)).on('failed', () => void (isAbsent = false));
  const noticeTimer = setTimeout(() => {
    if (isAbsent) screen.warn(`no host yet; waiting up to ${wait} s for ${name}`, 'not-found');
    else if (rondevu.signalingState !== 'offline') screen.warn(`waiting up to ${wait} s for ${name}`);
  }, QUIET);
  connection.start(wait * 1000);
  try {
    await connection.found;
    return connection;
  } catch (error) {
    await connection.close({ reason: 'nobody was found' });
    throw absence(error as Error, name, wait, serverOf(values));
  } finally {
    clearTimeout(noticeTimer);
  }
}

/** Rewords `not-found` and `no-offer` errors for the user; returns any other error unchanged. */
function absence(cause: Error, name: string, wait: number, server: string): Error {
  const { code } = cause as RondevuError;
  const waited = wait ? ` after ${wait} s` : '';
  if (code === 'not-found')
    return new RondevuError(code, `nobody is hosting ${name} on ${server}${waited}. "rondevu find" lists available hosts`, {
      cause,
    });
  if (code === 'no-offer')
    return new RondevuError(code, `${name} is online but has no free offer${waited}. To wait longer, use --wait S`, {
      cause,
    });
  return cause;
}

/** Waits until the first link opens. @throws RondevuError */
async function untilOpen(connection: AnswererConnection): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const text = `${connection.serviceFqn} is online, but no link to it opened within ${OPEN_TIMEOUT / 1000} s`;
    timer = setTimeout(() => reject(new ConnectionError('timeout', text)), OPEN_TIMEOUT);
  });
  try {
    await Promise.race([connection.opened, late]);
    isOpen = true;
  } finally {
    clearTimeout(timer);
  }
}

async function raw(rondevu: Rondevu, connection: AnswererConnection, values: Values): Promise<number> {
  const { progress } = values;
  const early: (string | ArrayBuffer)[] = [];
  const keep = (data: string | ArrayBuffer): void => void early.push(data);
  connection.on('message', keep);
  await untilOpen(connection);
  connection.off('message', keep);
  const pipe = new Pipe(connection, process.stdout, { early });
  const isShown = progress === true || (progress === undefined && process.stderr.isTTY);
  const stop = isShown
    ? showProgress(() => ({ sent: pipe.sent, received: pipe.received, state: connection.getState() }), inputLength())
    : () => undefined;
  try {
    await pipe.run(process.stdin);
  } finally {
    stop();
    await rondevu.close();
  }
  return EXIT.ok;
}

async function chat(rondevu: Rondevu, connection: AnswererConnection, screen: Screen): Promise<number> {
  const { print } = screen;
  const note = (event: string, text: string, more: object = {}): void => print({ event, ...more }, `* ${text}`);
  const own = { from: rondevu.getUsername(), publicKey: rondevu.getPublicKey() };
  const isOver = new Promise<{ reason: string; code: EndCode }>((resolve) => {
    connection.on('closed', (reason, { code }) => resolve({ reason, code }));
    connection.on('failed', ({ willRetry, message: reason, code }) => !willRetry && resolve({ reason, code }));
  });
  connection.on('message', (data) => {
    const message = parseChatMessage(data);
    if (message?.type === 'identify') connection.send(JSON.stringify({ type: 'identify_ack', ...own }));
    if (message?.type !== 'message' || typeof message.text !== 'string') return;
    const { author, via } = authorOf(message, peerName(connection));
    const { text } = message;
    print(
      { event: 'message', from: author, via: peerName(connection), text },
      chatLine(via ? `${author} (via ${via})` : author, text),
    );
  });
  connection.on('disconnected', (reason) => note('disconnected', `disconnected: ${printable(reason)}; your messages are queued`));
  connection.on('reconnect:success', () => note('connected', 'reconnected'));
  await untilOpen(connection);
  const { peer } = connection;
  note('connected', `connected to ${peerName(connection)}${peer?.verified ? '' : ' (unverified)'}`, { peer });
  connection.send(JSON.stringify({ type: 'identify', ...own }));
  let last: Promise<string> = Promise.resolve('delivered');
  const inputEnded = screen.read((text) => {
    if (connection.getState() === 'closed') return;
    try {
      last = connection.send(JSON.stringify({ type: 'message', text, from: own.from })).delivered;
    } catch (error) {
      screen.warn(`not sent: ${(error as Error).message}`);
    }
  });
  const end = await Promise.race([isOver, inputEnded.then(() => last.then(() => undefined))]);
  screen.close();
  // after a signal, the chat has ended locally: the peer did not leave
  if (end && !isCut) note('left', `${peerName(connection)} left: ${printable(end.reason)}`);
  await rondevu.close();
  const isLost = end !== undefined && end.code !== 'closed-by-peer' && !isCut;
  return isLost || /^(expired|dropped)$/.test(await last) ? EXIT.lost : EXIT.ok;
}

export const join: Command = {
  summary: 'join a service: chat, or transfer files',
  help: `rondevu connect FQN [--raw]

Joins name:version@username, name:version at any host, or a hidden service by its id, and stays connected through network
outages. Chats with <rondevu-chat> and with "rondevu host --chat": each line is a message; Ctrl-D or Ctrl-C ends the chat.

  rondevu connect chat:1.0.0@alice
  rondevu connect drop:1.0.0@alice --raw < film.mkv       send a file; a progress bar is on stderr
  rondevu connect chat:1.0.0@alice#Vn3Q…                  only if her key has this pin

      --raw            transfer bytes: sends stdin, writes received bytes to stdout; exits when both sides have ended
      --progress       show the progress bar even if stderr is not a terminal
      --wait S         how long to wait for a host, in seconds (default 10)
${CLIENT_HELP}`,
  options: {
    ...CLIENT_OPTIONS,
    raw: { type: 'boolean' },
    progress: { type: 'boolean' },
    wait: { type: 'string' },
  },
  args: ['FQN'],
  async run([name = ''], values) {
    const wait = Number(values['wait'] ?? 10);
    if (!(wait >= 0)) throw new UsageError(`--wait must be a number of seconds, got "${String(values['wait'])}"`);
    if (values['raw']) saveMemory();
    const rondevu = await clientOf(values, false);
    // the first signal closes the client cleanly; an interrupted transfer is a failure, as is a chat that never connected
    const cut = new Promise<number>((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) {
        const code = 128 + constants.signals[signal];
        process.on(signal, () => {
          if (isCut) process.exit(code);
          isCut = true;
          void rondevu.close().then(() => resolve(values['raw'] || !isOpen ? code : EXIT.ok));
        });
      }
    });
    const transfer = async (): Promise<number> => {
      const screen = new Screen(values);
      const connection = await search(rondevu, name, wait, screen, values);
      return values['raw'] ? raw(rondevu, connection, values) : chat(rondevu, connection, screen);
    };
    // errors from operations interrupted by the signal are not reported
    return Promise.race([transfer(), cut]).catch((error: Error) => (isCut ? cut : Promise.reject(error)));
  },
};
