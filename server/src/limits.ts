/** The limits that an operator can set, and their defaults. */
export interface Limits {
  /** Bytes of one HTTP body or one frame. */
  maxBodyBytes: number;
  /** Bytes after which a page of services or the result of a poll ends; the client requests the rest. */
  maxReplyBytes: number;
  /** Characters of one SDP. */
  maxSdpLength: number;
  /** Offers in one call. */
  maxOffers: number;
  /** Free offers of one service; beyond this, the oldest are removed. */
  maxFreeOffers: number;
  /** Candidates in one call, and of one user on one offer. */
  maxCandidates: number;
  /** Bytes of metadata as JSON. */
  maxMetadataBytes: number;
  /** Waiting joiners in total; when the queue is full, an address with many joiners yields a place to an address with few. */
  maxWaiting: number;
  /** Waiting joiners of one key. */
  maxWaitingPerKey: number;
  /** Waiting joiners from one address. */
  maxWaitingPerAddress: number;
  /** Open sockets in total. */
  maxSockets: number;
  /** Open sockets from one address. */
  maxSocketsPerAddress: number;
  /** Open sockets of one key. */
  maxSocketsPerKey: number;
  /** Instances of one user that are connected or have made a call in the last 15 s. */
  maxInstancesPerUser: number;
  /** Live services of one user. */
  maxServicesPerUser: number;
  /** Offers of one user, free and answered. */
  maxOffersPerUser: number;
  /** Offers in total, free and answered; when the limit is reached, each user may have an equal share. */
  maxTotalOffers: number;
  /** Points that one address, or one key, may spend in 10 s; a call costs 1 to 5 points, plus points for its items and bytes. */
  pointsPerAddress: number;
  pointsPerKey: number;
  /** New usernames from one address in an hour. */
  claimsPerAddress: number;
}

export const DEFAULT_LIMITS: Limits = {
  maxBodyBytes: 1_048_576,
  maxReplyBytes: 1_048_576,
  maxSdpLength: 65_536,
  maxOffers: 100,
  maxFreeOffers: 100,
  maxCandidates: 100,
  maxMetadataBytes: 4096,
  maxWaiting: 10_000,
  maxWaitingPerKey: 128,
  maxWaitingPerAddress: 1000,
  maxSockets: 20_000,
  maxSocketsPerAddress: 2000,
  maxSocketsPerKey: 100,
  maxInstancesPerUser: 128,
  maxServicesPerUser: 100,
  maxOffersPerUser: 2000,
  maxTotalOffers: 500_000,
  // a class of 60 behind one address, all starting at once with a dozen calls each, stays far below this
  pointsPerAddress: 6000,
  pointsPerKey: 2000,
  claimsPerAddress: 2000,
};
