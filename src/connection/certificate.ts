/**
 * Reads the certificate that the peer used in the DTLS handshake, if the platform reports it. The certificate is compared with
 * the verified fingerprint, because the platform's SDP parser may have read a different fingerprint from the description.
 */
import { bytesToHex } from '../base/bytes.js';
import { sha256 } from '../identity/ed25519.js';

/** Polling interval, in ms, and maximum number of polls, while `getRemoteCertificates()` returns no certificate yet. */
const ASK_EVERY = 20;
const ASKS = 100;

type Stats = { type: string; id: string; remoteCertificateId?: string; fingerprint?: string; fingerprintAlgorithm?: string };

/**
 * @returns the SHA-256 fingerprint as an `a=fingerprint` value in lower case; undefined if the platform cannot report it
 * @throws Error if the platform can report certificates but reports none in time
 */
export async function remoteFingerprint(pc: RTCPeerConnection): Promise<string | undefined> {
  const transport = pc.sctp?.transport;
  for (let asks = 1; ; asks++) {
    // W3C webrtc, section 5.5: the list is empty until the DTLS handshake is complete
    const certificates = transport?.getRemoteCertificates?.();
    const [certificate] = certificates ?? [];
    if (certificate?.byteLength) return withColons(bytesToHex(await sha256(new Uint8Array(certificate))));
    const reported = await fromStats(pc);
    if (reported) return reported;
    // node-datachannel returns an empty buffer; a platform without `getRemoteCertificates()` never returns a certificate
    if (!certificates || certificate) return undefined;
    if (asks === ASKS) throw new Error('the platform reports no peer certificate');
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
  }
}

/** Reads the fingerprint from RTCTransportStats.remoteCertificateId and RTCCertificateStats (W3C webrtc-stats). */
async function fromStats(pc: RTCPeerConnection): Promise<string | undefined> {
  let stats: Stats[];
  try {
    stats = [...((await pc.getStats()) as unknown as Map<string, Stats>).values()];
  } catch {
    return undefined; // `getStats()` is not implemented, or the peer connection is closed
  }
  const id = stats.find(({ remoteCertificateId }) => remoteCertificateId)?.remoteCertificateId;
  const { fingerprint, fingerprintAlgorithm } = stats.find((entry) => entry.type === 'certificate' && entry.id === id) ?? {};
  return fingerprint && fingerprintAlgorithm?.toLowerCase() === 'sha-256' ? `sha-256 ${fingerprint.toLowerCase()}` : undefined;
}

const withColons = (hex: string): string => `sha-256 ${hex.match(/../g)!.join(':')}`;
