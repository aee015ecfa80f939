/**
 * A peer connection that can reach its peer only through the proxy: the address of a proxy socket replaces all remote
 * candidates, however they were signaled. Pages receive the function as source text, so it must not reference anything outside
 * itself.
 */
export function rigged(Native: typeof RTCPeerConnection, rigUrl: string): typeof RTCPeerConnection {
  const ufragOf = (sdp: string): string => /a=ice-ufrag:(\S+)/.exec(sdp)?.[1] ?? '';
  return class extends Native {
    override async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
      const { type, sdp = '' } = description;
      // the ufrag of the offer identifies the ICE generation at both ends
      const key = ufragOf(type === 'offer' ? sdp : (this.localDescription?.sdp ?? ''));
      const side = type === 'offer' ? 'answerer' : 'offerer';
      const reply = await fetch(`${rigUrl}/?key=${encodeURIComponent(key)}&side=${side}`);
      const [address, port] = (await reply.text()).split(' ');
      const plain = sdp.replace(/a=candidate:.*\r\n/g, '').replace(/a=end-of-candidates\r\n/g, '');
      const candidate = `a=candidate:1 1 udp 2130706431 ${address} ${port} typ host\r\na=end-of-candidates\r\n`;
      if (this.signalingState === 'closed') return;
      await super.setRemoteDescription({ type, sdp: plain.replace(/(a=ice-ufrag:)/, `${candidate}$1`) });
    }

    override async addIceCandidate(): Promise<void> {
      // the proxy is the only path
    }
  };
}
