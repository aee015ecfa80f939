/**
 * IceSource: the ICE servers that the signaling server hands out, renewed before their credentials end. A renewal reaches every
 * live link: those that carry messages negotiate their path anew, with new relays, before the old ones are refused. Part of what
 * is loaded once a link is wanted. docs/protocol.md, "getIceServers".
 */
import type { IceServersResult } from '../protocol/rpc.js';
import type { WebRtcLink } from './webrtc-link.js';

type Served = Pick<IceServersResult, 'iceServers' | 'ttl'>;

/** What the source needs of signaling. */
export interface IcePort {
  /** Undefined where the server has none or cannot be asked. Never rejects. */
  fetchIceServers(): Promise<Served | undefined>;
}

/** Credentials are renewed after this share of their life. */
const RENEW_AT = 0.8;
/** Credentials are taken to last at least this long, so that a server cannot make us ask without pause; in s. */
const MIN_TTL = 5;
/** When a renewal that failed is tried again, and how long a server that gave nothing is left alone, in ms. */
const RETRY_AFTER = 5000;
const ASK_AFTER = 30_000;

export class IceSource {
  /** The last that came; undefined before any did. */
  served: RTCIceServer[] | undefined;
  /** Servers came where there were none: what was gathered before has no relay. */
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

  /** Resolves when servers are there that are good for a while, or it is known that there are none. Never rejects. */
  ready(): Promise<void> {
    if (performance.now() < Math.max(this.#renewAt, this.#askAfter)) return Promise.resolve();
    return (this.#asking ??= this.#ask().finally(() => (this.#asking = undefined)));
  }

  async #ask(): Promise<void> {
    const served = await this.#port.fetchIceServers();
    if (served) this.learn(served);
    else if (!this.served) this.#askAfter = performance.now() + ASK_AFTER;
  }

  /** What came with another reply; nothing happens while what is there is good. */
  learn({ iceServers, ttl }: Served): void {
    const life = Math.max(ttl, MIN_TTL) * 1000 * RENEW_AT;
    if (this.served?.length && performance.now() < this.#renewAt) return;
    const isFirst = !this.served?.length && iceServers.length > 0;
    this.served = iceServers;
    this.#renewAt = performance.now() + life;
    this.#schedule(life);
    for (const link of this.#links.keys()) this.#apply(link);
    if (isFirst) this.onFirst?.();
  }

  /** @param configuration of the link as it should be, with what is served now */
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
      return; // a platform that cannot: its path stays until it is lost, and the next link has the new servers
    }
    link.renewPath();
  }

  /** One timer; nobody is asked while there is no link that needs it. */
  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        if (![...this.#links.keys()].some((link) => !link.isClosed)) return;
        this.#renewAt = 0;
        void this.ready().then(() => this.#renewAt || this.#schedule(RETRY_AFTER));
      },
      Math.min(delay, 2 ** 31 - 1),
    );
  }
}
