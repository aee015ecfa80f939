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
