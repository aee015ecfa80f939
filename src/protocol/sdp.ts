/** The little that is done to an SDP by hand. Pure. */
import type { WireCandidate } from './rpc.js';

/**
 * Takes the candidates out of a description (RFC 8839 section 5.1), so that they can be added when it is time: a peer that
 * knows candidates begins to connect at once.
 */
export function splitCandidates(sdp: string): { sdp: string; candidates: WireCandidate[] } {
  const candidates: WireCandidate[] = [];
  let sdpMLineIndex = -1;
  const rest = sdp.split('\r\n').filter((line) => {
    if (line.startsWith('m=')) sdpMLineIndex++;
    const isCandidate = line.startsWith('a=candidate:');
    if (isCandidate) candidates.push({ candidate: line.slice(2), sdpMLineIndex });
    return !isCandidate && line !== 'a=end-of-candidates';
  });
  return { sdp: rest.join('\r\n'), candidates };
}

// Both of ours open a negotiated channel for messages beside the in-band one that older clients need. Unknown attributes are
// ignored by browsers and passed through by servers of any age.
const MARK = 'a=x-rondevu-channels:100 101';

/** Says in a description that its author has opened the negotiated channels. */
export const markNegotiated = (sdp: string): string => sdp.replace(/\r\nm=/, `\r\n${MARK}\r\nm=`);

export const isNegotiated = (sdp: string): boolean => sdp.includes(`\r\n${MARK}\r\n`);
