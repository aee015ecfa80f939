/**
 * IceSource: the ICE servers provided by the signaling server, renewed before their credentials expire. A renewal is applied to
 * all live links: links that carry messages restart ICE with the new TURN servers before the old credentials expire. This
 * module is part of the chunk that is loaded when the first link is needed. See docs/protocol.md, "getIceServers".
 */
import { timerDelay } from '../base/timers.js';
import type { IceServersResult } from '../protocol/rpc.js';
import type { WebRtcLink } from './webrtc-link.js';

type Served = Pick<IceServersResult, 'iceServers' | 'ttl'>;

/** The part of the signaling client that `IceSource` uses. */
export interface IcePort {
  /** Resolves to undefined if the server has no ICE servers or cannot be reached. Never rejects. */
  fetchIceServers(): Promise<Served | undefined>;
}

/** Fraction of the credential lifetime after which credentials are renewed. */
const RENEW_AT = 0.8;
/** Minimum lifetime assumed for credentials, in s, so that a server cannot make the client send requests continuously. */
const MIN_TTL = 5;
/** Delay before a failed renewal is retried, and delay before a server without ICE servers is queried again, in ms. */
const RETRY_AFTER = 5000;
const ASK_AFTER = 30_000;

export class IceSource {
  /** Most recently received ICE servers; undefined before the first reply. */
  served: RTCIceServer[] | undefined;
  /** Called when the first ICE servers arrive: candidates gathered earlier include no relay candidate. */
  onFirst: (() => void) | undefined;
  readonly #port: IcePort;
  readonly #links = new Map<WebRtcLink, { configuration: () => RTCConfiguration; applied: string }>();
  #renewAt = 0;
  #askAfter = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: Promise<void> | undefined;

  constructor(port: IcePort) {
    this.#port = port;
  }

  /** Resolves once the ICE servers are current or the signaling server has failed to provide any. Never rejects. */
  ready(): Promise<void> {
    if (performance.now() < Math.max(this.#renewAt, this.#askAfter)) return Promise.resolve();
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
  }

  async #ask(): Promise<void> {
    const served = await this.#port.fetchIceServers();
    if (served) this.learn(served);
    else if (!this.served) this.#askAfter = performance.now() + ASK_AFTER;
  }

  /** Stores the ICE servers from a reply, unless the current ICE servers need no renewal. */
  learn({ iceServers, ttl }: Served): void {
    const delay = Math.max(ttl, MIN_TTL) * 1000 * RENEW_AT;
    if (this.served?.length && performance.now() < this.#renewAt) return;
    const isFirst = !this.served?.length && iceServers.length > 0;
    this.served = iceServers;
    this.#renewAt = performance.now() + delay;
    this.#schedule(delay);
    for (const link of this.#links.keys()) this.#apply(link);
    if (isFirst) this.onFirst?.();
  }

  /** Applies future renewals to the link. @param configuration returns the link's configuration with the current ICE servers */
  track(link: WebRtcLink, configuration: () => RTCConfiguration): WebRtcLink {
    for (const known of this.#links.keys()) if (known.isClosed) this.#links.delete(known);
    this.#links.set(link, { configuration, applied: JSON.stringify(configuration()) });
    return link;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#links.clear();
  }

  #apply(link: WebRtcLink): void {
    const entry = this.#links.get(link)!;
    const configuration = entry.configuration();
    const text = JSON.stringify(configuration);
    if (link.isClosed || text === entry.applied) return;
    entry.applied = text;
    try {
      link.pc.setConfiguration({ ...link.pc.getConfiguration(), ...configuration });
    } catch {
      return; // `setConfiguration` failed: this link keeps its path, and the next link uses the new ICE servers
    }
    link.renewPath();
  }

  /** Schedules the next renewal with a single timer; no request is sent while all links are closed. */
  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (![...this.#links.keys()].some((link) => !link.isClosed)) return;
      this.#renewAt = 0;
      void this.ready().then(() => this.#renewAt || this.#schedule(RETRY_AFTER));
    }, timerDelay(delay));
  }
}
