/** Whether the signaling server can be reached, agrees about the time, and can push. */
import { RondevuError } from '../errors.js';
import { RpcClient, SignalingClient, textOf } from '../signaling/index.js';
import { anonymousNameOf, type Signer } from '../identity/index.js';
import { failed, ok, skipped, warning, type Verdict } from './diagnosis.js';

/** Clock difference that the server tolerates in signed calls, in ms; an old server tolerates more. */
const CLOCK_TO = 60_000;
const OLD_CLOCK_TO = 300_000;

export interface ServerFacts {
  caps: Set<string>;
  /** How far the local clock is ahead of the server's, in ms; undefined if the server does not report its time. */
  ahead: number | undefined;
}

export async function checkServer(base: string, ms: number): Promise<{ verdict: Verdict; facts?: ServerFacts }> {
  const signal = AbortSignal.timeout(ms);
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${base}/`, { signal, redirect: 'manual', headers: { accept: 'application/json' } });
    text = await textOf(response);
  } catch (error) {
    const reason = signal.aborted ? `no answer within ${ms} ms` : reasonOf(error);
    const remedy = `Is the server running, and is the address right? On this machine: npx rondevu-server`;
    return { verdict: failed('server-unreachable', `${base} cannot be reached: ${reason}`, remedy) };
  }
  const { name, caps = [], version } = parse(text) as { name?: unknown; caps?: string[]; version?: string };
  if (name !== 'Rondevu') {
    const what = `${base} answers with status ${response.status} and is no Rondevu server`;
    return {
      verdict: failed('not-a-rondevu-server', what, 'Look at the address: scheme, host, port, and the path if there is one.'),
    };
  }
  let health: Response;
  let ahead: number | undefined;
  try {
    const start = Date.now();
    health = await fetch(`${base}/health`, { signal, redirect: 'manual' });
    const { timestamp } = parse(await textOf(health)) as { timestamp?: number };
    // eslint-disable-next-line no-restricted-syntax -- the middle of two times
    const at = (start + Date.now()) / 2;
    ahead = typeof timestamp === 'number' ? at - timestamp : undefined;
  } catch (error) {
    return {
      verdict: failed('server-failing', `${base}/health does not answer: ${reasonOf(error)}`, 'Look at the log of the server.'),
    };
  }
  const facts = { caps: new Set(Array.isArray(caps) ? caps : []), ahead };
  if (!health.ok) {
    const cause = `the server says that it is not well (status ${health.status} of ${base}/health)`;
    return {
      verdict: failed('server-failing', cause, 'Look at the log of the server: most often its storage cannot be reached.'),
      facts,
    };
  }
  const isVersion = typeof version === 'string' && /^[\w.+-]{1,40}$/.test(version);
  return { verdict: ok(`${base} answers, version ${isVersion ? version : 'unknown'}`), facts };
}

export function checkClock({ ahead, caps }: ServerFacts): Verdict {
  if (ahead === undefined) return skipped('clock-unknown', 'the server does not tell its time');
  const off = Math.abs(ahead);
  if (off < CLOCK_TO) return ok(`the clocks agree to ${off < 1000 ? 'the second' : `${Math.round(off / 1000)} s`}`);
  const cause = `this clock is ${Math.round(off / 1000)} s ${ahead > 0 ? 'ahead of' : 'behind'} the server's`;
  const remedy = 'Set the clock that is wrong by network time (timedatectl set-ntp true). ';
  if (!caps.has('v2') && off > OLD_CLOCK_TO)
    return failed('clock-wrong', cause, `${remedy}This server refuses all that is signed until then.`);
  return warning('clock-wrong', cause, `${remedy}Until then the first call of each client has to be made twice.`);
}

/** @returns also the client, for fetching the server's ICE servers; the caller closes it */
export async function checkPush(
  base: string,
  { caps }: ServerFacts,
  identity: Signer,
  WebSocketClass: typeof WebSocket | undefined,
  ms: number,
): Promise<{ verdict: Verdict; client: SignalingClient }> {
  const api = new RpcClient(base, await anonymousNameOf(identity.publicKey), identity, undefined, false);
  const client = new SignalingClient(api, WebSocketClass);
  const settled = new Promise<RondevuError | undefined>((resolve) => {
    client.on('state', (state, error) => {
      if (state === 'push') resolve(undefined);
      else if (state === 'offline' && error) resolve(error);
    });
    setTimeout(resolve, ms);
  });
  const refusal = await client.call('poll', { since: 0 }, { signal: AbortSignal.timeout(ms) }).then(
    () => undefined,
    (error: unknown) => (error instanceof RondevuError ? error : undefined),
  );
  const polls = 'Connections work, and take up to a second longer to come up: the client asks again and again instead.';
  const verdictOf = async (): Promise<Verdict> => {
    if (refusal && refusal.code !== 'unavailable')
      return failed(
        refusal.code,
        `the server refuses a signed call: ${refusal.message}`,
        'See the error codes in docs/protocol.md.',
      );
    if (!caps.has('push')) return warning('push-missing', 'this server has no push', `${polls} rondevu-server has it.`);
    if (!WebSocketClass) return warning('push-unsupported', 'there is no WebSocket here', `${polls} Pass one as webSocket.`);
    const error = await settled;
    if (client.state === 'push') return ok('the WebSocket opens, and the server pushes over it');
    const cause = `the server has push, and its WebSocket does not open from here${error ? `: ${error.message}` : ` within ${ms} ms`}`;
    return warning(
      'push-blocked',
      cause,
      `${polls} Let ${base}/ws through with Upgrade in whatever stands between (a proxy, a firewall).`,
    );
  };
  return { verdict: await verdictOf(), client };
}

function parse(text: string): object {
  try {
    return (JSON.parse(text) as object | null) ?? {};
  } catch {
    return {};
  }
}

/** In Node, the reason why `fetch` failed is in the cause of the error. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error & { cause?: Error & { code?: string } };
  return cause?.message || cause?.code || message;
}
