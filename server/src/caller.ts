/** The user who makes a call, authenticated by the call's signature or by its session. */
export interface Caller {
  username: string;
  publicKey: string;
  /** The client's network address, for fairness; IPv6 as its /64. */
  address: string;
}

/** Returns a signal that aborts when the client of a call disconnects. Used only by calls that wait. */
export type DisconnectSignal = () => AbortSignal;
