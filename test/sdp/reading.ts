/**
 * Parses descriptions with a platform's WebRTC implementation. These functions also run in pages, so they must not reference
 * anything outside themselves.
 */

export async function makeOffer(pc: RTCPeerConnection): Promise<string> {
  pc.createDataChannel('rondevu');
  await pc.setLocalDescription(await pc.createOffer());
  for (let i = 0; i < 50 && pc.iceGatheringState !== 'complete'; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  const { sdp } = pc.localDescription!;
  pc.close();
  return sdp;
}

export async function readAll(make: () => RTCPeerConnection, descriptions: string[], shared: number) {
  const read: (string | null)[] = [];
  let pc: RTCPeerConnection | undefined;
  let uses = 0;
  for (const sdp of descriptions) {
    pc ??= make();
    try {
      await pc.setRemoteDescription({ type: 'offer', sdp });
      read.push(pc.remoteDescription!.sdp);
      if (shared > 1) await pc.setRemoteDescription({ type: 'rollback', sdp: '' } as RTCSessionDescriptionInit);
    } catch {
      read.push(null);
    }
    if (++uses < shared) continue;
    pc.close();
    pc = undefined;
    uses = 0;
  }
  pc?.close();
  return read;
}

export async function readAllCandidates(make: () => RTCPeerConnection, sdp: string, candidates: string[]) {
  const read: (string | null)[] = [];
  const pc = make();
  await pc.setRemoteDescription({ type: 'offer', sdp });
  for (const candidate of candidates) {
    try {
      await pc.addIceCandidate({ candidate, sdpMLineIndex: 0, sdpMid: null });
      read.push(pc.remoteDescription!.sdp);
    } catch {
      read.push(null);
    }
  }
  pc.close();
  return read;
}
