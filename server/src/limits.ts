/** The limits that an operator can set, and their defaults. */
export interface Limits {
  /** Maximum size of one HTTP body or one frame, in bytes. */
  maxBodyBytes: number;
  /** Size, in bytes, at which a page of services or the result of a poll ends; the client requests the rest. */
  maxReplyBytes: number;
  /** Maximum length of one SDP, in characters. */
  maxSdpLength: number;
  /** Maximum number of offers per call. */
  maxOffers: number;
  /** Maximum number of free offers per service; above this limit, the oldest offers are removed. */
  maxFreeOffers: number;
  /** Maximum number of candidates per call, and per user and offer. */
  maxCandidates: number;
  /** Maximum size of the metadata, in bytes of JSON. */
  maxMetadataBytes: number;
  /**
   * Maximum number of waiting joiners in total; when the queue is full, an address with many joiners yields a place to an
   * address with few.
   */
  maxWaiting: number;
  /** Maximum number of waiting joiners per key. */
  maxWaitingPerKey: number;
  /** Maximum number of waiting joiners per address. */
  maxWaitingPerAddress: number;
  /** Maximum number of open sockets in total. */
  maxSockets: number;
  /** Maximum number of open sockets per address. */
  maxSocketsPerAddress: number;
  /** Maximum number of open sockets per key. */
  maxSocketsPerKey: number;
  /** Maximum number of instances per user that are connected or have made a call in the last 15 s. */
  maxInstancesPerUser: number;
  /** Maximum number of live services per user. */
  maxServicesPerUser: number;
  /** Maximum number of offers per user, free and answered. */
  maxOffersPerUser: number;
  /** Maximum number of offers in total, free and answered; when the limit is reached, each user is limited to an equal share. */
  maxTotalOffers: number;
  /**
   * Maximum number of points that one address, or one key, may spend in 10 s; a call costs 1 to 5 points, plus points for its
   * items and bytes.
   */
  pointsPerAddress: number;
  pointsPerKey: number;
  /** Maximum number of new usernames per address and hour. */
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
  // a school class of 60 behind one address, all starting at the same time with a dozen calls each, stays far below this limit
  pointsPerAddress: 6000,
  pointsPerKey: 2000,
  claimsPerAddress: 2000,
};
