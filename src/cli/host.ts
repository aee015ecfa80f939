/** `rondevu host`: publishes a service and serves each joiner with a chat, an echo or a program. */
import { spawn, type ChildProcess } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { closeOnSignal, type OffererConnection, type PublishOptions } from '../node/index.js';
import { ChatRates, parseChatMessage, printable, type ChatMessage } from '../protocol/chat.js';
import { isUsername } from '../protocol/service-name.js';
import { Screen, chatLine, peerName } from './chat.js';
import {
  CLIENT_HELP,
  CLIENT_OPTIONS,
  EXIT,
  UsageError,
  clientOf,
  serverOf,
  type Command,
  type Print,
  type Values,
} from './command.js';
import { PIPE_CONFIG, Pipe, saveMemory, parsePipeMessage } from './pipe.js';

/** How long a program may keep running after its connection has closed, in ms. */
const EXIT_TIMEOUT = 1000;

/** Serves one connection. */
type Answer = (connection: OffererConnection) => void;

const connections = new Set<OffererConnection>();

/** Sends a message to every connection except `except`; skips closed connections. */
function sendAll(message: ChatMessage, except?: OffererConnection): void {
  for (const connection of connections) {
    if (connection === except || connection.getState() === 'closed') continue;
    try {
      connection.send(JSON.stringify(message));
    } catch (error) {
      // a failing connection must not prevent delivery to the others
      void connection.close({ discard: true, reason: (error as Error).message });
    }
  }
}

/** Running programs, each in its own process group so that its child processes are terminated with it. */
const children = new Set<ChildProcess>();

function end(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGTERM');
  } catch {
    // it has already exited
  }
}

/** Hosts a group chat, as a page does with <rondevu-chat> inside a <rondevu-service>. */
function chat(own: { username: string; publicKey: string }, { print, warn }: Screen): Answer {
  const rates = new ChatRates(warn);
  return (connection) => {
    connection.on('message', (data) => {
      const message = parseChatMessage(data);
      const from = peerName(connection);
      if (!message || !rates.allows(from)) return;
      if (message.type === 'identify')
        connection.send(JSON.stringify({ type: 'identify_ack', from: own.username, publicKey: own.publicKey }));
      if (message.type !== 'message' || typeof message.text !== 'string') return;
      const { text } = message;
      print({ event: 'message', from, text }, chatLine(from, text));
      sendAll({ type: 'message', from, text }, connection);
    });
  };
}

/** Echoes every message, text as text and binary as binary; a `Pipe` serves `rondevu connect --raw`. */
const echo: Answer = (connection) => {
  const onMessage = (data: string | ArrayBuffer): void => {
    if (!parsePipeMessage(data)) return void connection.send(data);
    connection.off('message', onMessage);
    const through = new PassThrough();
    new Pipe(connection, through, { early: [data], endsOutput: true }).run(through).catch(() => undefined); // reported by `closed`
  };
  connection.on('message', onMessage);
};

/** Runs one program for each joiner, with stdin and stdout connected to that joiner. */
const execute =
  (command: string, print: Print): Answer =>
  (connection) => {
    const { peer } = connection;
    const child = spawn(command, {
      shell: true,
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...process.env,
        // the program may use the username as a file name: valid usernames have no characters special to a shell or a path
        RONDEVU_PEER: isUsername(peer?.username) ? peer.username : '',
        RONDEVU_PEER_KEY: peer?.publicKey ?? '',
        RONDEVU_PEER_VERIFIED: String(peer?.verified ?? false),
      },
    });
    child.on('error', (error) => {
      print({ event: 'error', message: error.message }, `cannot start the program: ${error.message}`);
      void connection.close({ discard: true, reason: 'the program cannot be started' });
    });
    // despite their types, the streams may be undefined if the process did not start
    if (child.pid === undefined) return;
    children.add(child);
    const pipe = new Pipe(connection, child.stdin, { endsOutput: true });
    pipe
      .run(child.stdout)
      .catch((error: Error) => print({ event: 'error', message: error.message }, `${peerName(connection)}: ${error.message}`));
    child.on('exit', (code, signal) =>
      print({ event: 'exit', code, signal }, `${peerName(connection)}: the program exited with ${code ?? signal}`),
    );
    child.on('exit', () => children.delete(child));
    connection.on('closed', () => void setTimeout(() => children.has(child) && end(child), EXIT_TIMEOUT));
  };

function answerOf(values: Values, own: { username: string; publicKey: string }, screen: Screen): Answer {
  const { echo: isEcho, exec, chat: isChat } = values;
  if ([isEcho, exec, isChat].filter((value) => value !== undefined).length > 1)
    throw new UsageError('--echo, --exec and --chat cannot be combined');
  if (isEcho) return echo;
  return typeof exec === 'string' ? execute(exec, screen.print) : chat(own, screen);
}

export const host: Command = {
  summary: 'host a service: a chat, an echo or a program',
  help: `rondevu host SERVICE [--chat | --echo | --exec CMD]

Publishes SERVICE (name:version) under your username until Ctrl-C, then withdraws its offers and notifies every peer.

  rondevu host chat:1.0.0 --username alice                chat with joiners in "rondevu connect" or in a page
  rondevu host echo:1.0.0 --echo                          send back what is received
  rondevu host sum:1.0.0 --exec sha256sum                 run a program for each joiner
  rondevu host drop:1.0.0 --exec 'cat > "from-$RONDEVU_PEER"'
                                                          receive files: rondevu connect drop:1.0.0@… --raw < FILE

      --chat           a group chat: your messages go to all joiners (default)
      --echo           send back what is received
      --exec CMD       run CMD in a shell for each joiner. It gets RONDEVU_PEER, RONDEVU_PEER_KEY, RONDEVU_PEER_VERIFIED.
                       Anyone who knows the name can join: CMD must be safe to expose to strangers
      --max N          maximum number of simultaneous connections
      --hidden         can only be found by its id, which is printed at the start
${CLIENT_HELP}`,
  options: {
    ...CLIENT_OPTIONS,
    chat: { type: 'boolean' },
    echo: { type: 'boolean' },
    exec: { type: 'string' },
    max: { type: 'string' },
    hidden: { type: 'boolean' },
  },
  args: ['SERVICE'],
  async run([service = ''], values) {
    const screen = new Screen(values);
    const { print } = screen;
    const max = values['max'] === undefined ? undefined : Number(values['max']);
    if (max !== undefined && !(Number.isInteger(max) && max > 0))
      throw new UsageError(`--max must be a whole number above 0, got "${String(values['max'])}"`);
    const isPiped = values['exec'] !== undefined || values['echo'] === true;
    if (isPiped) saveMemory();
    const rondevu = await clientOf(values, true);
    const own = { username: rondevu.getUsername(), publicKey: rondevu.getPublicKey() };
    const answer = answerOf(values, own, screen);
    const pool = await rondevu.publishService({
      service,
      hidden: values['hidden'] === true,
      ...(max !== undefined && { maxConnections: max }),
      ...(isPiped && { connectionConfig: PIPE_CONFIG }),
    } satisfies PublishOptions);
    pool.on('connection:opened', (_id, connection) => {
      connections.add(connection);
      const { peer } = connection;
      print({ event: 'joined', peer }, `* ${peerName(connection)} joined${peer?.verified ? '' : ' (unverified)'}`);
      connection.on('closed', (reason, { code }) => {
        connections.delete(connection);
        print({ event: 'left', peer, reason, code }, `* ${peerName(connection)} left: ${printable(reason)}`);
      });
      answer(connection);
    });
    pool.once('published', (serviceId) => {
      const where = values['hidden'] ? serviceId : pool.fqn;
      print(
        { event: 'live', serviceFqn: pool.fqn, serviceId, server: serverOf(values), ...own },
        `${pool.fqn} is live on ${serverOf(values)}. To join: rondevu connect ${where}`,
      );
      if (!isPiped) void screen.read((text) => sendAll({ type: 'message', from: own.username, text }));
    });
    let isClosing = false;
    const ended = new Promise<number>((resolve, reject) => {
      closeOnSignal(rondevu, { onSignal: () => void (isClosing = true), exit: (code) => resolve(code === 0 ? EXIT.ok : code) });
      let outage: string | undefined;
      rondevu.on('signaling:state', (state, error) => {
        if (isClosing) return;
        // the server refused the session, for example because the username now belongs to a different key
        if (error && error.code !== 'unavailable') return reject(error);
        if (error && error.message !== outage) {
          outage = error.message;
          const here = connections.size ? `. Open connections (${connections.size}) are not affected` : '';
          screen.warn(`${error.message}; trying again${here}`, error.code);
        } else if (outage !== undefined && /^(push|polling)$/.test(state)) {
          outage = undefined;
          print({ event: 'online', server: serverOf(values) }, `* ${serverOf(values)} is reachable again`);
        }
      });
      pool.on('offer:failed', (_id, error) => {
        // server outages have already been reported, and a permanent error ends the command
        if (isClosing || !pool.isStarted || rondevu.signalingState === 'offline') return;
        screen.warn(error.willRetry ? `${error.message}; trying again` : error.message, error.code);
      });
      pool.on('failed', (error) => isClosing || reject(error));
      pool.start().catch((error: Error) => isClosing || reject(error));
    });
    try {
      return await ended;
    } catch (error) {
      await rondevu.close();
      throw error;
    } finally {
      screen.close();
      for (const child of children) end(child);
    }
  },
};
