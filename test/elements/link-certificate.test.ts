/**
 * In real browsers, a link compares the certificate in use with the fingerprint that the engine, rather than the browser,
 * parsed from the description.
 */
import { expect } from '@open-wc/testing';
import type { LinkHandlers } from '../../dist/src/connection/link.js';
import { WebRtcLink } from '../../dist/src/connection/webrtc-link.js';

/** Peer connection that replaces the fingerprint in the remote description, to simulate a lenient SDP parser. */
class LenientPeerConnection extends RTCPeerConnection {
  fingerprint = '';

  override setRemoteDescription({ type, sdp = '' }: RTCSessionDescriptionInit): Promise<void> {
    return super.setRemoteDescription({ type, sdp: sdp.replace(/a=fingerprint:\S+ \S+/, this.fingerprint) });
  }
}

const gathered = async (pc: RTCPeerConnection): Promise<string> => {
  while (pc.iceGatheringState !== 'complete') await new Promise((resolve) => (pc.onicegatheringstatechange = resolve));
  return pc.localDescription!.sdp;
};

/**
 * Joins a real peer after replacing the fingerprint line of its offer with `change(line)`. Resolves with the outcome of the
 * link.
 */
async function join(change: (line: string) => string) {
  const other = new RTCPeerConnection({ iceServers: [] });
  const channels = [100, 101].map((id) => other.createDataChannel('rondevu', { negotiated: true, id }));
  await other.setLocalDescription(await other.createOffer());
  const offer = await gathered(other);
  const [line] = /a=fingerprint:\S+ \S+/.exec(offer)!;

  const pc = new LenientPeerConnection({ iceServers: [] });
  pc.fingerprint = line;
  const link = new WebRtcLink(pc);
  const heard: unknown[] = [];
  const outcome = new Promise<{ opened: boolean; code?: string | undefined; reason?: string }>((resolve) => {
    const ignore = () => undefined;
    const handlers: LinkHandlers = {
      onOpen: () => resolve({ opened: true }),
      onMessage: (data) => heard.push(data),
      onControl: (text) => heard.push(text),
      onLost: (reason, code) => resolve({ opened: false, reason, code }),
      onError: ignore,
      onSuspect: ignore,
      onDead: ignore,
      onAlive: ignore,
      onPath: ignore,
      onLocalCandidate: ignore,
      onRaw: ignore,
    };
    link.attach(handlers);
  });
  for (const channel of channels) channel.onopen = () => channel.send('a word');
  await link.setRemote({ type: 'offer', sdp: offer.replace(line, change(line)) }, true);
  await pc.setLocalDescription(await pc.createAnswer());
  await other.setRemoteDescription({ type: 'answer', sdp: await gathered(pc) });
  const result = await outcome;
  link.close();
  other.close();
  return { ...result, heard };
}

describe('the certificate check of a link', () => {
  it('opens the link if the certificate matches the description', async () => {
    expect((await join((line) => line)).opened).to.equal(true);
  });

  it('closes the link as unverified before delivering any data if the certificate does not match', async () => {
    const swapped = (line: string) => line.replace(/(?<=sha-256 )../, (first) => (first === '00' ? '11' : '00'));
    const { opened, code, reason, heard } = await join(swapped);
    expect([opened, code, heard]).to.deep.equal([false, 'unverified', []]);
    expect(reason).to.match(/certificate in use/);
  });
});
