/** The authenticated user of a call, by its signature or its session. */
export interface Caller {
  username: string;
  publicKey: string;
  /** The client's network address, for fairness; IPv6 as its /64. */
  address: string;
}

/** Returns a signal that aborts when the client of a call disconnects. Requested by calls that wait. */
export type DisconnectSignal = () => AbortSignal;
