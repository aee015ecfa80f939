/**
 * Finds an installed WebRTC implementation. Sets no globals: each client receives the classes as options.
 */
import { randomId } from '../base/bytes.js';
import { RondevuError, invalidValue } from '../errors.js';

/** Supported packages, in order of preference. */
export const WEBRTC_PACKAGES = ['node-datachannel', '@roamhq/wrtc', 'werift'] as const;
export type WebRtcPackage = (typeof WEBRTC_PACKAGES)[number];

/** The classes of a WebRTC implementation that a client uses. */
export interface WebRtc {
  /** Name of the package. */
  readonly name: WebRtcPackage;
  readonly RTCPeerConnection: typeof RTCPeerConnection;
  readonly RTCIceCandidate: typeof RTCIceCandidate;
}

type Classes = Pick<WebRtc, 'RTCPeerConnection' | 'RTCIceCandidate'>;

const LOADERS: Record<WebRtcPackage, () => Promise<Classes>> = {
  'node-datachannel': async () => {
    const { RTCPeerConnection, RTCIceCandidate } = await load<Classes>('node-datachannel/polyfill');
    const { PeerConnection } = await load<{ PeerConnection: NativePeerConnectionClass }>('node-datachannel');
    return { RTCPeerConnection: patchNodeDatachannel(RTCPeerConnection, PeerConnection), RTCIceCandidate };
  },
  '@roamhq/wrtc': async () => {
    const { default: wrtc } = await load<{ default: Classes }>('@roamhq/wrtc');
    return { RTCPeerConnection: patchWrtc(wrtc.RTCPeerConnection), RTCIceCandidate: wrtc.RTCIceCandidate };
  },
  werift: async () => {
    const { RTCPeerConnection, RTCIceCandidate } = await load<Classes>('werift');
    return { RTCPeerConnection: patchWerift(RTCPeerConnection), RTCIceCandidate };
  },
};

// hides the module name from the compiler, because the packages are optional
const load = <T>(name: string): Promise<T> => import(name) as Promise<T>;

/**
 * Loads the given implementation, or the first installed package in WEBRTC_PACKAGES.
 * @throws RondevuError `unsupported`, with the install command if no package is installed, or with the reason why an installed
 *   package does not load; ValidationError for an unknown name
 */
export async function findWebRtc(wanted?: WebRtcPackage): Promise<WebRtc> {
  if (wanted !== undefined && !WEBRTC_PACKAGES.includes(wanted)) throw invalidValue('webrtc', WEBRTC_PACKAGES.join(', '), wanted);
  const broken: string[] = [];
  for (const name of wanted ? [wanted] : WEBRTC_PACKAGES) {
    try {
      return { name, ...(await LOADERS[name]()) };
    } catch (error) {
      if (!isMissing(error, name)) broken.push(`${name} is installed but does not load: ${(error as Error).message}`);
    }
  }
  const install = `npm install ${wanted ?? WEBRTC_PACKAGES[0]}`;
  const others = wanted ? '' : ` (${WEBRTC_PACKAGES.slice(1).join(' or ')} also works)`;
  const missing = `Node has no WebRTC, and ${wanted ? `${wanted} is not` : 'no package that provides it is'} installed`;
  const reason = broken.length ? broken.join('; ') : missing;
  throw new RondevuError('unsupported', `${reason}. Run: ${install}${others}`);
}

const isMissing = (error: unknown, name: string): boolean =>
  (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' && (error as Error).message.includes(`'${name}'`);

/** Adds `setLocalDescription()` without an argument (W3C webrtc section 4.4.1.2), which wrtc lacks. */
function patchWrtc(Base: typeof RTCPeerConnection): typeof RTCPeerConnection {
  return class extends Base {
    override async setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void> {
      const isAnswer = /^have-(remote-offer|local-pranswer)$/.test(this.signalingState);
      const missing = description?.type ? description : await (isAnswer ? this.createAnswer() : this.createOffer());
      await super.setLocalDescription(missing as RTCSessionDescriptionInit);
    }
  };
}

/** How long the peer is given to apply the answer before connectivity checks are sent, in ms. */
const CHECK_DELAY = 100;
/** Retry interval in ms, and maximum number of attempts, for adding a candidate while the platform is not ready. */
const RETRY_INTERVAL = 20;
const MAX_TRIES = 50;
const CANDIDATES = /^a=candidate:.*\r?\n/gm;

/** The native class beneath node-datachannel's polyfill. */
interface NativePeerConnection {
  /** Fingerprint of the peer's current certificate, available once DTLS is connected. */
  remoteFingerprint(): { value: string; algorithm: string };
}
type NativePeerConnectionClass = new (name: string, configuration: object) => NativePeerConnection;

/**
 * Patches node-datachannel:
 * - statistics include the peer's certificate, which the polyfill omits, and round-trip times in seconds (W3C webrtc-stats,
 *   section 8.21) instead of ms;
 * - connectivity checks start later: if they arrive before the answer, Firefox 153 remains in `checking` forever in about one
 *   case in four;
 * - TURN credentials may contain a colon, although the polyfill builds a URL from them (coturn's REST usernames have the form
 *   `<end>:<id>`);
 * - candidates in a description are added one at a time: on a busy machine, the ICE transport may not exist yet when the
 *   description is set, and the whole description would then be rejected.
 */
function patchNodeDatachannel(Base: typeof RTCPeerConnection, Native: NativePeerConnectionClass): typeof RTCPeerConnection {
  const natives = new WeakMap<RTCPeerConnection, NativePeerConnection>();
  return class extends Base {
    constructor({ iceServers = [], ...configuration }: RTCConfiguration = {}) {
      checkTurn(iceServers, configuration.iceTransportPolicy);
      const native = { iceTransportPolicy: 'all', ...configuration, iceServers: iceServers.flatMap(nativeUrls) };
      try {
        const peerConnection = new Native(`peer-${randomId(6)}`, native);
        super({ ...configuration, iceServers, peerConnection } as RTCConfiguration);
        natives.set(this, peerConnection);
      } catch (error) {
        // the original error message contains the credentials
        const urls = iceServers.flatMap((server) => server.urls);
        throw urls.length ? new SyntaxError(`one of these ICE server URLs is invalid: ${urls.join(', ')}`) : error;
      }
    }

    override async setRemoteDescription({ type, sdp = '' }: RTCSessionDescriptionInit): Promise<void> {
      await super.setRemoteDescription({ type, sdp: sdp.replace(CANDIDATES, '') });
      const sdpMid = /^a=mid:(\S+)/m.exec(sdp)?.[1] ?? '0';
      const candidates = (sdp.match(CANDIDATES) ?? []).map((line) => ({ candidate: line.trim().slice(2), sdpMid }));
      const add = (candidate: RTCIceCandidateInit) => super.addIceCandidate(candidate);
      for (const each of candidates)
        void addLater(this, () => add(each), type === 'offer' ? CHECK_DELAY : 0).catch(() => undefined);
    }

    override addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void> {
      return addLater(this, () => super.addIceCandidate(candidate), CHECK_DELAY);
    }

    override async getStats(selector?: MediaStreamTrack | null): Promise<RTCStatsReport> {
      const report = (await super.getStats(selector)) as Map<string, Record<string, unknown>>;
      const { value: fingerprint, algorithm: fingerprintAlgorithm } = natives.get(this)!.remoteFingerprint();
      const certificate = { id: 'RTCCertificate', type: 'certificate', fingerprint, fingerprintAlgorithm };
      const stats = [...report].map(([id, entry]): [string, Record<string, unknown>] => {
        const { type, currentRoundTripTime: ms } = entry;
        if (typeof ms === 'number') return [id, { ...entry, currentRoundTripTime: ms / 1000 }];
        return [id, type === 'transport' && fingerprint ? { ...entry, remoteCertificateId: certificate.id } : entry];
      });
      return new Map(fingerprint ? [...stats, [certificate.id, certificate]] : stats) as unknown as RTCStatsReport;
    }
  };
}

let hasWarnedOfTurn = false;

/**
 * libjuice, the ICE implementation of node-datachannel, supports TURN over UDP only, and silently ignores other TURN servers.
 * @throws RondevuError `unsupported` if only relays are allowed and no usable TURN server remains
 */
function checkTurn(iceServers: RTCIceServer[], policy: RTCIceTransportPolicy | undefined): void {
  const urls = iceServers.flatMap((server) => server.urls).filter((url) => /^turns?:/.test(url));
  const unusable = urls.filter((url) => url.startsWith('turns:') || /[?&]transport=tcp/.test(url));
  if (!unusable.length || unusable.length < urls.length) return;
  const text =
    `node-datachannel supports TURN over UDP only, so ${unusable.join(', ')} cannot be used: ` +
    'add a turn: server over UDP, or use @roamhq/wrtc or werift (option webrtc, or --webrtc)';
  if (policy === 'relay') throw new RondevuError('unsupported', text);
  if (!hasWarnedOfTurn) console.warn(`rondevu: ${text}`);
  hasWarnedOfTurn = true;
}

const isClosed = (pc: RTCPeerConnection): boolean => pc.signalingState === 'closed';

/** Adds a candidate after a delay, and retries while the native thread of the peer connection is not ready for it. */
async function addLater(pc: RTCPeerConnection, add: () => Promise<void>, delay: number): Promise<void> {
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    await new Promise((resolve) => setTimeout(resolve, tries === 1 ? delay : RETRY_INTERVAL));
    if (isClosed(pc)) return;
    try {
      return await add();
    } catch (error) {
      if (tries === MAX_TRIES || !/without ICE transport/.test((error as Error).message)) throw error;
    }
  }
}

/** Converts the URLs of an ICE server to the form that node-datachannel expects, with the credentials before the address. */
function nativeUrls({ urls, username, credential }: RTCIceServer): string[] {
  return [urls].flat().map((url) => {
    if (!username || !credential) return url;
    const [scheme, ...rest] = url.split(':');
    return `${scheme}:${encodeURIComponent(username)}:${encodeURIComponent(credential)}@${rest.join(':')}`;
  });
}

/** The parts of werift's SCTP (0.24 and 0.25) that are patched. */
interface WeriftStream {
  popMessages?(): Iterable<unknown>;
}
interface WeriftSctp {
  inboundStreams: Record<number, WeriftStream>;
  getInboundStream?(id: number): WeriftStream;
}

/**
 * Patches werift:
 * - removes `iceCandidatePoolSize`, which werift rejects although it is only a hint (W3C webrtc, section 4.2.1);
 * - delivers all complete messages: if several messages of a stream become complete simultaneously, as after the retransmission
 *   of a lost packet, werift delivers only the first immediately; the others must wait for more data on that stream, which may
 *   never arrive (shinyoshiaki/werift-webrtc#706).
 */
function patchWerift(Base: typeof RTCPeerConnection): typeof RTCPeerConnection {
  return class extends Base {
    constructor({ iceCandidatePoolSize: _, ...configuration }: RTCConfiguration = {}) {
      super(configuration);
    }

    override createDataChannel(label: string, options?: RTCDataChannelInit): RTCDataChannel {
      const channel = super.createDataChannel(label, options);
      const { sctp } = (this.sctp ?? {}) as { sctp?: WeriftSctp };
      // patches each SCTP transport once, before it is connected and has any streams
      if (sctp?.getInboundStream && !Object.hasOwn(sctp, 'getInboundStream')) patchInboundStreams(sctp);
      return channel;
    }
  };
}

function patchInboundStreams(sctp: WeriftSctp): void {
  const get = sctp.getInboundStream!;
  sctp.getInboundStream = function (id) {
    const isNew = !this.inboundStreams[id];
    const stream = get.call(this, id);
    const pop = stream.popMessages;
    if (isNew && pop) {
      stream.popMessages = function* () {
        let isAny: boolean;
        do {
          isAny = false;
          for (const message of pop.call(stream)) {
            isAny = true;
            yield message;
          }
        } while (isAny);
      };
    }
    return stream;
  };
}
