/** Checks whether the signaling server is reachable, its clock agrees with the local clock, and push works. */
import { RondevuError } from '../errors.js';
import { RpcClient, SignalingClient, textOf } from '../signaling/index.js';
import { anonymousNameOf, type Signer } from '../identity/index.js';
import { failed, ok, skipped, warning, type Verdict } from './diagnosis.js';

/** Maximum clock difference that the server tolerates in signed calls, in ms; old servers tolerate more. */
const MAX_SKEW = 60_000;
const OLD_MAX_SKEW = 300_000;

export interface ServerFacts {
  caps: Set<string>;
  /** How far the local clock is ahead of the server's clock, in ms; undefined if the server does not report its time. */
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
    const what = `${base} answers with status ${response.status} but is not a Rondevu server`;
    return {
      verdict: failed('not-a-rondevu-server', what, 'Check the address: scheme, host, port and, if any, the path.'),
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
      verdict: failed('server-failing', `${base}/health does not answer: ${reasonOf(error)}`, 'Check the server log.'),
    };
  }
  const facts = { caps: new Set(Array.isArray(caps) ? caps : []), ahead };
  if (!health.ok) {
    const cause = `the server is unhealthy (status ${health.status} of ${base}/health)`;
    return {
      verdict: failed('server-failing', cause, 'Check the server log: most often its storage is unreachable.'),
      facts,
    };
  }
  const isVersion = typeof version === 'string' && /^[\w.+-]{1,40}$/.test(version);
  return { verdict: ok(`${base} answers, version ${isVersion ? version : 'unknown'}`), facts };
}

export function checkClock({ ahead, caps }: ServerFacts): Verdict {
  if (ahead === undefined) return skipped('clock-unknown', 'the server does not report its time');
  const off = Math.abs(ahead);
  if (off < MAX_SKEW) return ok(`the clocks agree to within ${off < 1000 ? 'a second' : `${Math.round(off / 1000)} s`}`);
  const cause = `this clock is ${Math.round(off / 1000)} s ${ahead > 0 ? 'ahead of' : 'behind'} the server's`;
  const remedy = 'Synchronize the wrong clock with network time (timedatectl set-ntp true). ';
  if (!caps.has('v2') && off > OLD_MAX_SKEW)
    return failed('clock-wrong', cause, `${remedy}Until then, this server rejects all signed calls.`);
  return warning('clock-wrong', cause, `${remedy}Until then, each client has to repeat its first call.`);
}

/** @returns the verdict, and the client for fetching the server's ICE servers, which the caller must close */
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
  const polls = 'Connections work, but take up to a second longer to open: the client polls instead.';
  const verdictOf = async (): Promise<Verdict> => {
    if (refusal && refusal.code !== 'unavailable')
      return failed(
        refusal.code,
        `the server refuses a signed call: ${refusal.message}`,
        'See the error codes in docs/protocol.md.',
      );
    if (!caps.has('push'))
      return warning('push-missing', 'this server does not support push', `${polls} rondevu-server supports it.`);
    if (!WebSocketClass)
      return warning('push-unsupported', 'WebSocket is unavailable', `${polls} Pass an implementation as webSocket.`);
    const error = await settled;
    if (client.state === 'push') return ok('the WebSocket opens and the server pushes over it');
    const cause = `the server supports push, but its WebSocket does not open from here${error ? `: ${error.message}` : ` within ${ms} ms`}`;
    return warning(
      'push-blocked',
      cause,
      `${polls} Allow the WebSocket upgrade of ${base}/ws in every proxy and firewall on the way.`,
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

/** Returns the reason why `fetch` failed, which Node stores in the cause of the error. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error & { cause?: Error & { code?: string } };
  return cause?.message || cause?.code || message;
}
