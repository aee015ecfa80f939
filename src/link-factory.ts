/**
 * LinkFactory: creates the WebRTC links of a client, with the ICE servers that the options select. Part of the chunk that is
 * loaded when a client is created.
 */
import { chunk } from './base/chunk.js';
import { count } from './connection/census.js';
import { IceSource } from './connection/ice-source.js';
import { WebRtcLink } from './connection/webrtc-link.js';
import { RondevuError } from './errors.js';
import { rtcConfiguration, takesServed, type IceServersOption } from './ice-servers.js';
import type { RondevuOptions } from './options.js';
import type { SignalingClient } from './signaling/index.js';

const NO_WEBRTC =
  'location' in globalThis
    ? 'this browser has no WebRTC, or a setting, policy or extension disables it'
    : 'WebRTC is unavailable: use connect() of rondevu-elements/node, or pass rtcPeerConnection';

const ignored = (): void => undefined;

export interface LinkOptions {
  /** Default: the client's. */
  iceServers?: IceServersOption | undefined;
  /** Replaces the configuration that results from `iceServers`. */
  rtcConfig?: RTCConfiguration | undefined;
  /** Whether the links are created by joiners, which gather candidates before they have an offer. Default false. */
  prefetch?: boolean;
  /** Whether the application may supply its own WebRTC implementation, through `own`. Default false. */
  allowsOwn?: boolean;
}

export interface LinkMaker {
  /** @throws RondevuError `unsupported` if WebRTC is unavailable; rethrows errors from the platform */
  make(): WebRtcLink;
  /**
   * Creates a link for an offer. An offer is created once and then waits for an answer, so it needs the TURN servers from the
   * start.
   * @param own creates the peer connection instead of the platform
   */
  makeForOffer(durable: boolean, own?: (configuration: RTCConfiguration) => Promise<RTCPeerConnection>): Promise<WebRtcLink>;
}

export class LinkFactory {
  readonly #options: RondevuOptions;
  readonly #ice: IceSource;
  #hasWarned = false;

  /** @param onRelays called when the first ICE servers arrive from the signaling server */
  constructor(options: RondevuOptions, signaling: SignalingClient, onRelays: () => void) {
    this.#options = options;
    this.#ice = new IceSource(signaling);
    this.#ice.onFirst = onRelays;
    signaling.on('ice', (served) => this.#ice.learn(served));
  }

  /**
   * @throws ValidationError for invalid ICE servers; TypeError if `rtcConfig` cannot be serialized; RondevuError `unsupported`
   *   if WebRTC is unavailable
   */
  maker({ iceServers, rtcConfig, prefetch, allowsOwn }: LinkOptions): LinkMaker {
    const ice = this.#ice;
    const { rtcPeerConnection, rtcIceCandidate, turnServers = [], apiUrl } = this.#options;
    const PeerConnection = rtcPeerConnection ?? globalThis.RTCPeerConnection;
    if (!PeerConnection && !allowsOwn) throw new RondevuError('unsupported', NO_WEBRTC);
    const choice = iceServers ?? this.#options.iceServers!;
    const configuration = (served = ice.served): RTCConfiguration => ({
      ...(prefetch && { iceCandidatePoolSize: 1 }),
      ...(rtcConfig ?? rtcConfiguration(choice, turnServers, apiUrl, served)),
    });
    configuration(); // throws if the configuration is invalid
    const makePeerConnection = (): RTCPeerConnection => {
      if (!PeerConnection) throw new RondevuError('unsupported', NO_WEBRTC);
      try {
        return new PeerConnection(configuration());
      } catch (error) {
        if (!ice.served?.length || error instanceof RondevuError) throw error;
        // an ICE server that the platform rejects must not prevent all connections
        const pc = new PeerConnection(configuration([]));
        if (!this.#hasWarned) console.warn('rondevu: the ICE servers of the signaling server are invalid and not used', error);
        this.#hasWarned = true;
        return pc;
      }
    };
    const make = (durable: boolean, own?: RTCPeerConnection): WebRtcLink => {
      if (choice !== 'server' && takesServed(choice, turnServers)) void this.#warnWithoutTurn(choice).catch(ignored);
      const pc = count(own ?? makePeerConnection());
      let link: WebRtcLink | undefined;
      try {
        link = new WebRtcLink(pc, durable, rtcIceCandidate);
        return ice.track(link, configuration);
      } catch (error) {
        // nothing else would close the peer connection
        (link ?? pc).close();
        throw error;
      }
    };
    return {
      make: () => make(true),
      makeForOffer: async (durable, own) => {
        if (takesServed(choice, turnServers)) await ice.ready();
        return make(durable, await own?.(configuration()));
      },
    };
  }

  stop(): void {
    this.#ice.stop();
  }

  async #warnWithoutTurn(choice: IceServersOption): Promise<void> {
    const { warnWithoutTurn } = await chunk('raw', () => import('./legacy/raw.js'));
    await this.#ice.ready();
    warnWithoutTurn(choice, this.#ice.served);
  }
}
