/**
 * Finds a WebRTC implementation that is installed. Nothing is put into globals: what is found is handed to one client.
 */
import { randomId } from '../base/bytes.js';
import { RondevuError, mustBe } from '../errors.js';

/** The packages that are known to work, the one that is taken first in front. */
export const WEBRTC_PACKAGES = ['node-datachannel', '@roamhq/wrtc', 'werift'] as const;
export type WebRtcPackage = (typeof WEBRTC_PACKAGES)[number];

/** What a client is given of an implementation. */
export interface WebRtc {
  /** The package that it comes from. */
  readonly name: WebRtcPackage;
  readonly RTCPeerConnection: typeof RTCPeerConnection;
  readonly RTCIceCandidate: typeof RTCIceCandidate;
}

type Classes = Pick<WebRtc, 'RTCPeerConnection' | 'RTCIceCandidate'>;

const LOADERS: Record<WebRtcPackage, () => Promise<Classes>> = {
  'node-datachannel': async () => {
    const { RTCPeerConnection, RTCIceCandidate } = await load<Classes>('node-datachannel/polyfill');
    const { PeerConnection } = await load<{ PeerConnection: NativePeerConnectionClass }>('node-datachannel');
    return { RTCPeerConnection: putRight(RTCPeerConnection, PeerConnection), RTCIceCandidate };
  },
  '@roamhq/wrtc': async () => {
    const { default: wrtc } = await load<{ default: Classes }>('@roamhq/wrtc');
    return { RTCPeerConnection: describingItself(wrtc.RTCPeerConnection), RTCIceCandidate: wrtc.RTCIceCandidate };
  },
  werift: async () => {
    const { RTCPeerConnection, RTCIceCandidate } = await load<Classes>('werift');
    return { RTCPeerConnection: givingAllOut(RTCPeerConnection), RTCIceCandidate };
  },
};

// a name that the compiler does not see: the packages are optional
const load = <T>(name: string): Promise<T> => import(name) as Promise<T>;

/**
 * The implementation of that name, or the first of WEBRTC_PACKAGES that is installed.
 * @throws RondevuError `unsupported` with the command that installs one, or with the reason why one that is installed does not load;
 *   ValidationError for a name that is none
 */
export async function findWebRtc(wanted?: WebRtcPackage): Promise<WebRtc> {
  if (wanted !== undefined && !WEBRTC_PACKAGES.includes(wanted)) throw mustBe('webrtc', WEBRTC_PACKAGES.join(', '), wanted);
  const broken: string[] = [];
  for (const name of wanted ? [wanted] : WEBRTC_PACKAGES) {
    try {
      return { name, ...(await LOADERS[name]()) };
    } catch (error) {
      if (!isMissing(error, name)) broken.push(`${name} is installed and does not load: ${(error as Error).message}`);
    }
  }
  const install = `npm install ${wanted ?? WEBRTC_PACKAGES[0]}`;
  const others = wanted ? '' : ` (${WEBRTC_PACKAGES.slice(1).join(' and ')} will do as well)`;
  const missing = `there is no WebRTC in Node, and ${wanted ? `${wanted} is not` : 'no package with it is'} installed`;
  const reason = broken.length ? broken.join('; ') : missing;
  throw new RondevuError('unsupported', `${reason}. Run: ${install}${others}`);
}

const isMissing = (error: unknown, name: string): boolean =>
  (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' && (error as Error).message.includes(`'${name}'`);

/** With `setLocalDescription()` without an argument, as W3C webrtc section 4.4.1.2 has it and wrtc has not. */
function describingItself(Base: typeof RTCPeerConnection): typeof RTCPeerConnection {
  return class extends Base {
    override async setLocalDescription(description?: RTCLocalSessionDescriptionInit): Promise<void> {
      const isAnswer = /^have-(remote-offer|local-pranswer)$/.test(this.signalingState);
      const missing = description?.type ? description : await (isAnswer ? this.createAnswer() : this.createOffer());
      await super.setLocalDescription(missing as RTCSessionDescriptionInit);
    }
  };
}

/** How long the other side has to take our answer before it is sent packets, in ms. */
const HEAD_START = 100;
/** How often and how many times a candidate is given to a platform that is not ready for it, in ms. */
const AGAIN_AFTER = 20;
const TRIES = 50;
const CANDIDATES = /^a=candidate:.*\r?\n/gm;

/** The class of node-datachannel under its polyfill. */
interface NativePeerConnection {
  /** Of the certificate in use, once DTLS is up. */
  remoteFingerprint(): { value: string; algorithm: string };
}
type NativePeerConnectionClass = new (name: string, configuration: object) => NativePeerConnection;

/**
 * node-datachannel, with the certificate of the other side in its statistics, which its polyfill leaves out; with round-trip times in seconds, as W3C webrtc-stats section 8.21 has them; it says ms. And later with its checks:
 * those that reach Firefox 153 before the answer does leave it `checking` for ever, about one time in four. And with TURN credentials in
 * which a colon may be: it makes a URL of them (coturn's REST usernames are `<end>:<id>`). And candidates of a description one by one:
 * on a busy machine its ICE may not be there when the description is, and then it refuses the whole.
 */
function putRight(Base: typeof RTCPeerConnection, Native: NativePeerConnectionClass): typeof RTCPeerConnection {
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
        // its own words hold the credentials
        const urls = iceServers.flatMap((server) => server.urls);
        throw urls.length ? new SyntaxError(`an ICE server of these is none: ${urls.join(', ')}`) : error;
      }
    }

    override async setRemoteDescription({ type, sdp = '' }: RTCSessionDescriptionInit): Promise<void> {
      await super.setRemoteDescription({ type, sdp: sdp.replace(CANDIDATES, '') });
      const sdpMid = /^a=mid:(\S+)/m.exec(sdp)?.[1] ?? '0';
      const candidates = (sdp.match(CANDIDATES) ?? []).map((line) => ({ candidate: line.trim().slice(2), sdpMid }));
      const add = (candidate: RTCIceCandidateInit) => super.addIceCandidate(candidate);
      for (const each of candidates)
        void addLater(this, () => add(each), type === 'offer' ? HEAD_START : 0).catch(() => undefined);
    }

    override addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void> {
      return addLater(this, () => super.addIceCandidate(candidate), HEAD_START);
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
 * libjuice, the ICE of node-datachannel, has TURN over UDP only, and leaves other TURN servers out without a word.
 * @throws RondevuError `unsupported` when only relays may be used and there can be none
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

/** Refused is also what comes before the thread of a peer connection is ready for it. */
async function addLater(pc: RTCPeerConnection, add: () => Promise<void>, delay: number): Promise<void> {
  for (let tries = 1; tries <= TRIES; tries++) {
    await new Promise((resolve) => setTimeout(resolve, tries === 1 ? delay : AGAIN_AFTER));
    if (isClosed(pc)) return;
    try {
      return await add();
    } catch (error) {
      if (tries === TRIES || !/without ICE transport/.test((error as Error).message)) throw error;
    }
  }
}

/** The URLs of an ICE server as node-datachannel takes them: credentials before the address. */
function nativeUrls({ urls, username, credential }: RTCIceServer): string[] {
  return [urls].flat().map((url) => {
    if (!username || !credential) return url;
    const [scheme, ...rest] = url.split(':');
    return `${scheme}:${encodeURIComponent(username)}:${encodeURIComponent(credential)}@${rest.join(':')}`;
  });
}

/** What of werift's SCTP (0.24 and 0.25) has to be put right. */
interface WeriftStream {
  popMessages?(): Iterable<unknown>;
}
interface WeriftSctp {
  inboundStreams: Record<number, WeriftStream>;
  getInboundStream?(id: number): WeriftStream;
}

/**
 * werift, without gathering ahead of time: it refuses the option, which is but a hint (W3C webrtc section 4.2.1). And giving out all that
 * came: of several messages of a stream that are whole at once, as they are when a lost packet comes again, it gives out the first, and
 * the others when something else comes on that stream, which may be never (shinyoshiaki/werift-webrtc#706).
 */
function givingAllOut(Base: typeof RTCPeerConnection): typeof RTCPeerConnection {
  return class extends Base {
    constructor({ iceCandidatePoolSize: _, ...configuration }: RTCConfiguration = {}) {
      super(configuration);
    }

    override createDataChannel(label: string, options?: RTCDataChannelInit): RTCDataChannel {
      const channel = super.createDataChannel(label, options);
      const { sctp } = (this.sctp ?? {}) as { sctp?: WeriftSctp };
      // once for each SCTP; before it is connected, so no stream is there yet
      if (sctp?.getInboundStream && !Object.hasOwn(sctp, 'getInboundStream')) putStreamsRight(sctp);
      return channel;
    }
  };
}

function putStreamsRight(sctp: WeriftSctp): void {
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
