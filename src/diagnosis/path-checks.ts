/**
 * Checks the paths between peers: directly on this machine, with STUN, and through TURN. See RFC 8445, RFC 8489 and RFC 8656.
 */
import { RondevuError } from '../errors.js';
import { failed, ok, skipped, warning, type Verdict } from './diagnosis.js';

type PeerConnection = typeof RTCPeerConnection;
type AnswersUdp = (host: string, port: number, ms: number) => Promise<boolean>;

/**
 * Error codes with which a TURN server refuses a request, for example because of its credentials or a quota (RFC 8656, section
 * 15).
 */
const REFUSALS = [400, 401, 403, 437, 438, 441, 486, 508];
/** ICE error code for a server that could not be reached (W3C webrtc, section 5.1.1). */
const UNREACHED = 701;

const NOT_ALL = ', which node-datachannel does not support';
/** How long to wait for late candidates after gathering is complete, in ms. */
const LATE_CANDIDATES = 200;

const urlsOf = (servers: RTCIceServer[], scheme: RegExp): string[] =>
  servers.flatMap(({ urls }) => [urls].flat()).filter((url) => scheme.test(url));

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Checks whether two local peer connections can connect to each other. */
export async function checkWebRtc(Connection: PeerConnection | undefined, ms: number): Promise<Verdict> {
  if (!Connection)
    return failed('webrtc-missing', 'WebRTC is unavailable', 'In Node: npm install node-datachannel. In a browser: enable it.');
  const [one, other] = [new Connection({ iceServers: [] }), new Connection({ iceServers: [] })];
  try {
    // holds back early candidates, which would be rejected without a remote description
    const described: (() => void)[] = [];
    const pass = (to: RTCPeerConnection) => (event: RTCPeerConnectionIceEvent) => {
      const { candidate } = event;
      const add = () => void (candidate && to.addIceCandidate(candidate).catch(() => undefined));
      if (to.remoteDescription) add();
      else described.push(add);
    };
    one.onicecandidate = pass(other);
    other.onicecandidate = pass(one);
    const channel = one.createDataChannel('diagnosis', { negotiated: true, id: 1 });
    const far = other.createDataChannel('diagnosis', { negotiated: true, id: 1 });
    const came = new Promise<true>((resolve) => {
      far.onmessage = () => resolve(true);
      channel.onopen = () => channel.send('are you there?');
    });
    await one.setLocalDescription(await one.createOffer());
    await other.setRemoteDescription(one.localDescription!);
    await other.setLocalDescription(await other.createAnswer());
    await one.setRemoteDescription(other.localDescription!);
    for (const add of described) add();
    if (await Promise.race([came, pause(ms)])) return ok('two local peer connections reach each other');
  } catch (error) {
    return failed(
      'webrtc-broken',
      `WebRTC does not work here: ${(error as Error).message}`,
      'See the message above; a policy or an extension may block it.',
    );
  } finally {
    one.close();
    other.close();
  }
  const cause = `two local peer connections do not reach each other within ${ms} ms`;
  return failed('webrtc-blocked', cause, 'A firewall on this machine drops even local UDP: allow it for this program.');
}

interface Gathering {
  candidates: RTCIceCandidate[];
  /** ICE error codes reported by the platform; the implementations for Node report none. */
  errors: number[];
}

/** Gathers ICE candidates until one of the given type is found, gathering completes, or the timeout expires. */
async function gather(Connection: PeerConnection, configuration: RTCConfiguration, kind: string, ms: number): Promise<Gathering> {
  const pc = new Connection(configuration);
  const found: Gathering = { candidates: [], errors: [] };
  try {
    const done = new Promise<void>((resolve) => {
      pc.onicecandidate = ({ candidate }) => {
        if (candidate?.candidate) found.candidates.push(candidate);
        if (!candidate || candidate.candidate.includes(` typ ${kind}`)) resolve();
      };
      pc.onicecandidateerror = ({ errorCode }) => void found.errors.push(errorCode);
      // in Node, the last candidate may be reported after gathering is complete
      pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && setTimeout(resolve, LATE_CANDIDATES);
    });
    pc.createDataChannel('diagnosis');
    await pc.setLocalDescription(await pc.createOffer());
    await Promise.race([done, pause(ms)]);
  } finally {
    pc.onicecandidate = pc.onicecandidateerror = pc.onicegatheringstatechange = null;
    pc.close();
  }
  return found;
}

const has = ({ candidates }: Gathering, kind: string): boolean =>
  candidates.some(({ candidate }) => candidate.includes(` typ ${kind}`));

/** Extracts the host and port from `stun:host:port` or `turn:[v6]:port?transport=udp`. RFC 7064, RFC 7065. */
function hostAndPort(url: string): { host: string; port: number } {
  const [, secure, host = '', port] = /^(?:stun|turn)(s?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?/.exec(url) ?? [];
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port ?? (secure ? 5349 : 3478)) };
}

export async function checkStun(
  Connection: PeerConnection,
  servers: RTCIceServer[],
  ms: number,
  answersUdp?: AnswersUdp,
): Promise<Verdict> {
  const urls = urlsOf(servers, /^stun:/);
  if (!urls.length) return skipped('stun-none', 'no STUN server is configured: peers can only connect within one network');
  const names = urls.join(', ');
  const remedy = 'Allow UDP to it, or set another in iceServers; without STUN, peers behind different routers need TURN.';
  if (answersUdp) {
    const answers = await Promise.all(urls.map(hostAndPort).map(({ host, port }) => answersUdp(host, port, ms)));
    if (answers.some(Boolean)) return ok(`${urls.filter((_, index) => answers[index]).join(', ')} answers`);
    return failed('stun-unreachable', `${names} does not answer over UDP within ${ms} ms`, remedy);
  }
  const found = await gather(Connection, { iceServers: [{ urls }] }, 'srflx', ms);
  if (has(found, 'srflx')) return ok(`${names} reports our public address`);
  if (found.errors.includes(UNREACHED)) return failed('stun-unreachable', `${names} does not answer`, remedy);
  // a machine that is not behind a NAT gets no server-reflexive candidate
  return warning(
    'stun-silent',
    `${names} reports no address other than our own`,
    `This is fine on a machine with a public address. Otherwise: ${remedy}`,
  );
}

export async function checkTurn(
  Connection: PeerConnection,
  servers: RTCIceServer[],
  ms: number,
  answersUdp?: AnswersUdp,
): Promise<Verdict> {
  const urls = urlsOf(servers, /^turns?:/);
  if (!urls.length)
    return skipped(
      'turn-none',
      'no TURN server is configured',
      'About one pair in ten needs one: see TURN in docs/operations.md.',
    );
  const turn = servers
    .map((server) => ({ ...server, urls: urlsOf([server], /^turns?:/) }))
    .filter((server) => server.urls.length);
  let found: Gathering;
  try {
    found = await gather(Connection, { iceServers: turn, iceTransportPolicy: 'relay' }, 'relay', ms);
  } catch (error) {
    if (error instanceof RondevuError)
      return failed('turn-unsupported', error.message, 'Use another WebRTC package, or offer TURN over UDP.');
    return failed(
      'turn-invalid',
      `the platform rejects the TURN servers: ${(error as Error).message}`,
      'Check urls, username and credential.',
    );
  }
  const names = urls.join(', ');
  if (has(found, 'relay')) return ok(`a relay was allocated at ${names}`);
  const refused = (): Verdict =>
    failed(
      'turn-refused',
      `${names} answers but allocates no relay`,
      'The credentials are wrong or expired, or a quota is used up: compare TURN_SECRET of the signaling server with static-auth-secret of the TURN server, and check the log of the latter.',
    );
  if (found.errors.some((code) => REFUSALS.includes(code))) return refused();
  if (answersUdp) {
    const udp = urls.filter((url) => !/^turns:|transport=tcp/.test(url)).map(hostAndPort);
    const answers = await Promise.all(udp.map(({ host, port }) => answersUdp(host, port, ms)));
    if (answers.some(Boolean)) return refused();
  }
  const remedy = `Is it running, and are its ports open (3478 UDP and TCP, 5349 TLS)? Where UDP is blocked: turns:…:443?transport=tcp${NOT_ALL}.`;
  return failed('turn-unreachable', `${names} does not answer within ${ms} ms`, remedy);
}

/** Concludes from the other checks whether UDP works. */
export function checkUdp(webrtc: Verdict, stun: Verdict, turn: Verdict): Verdict {
  const unreached = [stun, turn].filter(({ code }) => /unreachable$/.test(code));
  const reached = [stun, turn].some(({ status, code }) => status === 'ok' || code === 'turn-refused');
  if (webrtc.code === 'webrtc-missing' || webrtc.code === 'webrtc-broken')
    return skipped('udp-unknown', 'cannot be tested without WebRTC');
  if (webrtc.status === 'failed')
    return failed(
      'udp-blocked',
      'UDP is blocked on this machine',
      `Allow UDP in its firewall; until then, only TURN over TCP or TLS works (turns:…:443?transport=tcp)${NOT_ALL}.`,
    );
  if (unreached.length && !reached)
    return failed(
      'udp-blocked',
      'UDP is blocked on this network: neither STUN nor TURN answers',
      `Open outgoing UDP, or offer TURN over TLS on port 443 (turns:…:443?transport=tcp)${NOT_ALL}.`,
    );
  if (reached) return ok('UDP works in both directions');
  return ok('UDP works on this machine; without a STUN or TURN server, the network cannot be tested');
}
