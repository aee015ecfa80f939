/**
 * The steps of a handshake that both sides share: waiting for candidates as long as it pays, and trickling the rest.
 */
import type { WireCandidate } from '../protocol/rpc.js';
import type { WebRtcLink } from './webrtc-link.js';

/** Silence after which local candidates count as all that will come soon, in ms. */
const QUIET = 2;

/**
 * Resolves when gathering is complete, or at the latest after `max` ms; with `orQuiet` also as soon as candidates came and no
 * more followed: `complete` takes Chromium 120 ms, its host candidates 5.
 */
export function gathered(link: WebRtcLink, max: number, orQuiet: boolean): Promise<void> {
  const { pc } = link;
  if (pc.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    let quiet: ReturnType<typeof setTimeout> | undefined;
    const done = () => {
      clearTimeout(timer);
      clearTimeout(quiet);
      pc.removeEventListener('icegatheringstatechange', onState);
      link.onCandidate = undefined;
      resolve();
    };
    const onState = () => pc.iceGatheringState === 'complete' && done();
    const waitQuiet = () => {
      clearTimeout(quiet);
      quiet = setTimeout(done, QUIET);
    };
    const timer = setTimeout(done, max);
    pc.addEventListener('icegatheringstatechange', onState);
    if (!orQuiet) return;
    link.onCandidate = waitQuiet;
    if (link.localCandidates.length) waitQuiet();
  });
}

/**
 * Whether gathering has brought nothing at all though it had its time. In Chromium 156 it then never will: closing one peer
 * connection of a page can stall others that are gathering. Another one will do. Relays may take their time, and follow.
 */
export const isStalled = ({ localCandidates, pc }: WebRtcLink): boolean =>
  !localCandidates.length && pc.iceGatheringState === 'gathering' && pc.getConfiguration().iceTransportPolicy !== 'relay';

/**
 * Sends local candidates that come after the description, gathered for `delay` ms; once the link is open they are of no use.
 * @param sent how many went with the description
 */
export function trickle(
  link: WebRtcLink,
  sent: number,
  delay: number,
  send: (candidates: WireCandidate[]) => Promise<unknown>,
): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    timer = undefined;
    if (link.isOpen || link.isClosed) return;
    const candidates = link.localCandidates.slice(sent).map((candidate) => candidate.toJSON() as WireCandidate);
    sent += candidates.length;
    // a peer that hears fewer candidates has fewer paths, no more; the next handshake brings all again
    if (candidates.length) send(candidates).catch(() => undefined);
  };
  const later = () => (timer ??= setTimeout(flush, delay));
  link.onCandidate = later;
  if (link.localCandidates.length > sent) later();
}
