/** Handshake steps common to both peers: waiting for the first candidates, and trickling the rest. */
import type { WireCandidate } from '../protocol/rpc.js';
import type { WebRtcLink } from './webrtc-link.js';

/** Time without a new local candidate after which no further candidate is expected soon, in ms. */
const QUIET = 2;

/**
 * Resolves when gathering is complete, or after `max` ms at the latest. With `untilQuiet`, resolves as soon as candidates were
 * found and no more follow: Chromium takes 120 ms to report `complete`, but only 5 ms to find its host candidates.
 */
export function gathered(link: WebRtcLink, max: number, untilQuiet: boolean): Promise<void> {
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
    if (!untilQuiet) return;
    link.onCandidate = waitQuiet;
    if (link.localCandidates.length) waitQuiet();
  });
}

/**
 * Whether gathering has stalled, because no candidate was found in the usual time. In Chromium 156, closing one peer connection
 * of a page can permanently stall others that are gathering. A new peer connection is not affected. Relay-only links may take
 * longer and are exempt.
 */
export const isStalled = ({ localCandidates, pc }: WebRtcLink): boolean =>
  !localCandidates.length && pc.iceGatheringState === 'gathering' && pc.getConfiguration().iceTransportPolicy !== 'relay';

/**
 * Sends local candidates that were found after the description was sent, batched for `delay` ms, until the link is open.
 * @param sent number of candidates sent with the description
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
    // a lost candidate only means fewer possible paths; the next handshake sends all candidates again
    if (candidates.length) send(candidates).catch(() => undefined);
  };
  const later = () => (timer ??= setTimeout(flush, delay));
  link.onCandidate = later;
  if (link.localCandidates.length > sent) later();
}
