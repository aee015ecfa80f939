/** The few figures of RTCPeerConnection.getStats that people ask for. W3C webrtc-stats. */

export interface ConnectionStats {
  /** Of the path, in ms; undefined before it was measured. */
  roundTripTime: number | undefined;
  /** Over the current link, all its channels and what keeps it up. */
  bytesSent: number;
  bytesReceived: number;
  /** How the two reach each other: `relay` when either side goes over a TURN server; undefined where the platform does not tell. */
  path: RTCIceCandidateType | undefined;
  /** `udp` or `tcp`; undefined where the platform does not tell. */
  protocol: string | undefined;
  /** Links after the first one. */
  rotations: number;
  /** All that the platform says of the current link. */
  report: RTCStatsReport;
}

/** Worst first: what either side uses is what the path is. */
const KINDS = ['relay', 'srflx', 'prflx', 'host'] as const;

export function digestStats(report: RTCStatsReport, rotations: number): ConnectionStats {
  const all = [...report.values()] as Record<string, unknown>[];
  const transport = all.find(({ type }) => type === 'transport');
  // Firefox tells the pair itself, Chromium over its transport
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
