/** `rondevu doctor`: diagnoses connection problems, as far as possible from one machine. */
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import {
  answersUdp,
  diagnose,
  findWebRtc,
  identityFromFile,
  unusedProxy,
  type Check,
  type IcePreset,
  type WebRtcPackage,
} from '../node/index.js';
import {
  CLIENT_HELP,
  CLIENT_OPTIONS,
  EXIT,
  UsageError,
  forTerminal,
  jsonLine,
  serverOf,
  warn,
  type Command,
  type Values,
} from './command.js';

const MARKS = { ok: '✓', warning: '!', failed: '✗', skipped: '-' } as const;

function printCheck({ name, status, code, cause, remedy }: Check): void {
  const title = status === 'ok' || status === 'skipped' ? '' : `${code}: `;
  console.log(forTerminal(`${MARKS[status]} ${name.padEnd(7)} ${title}${cause}`));
  if (remedy) console.log(forTerminal(`          → ${remedy}`));
}

/** The TURN server specified by the options. */
function turnOf(values: Values): RTCIceServer[] {
  const { turn } = values;
  const file = values['turn-password-file'];
  if (turn === undefined) return [];
  if (values['turn-user'] === undefined || file === undefined)
    throw new UsageError('--turn needs --turn-user and --turn-password-file');
  return [{ urls: String(turn), username: String(values['turn-user']), credential: readFileSync(String(file), 'utf8').trim() }];
}

export const doctor: Command = {
  summary: 'diagnose connection problems',
  help: `rondevu doctor

Checks everything that a connection needs, and for each problem prints the cause and a remedy: the server, the clocks, push,
WebRTC on this machine, STUN, TURN, UDP. Runs the same checks as diagnose() in a page. Exits with 1 if a check failed, and with
0 if there are only warnings (!).

  rondevu doctor --server https://signal.example.org
  rondevu doctor --turn turn:turn.example.org:3478 --turn-user alice --turn-password-file secret.txt

      --timeout S      time limit of each check, in seconds (default 5)
      --turn URL       check this TURN server instead of the signaling server's
      --turn-user NAME, --turn-password-file FILE
                       its username, and a file that contains its password
${CLIENT_HELP}`,
  options: {
    ...CLIENT_OPTIONS,
    timeout: { type: 'string' },
    turn: { type: 'string' },
    'turn-user': { type: 'string' },
    'turn-password-file': { type: 'string' },
  },
  args: [],
  async run(_args, values) {
    const seconds = Number(values['timeout'] ?? 5);
    if (!(seconds > 0 && seconds <= 600))
      throw new UsageError(`--timeout must be a number of seconds above 0, at most 600, got "${String(values['timeout'])}"`);
    const wanted = values['webrtc'] as WebRtcPackage | undefined;
    // reports a missing package as a finding, unless the user requested that package
    const webrtc = await findWebRtc(wanted).catch((error: unknown) => {
      if (wanted !== undefined) throw error;
      return undefined;
    });
    const proxy = unusedProxy(serverOf(values));
    if (proxy) warn(proxy, values);
    const turnServers = turnOf(values);
    const keyFile = values['key-file'];
    const { status, checks } = await diagnose({
      apiUrl: serverOf(values),
      iceServers: turnServers.length ? turnServers : ((values['ice'] ?? 'server') as IcePreset),
      timeout: Math.ceil(seconds * 1000),
      ...(keyFile !== undefined && { identity: await identityFromFile(String(keyFile)) }),
      ...(webrtc && { rtcPeerConnection: webrtc.RTCPeerConnection }),
      webSocket: WebSocket as unknown as typeof globalThis.WebSocket,
      answersUdp,
      ...(!values['json'] && { onCheck: printCheck }),
    });
    if (values['json']) console.log(jsonLine({ status, webrtc: webrtc?.name ?? null, checks }));
    return status === 'failed' ? EXIT.failed : EXIT.ok;
  },
};
