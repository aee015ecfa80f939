/**
 * OfferSearch: finds the next offer of a service for a joiner, waits in the server's queue until an offer is free, and prepares
 * a link in the meantime. With failover, the search continues with another provider when the previous provider is gone.
 */
import { RondevuError } from '../errors.js';
import type { ServiceEntry } from '../protocol/rpc.js';
import { parseServiceName } from '../protocol/service-name.js';
import type { SignalingPort } from '../signaling/signaling-port.js';
import type { WebRtcLink } from './webrtc-link.js';

/**
 * How long an unused spare link is kept, in ms, because closing it could stall other links that are gathering; see `isStalled`.
 */
const SPARE_LIFETIME = 5000;

/** Whether an error means that nobody offers the service at the moment. */
export const isAbsence = (error: unknown): boolean => error instanceof RondevuError && /^(not-found|no-offer)$/.test(error.code);

export class OfferSearch {
  /** Whether another provider may take over. */
  readonly hasFailover: boolean;
  readonly #target: string;
  readonly #port: SignalingPort;
  readonly #makeLink: () => WebRtcLink;
  /** A link that is ready for the next offer. */
  #spare: WebRtcLink | undefined;
  #spareTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param target name or id of the service
   * @param failover whether another provider may take over; takes effect only for a service name without a username
   */
  constructor(target: string, failover: boolean, port: SignalingPort, makeLink: () => WebRtcLink) {
    this.#target = target;
    this.#port = port;
    this.#makeLink = makeLink;
    this.hasFailover = failover && target.includes(':') && parseServiceName(target).username === undefined;
  }

  /**
   * @param fqn name of the service that was found last; initially, the target
   * @param hadLink whether the connection has had a link to that service
   * @param wait how long to wait in the queue, in ms
   * @param onWaiting called while the search continues after a failure
   * @throws RondevuError, for example `not-found` or `no-offer` if no host appears in time
   */
  async find(
    { fqn, hadLink }: { fqn: string; hadLink: boolean },
    wait: number,
    onWaiting: (reason: RondevuError) => void,
    signal: AbortSignal,
  ): Promise<ServiceEntry> {
    const find = (target: string, time: number) => this.#port.findOffer(target, time, waiting, signal);
    const waiting = (reason: RondevuError) => {
      clearTimeout(this.#spareTimer);
      this.#spareTimer = setTimeout(() => this.dropSpare(), SPARE_LIFETIME);
      onWaiting(reason);
    };
    // a hidden service can be found only by its id
    const target = this.#target.includes(':') ? fqn : this.#target;
    const finding =
      this.hasFailover && hadLink
        ? find(target, 0).catch((error: unknown) => {
            if (!isAbsence(error)) throw error;
            return find(this.#target, wait);
          })
        : find(target, wait);
    finding.catch(() => undefined); // makeLink may throw
    // the link is created while the server looks for an offer, so that its candidates are ready when the offer arrives
    this.#spare ??= this.#makeLink();
    return finding;
  }

  /** Returns the spare link, or a new link if no spare link exists. */
  takeLink(): WebRtcLink {
    clearTimeout(this.#spareTimer);
    const link = this.#spare ?? this.#makeLink();
    this.#spare = undefined;
    return link;
  }

  dropSpare(): void {
    clearTimeout(this.#spareTimer);
    this.#spare?.close();
    this.#spare = undefined;
  }
}
