/** Runs all checks in dependency order, each with a time limit, so that the total duration is limited too. */
import { checkOptions } from '../base/check-options.js';
import { RondevuError, ValidationError, invalidValue } from '../errors.js';
import { rtcConfiguration } from '../ice-servers.js';
import { generateSigner } from '../identity/index.js';
import { audience } from '../protocol/message.js';
import type { SignalingClient } from '../signaling/index.js';
import { skipped, type Check, type CheckName, type Diagnosis, type DiagnoseOptions, type Verdict } from './diagnosis.js';
import { checkStun, checkTurn, checkUdp, checkWebRtc } from './path-checks.js';
import { checkClock, checkPush, checkServer } from './server-checks.js';

const KINDS = {
  string: 'apiUrl',
  number: 'timeout',
  object: 'turnServers identity',
  function: 'rtcPeerConnection webSocket onCheck answersUdp',
  any: 'iceServers',
};
/** Time in addition to its own timeout that a check may take to create and close its resources, in ms. */
const GRACE = 2000;

export async function runChecks(options: DiagnoseOptions): Promise<Diagnosis> {
  checkOptions('diagnose', options, KINDS);
  const { apiUrl, timeout = 5000, onCheck, answersUdp, iceServers = 'server', turnServers = [] } = options;
  if (!(timeout > 0 && timeout <= 600_000))
    throw invalidValue('diagnose: timeout', 'a number of ms above 0, at most 600 000', timeout);
  const ms = Math.ceil(timeout);
  const base = audience(apiUrl); // throws if apiUrl is invalid
  rtcConfiguration(iceServers, turnServers, apiUrl);
  const Connection = options.rtcPeerConnection ?? globalThis.RTCPeerConnection;
  const checks: Check[] = [];
  const check = async (name: CheckName, act: () => Verdict | Promise<Verdict>): Promise<Verdict> => {
    const start = performance.now();
    const verdict = await within(ms * 2 + GRACE, act);
    const done = { name, ...verdict, ms: Math.round(performance.now() - start) };
    checks.push(done);
    onCheck?.(done);
    return verdict;
  };
  const noServer = (): Verdict => skipped('server-unreachable', 'this requires the server');
  let client: SignalingClient | undefined;
  try {
    const identity = options.identity ?? (await generateSigner());
    let facts: Awaited<ReturnType<typeof checkServer>>['facts'];
    await check('server', async () => {
      const { verdict, facts: found } = await checkServer(base, ms);
      facts = found;
      return verdict;
    });
    await check('clock', () => (facts ? checkClock(facts) : noServer()));
    await check('push', async () => {
      if (!facts) return noServer();
      const { verdict, client: made } = await checkPush(base, facts, identity, options.webSocket ?? globalThis.WebSocket, ms);
      client = made;
      return verdict;
    });
    const served = client && (await within(ms, async () => (await client!.fetchIceServers())?.iceServers));
    const { iceServers: servers = [] } = rtcConfiguration(iceServers, turnServers, apiUrl, Array.isArray(served) ? served : []);
    const webrtc = await check('webrtc', () => checkWebRtc(Connection, ms));
    const noWebRtc = skipped('webrtc-missing', 'this requires WebRTC');
    const stun = await check('stun', () => (Connection ? checkStun(Connection, servers, ms, answersUdp) : noWebRtc));
    const turn = await check('turn', () => (Connection ? checkTurn(Connection, servers, ms, answersUdp) : noWebRtc));
    await check('udp', () => checkUdp(webrtc, stun, turn));
  } finally {
    client?.close();
  }
  const status = (['failed', 'warning'] as const).find((bad) => checks.some((each) => each.status === bad)) ?? 'ok';
  return { status, checks };
}

/** Returns the result of `act`, or a failed verdict if `act` times out or throws anything except a ValidationError. */
async function within<T>(ms: number, act: () => T | Promise<T>): Promise<T | Verdict> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<Verdict>((resolve) => {
    const verdict: Verdict = {
      status: 'failed',
      code: 'timeout',
      cause: `no result within ${ms} ms`,
      remedy: 'Try again.',
    };
    timer = setTimeout(() => resolve(verdict), ms);
  });
  try {
    return await Promise.race([act(), late]);
  } catch (error) {
    if (error instanceof ValidationError) throw error;
    const { message, code = 'check-failed' } = error as Partial<RondevuError>;
    return { status: 'failed', code, cause: String(message), remedy: 'See the message; if it is unclear, report it.' };
  } finally {
    clearTimeout(timer);
  }
}
