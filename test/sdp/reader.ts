/**
 * Runs a WebRTC package for Node in a separate process for test/sdp/platforms.ts, because a description may crash the process.
 */
import { findWebRtc, type WebRtcPackage } from '../../src/node/webrtc.js';
import { makeOffer, readAll, readAllCandidates } from './reading.js';

export type Request =
  | { method: 'offer' }
  | { method: 'read'; descriptions: string[] }
  | { method: 'readCandidates'; description: string; candidates: string[] };

const { RTCPeerConnection } = await findWebRtc(process.argv[2] as WebRtcPackage);
const make = () => new RTCPeerConnection({ iceServers: [] });

process.on('message', (request: Request) => void answer(request).then((result) => process.send!({ result })));
process.send!('ready');

function answer(request: Request): Promise<unknown> {
  if (request.method === 'offer') return makeOffer(make());
  // one peer connection per description: rollback is missing, does nothing or crashes in these packages
  if (request.method === 'read') return readAll(make, request.descriptions, 1);
  return readAllCandidates(make, request.description, request.candidates);
}
