/**
 * IceSource: the ICE servers that the signaling server hands out, renewed before their credentials expire. A renewal is applied
 * to all live links: links that carry messages restart ICE with the new relays before the old credentials expire. Part of the
 * chunk that is loaded when the first link is needed. docs/protocol.md, "getIceServers".
 */
import { timerDelay } from '../base/timers.js';
import type { IceServersResult } from '../protocol/rpc.js';
import type { WebRtcLink } from './webrtc-link.js';

type Served = Pick<IceServersResult, 'iceServers' | 'ttl'>;

/** The signaling client as seen by the source. */
export interface IcePort {
  /** Resolves to undefined if the server has none or cannot be reached. Never rejects. */
  fetchIceServers(): Promise<Served | undefined>;
}

/** Credentials are renewed after this fraction of their lifetime. */
const RENEW_AT = 0.8;
/** Minimum lifetime assumed for credentials, in s, so that a server cannot make the client send requests without a pause. */
const MIN_TTL = 5;
/** Delay before a failed renewal is retried, and before a server that returned no ICE servers is asked again, in ms. */
const RETRY_AFTER = 5000;
const ASK_AFTER = 30_000;

export class IceSource {
  /** The ICE servers received last; undefined before the first reply. */
  served: RTCIceServer[] | undefined;
  /** Called when the first servers arrive: candidates gathered earlier include no relay. */
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

  /** Resolves when there are servers that do not expire soon, or the server is known to have none. Never rejects. */
  ready(): Promise<void> {
    if (performance.now() < Math.max(this.#renewAt, this.#askAfter)) return Promise.resolve();
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
  }

  async #ask(): Promise<void> {
    const served = await this.#port.fetchIceServers();
    if (served) this.learn(served);
    else if (!this.served) this.#askAfter = performance.now() + ASK_AFTER;
  }

  /** Takes ICE servers from any reply; ignored while the current ones need no renewal. */
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

  /** @param configuration returns the configuration that the link should have, with the current servers */
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
      return; // not supported here: the path stays until it is lost, and the next link uses the new servers
    }
    link.renewPath();
  }

  /** Uses one timer; sends no request while no link is open. */
  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (![...this.#links.keys()].some((link) => !link.isClosed)) return;
      this.#renewAt = 0;
      void this.ready().then(() => this.#renewAt || this.#schedule(RETRY_AFTER));
    }, timerDelay(delay));
  }
}
