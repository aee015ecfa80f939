/** Extracts the most useful figures from RTCPeerConnection.getStats() (W3C webrtc-stats). */

export interface ConnectionStats {
  /** Round-trip time of the path, in ms; undefined until measured. */
  roundTripTime: number | undefined;
  /** Number of bytes sent and received over the current link, on all channels and including link maintenance traffic. */
  bytesSent: number;
  bytesReceived: number;
  /** Candidate type of the path: `relay` if either peer uses a TURN server; undefined if the platform does not report it. */
  path: RTCIceCandidateType | undefined;
  /** Transport protocol of the path: `udp` or `tcp`; undefined if the platform does not report it. */
  protocol: string | undefined;
  /** Number of links established after the first one. */
  rotations: number;
  /** The platform's full report of the current link. */
  report: RTCStatsReport;
}

/** Candidate types from worst to best: the type of the path is the worse type of its two candidates. */
const KINDS = ['relay', 'srflx', 'prflx', 'host'] as const;

export function digestStats(report: RTCStatsReport, rotations: number): ConnectionStats {
  const all = [...report.values()] as Record<string, unknown>[];
  const transport = all.find(({ type }) => type === 'transport');
  // Chromium names the selected pair in the transport statistics; Firefox marks the pair itself as nominated
  const pair =
    all.find(({ type, id }) => type === 'candidate-pair' && id === transport?.['selectedCandidatePairId']) ??
    all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
  const ends = ['localCandidateId', 'remoteCandidateId'].map(
    (name) => all.find(({ id }) => id === pair?.[name]) as { candidateType?: RTCIceCandidateType; protocol?: string } | undefined,
  );
  const number = (value: unknown): number => (typeof value === 'number' ? value : 0);
  const seconds = pair?.['currentRoundTripTime'];
  return {
    roundTripTime: typeof seconds === 'number' ? seconds * 1000 : undefined,
    bytesSent: number(transport?.['bytesSent'] ?? pair?.['bytesSent']),
    bytesReceived: number(transport?.['bytesReceived'] ?? pair?.['bytesReceived']),
    path: KINDS.find((kind) => ends.some((end) => end?.candidateType === kind)),
    protocol: ends[0]?.protocol,
    rotations,
    report,
  };
}
