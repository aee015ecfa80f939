/** The user who makes a call, authenticated by the call's signature or by its session. */
export interface Caller {
  username: string;
  publicKey: string;
  /** The client's network address, used for fairness and limits; an IPv6 address is reduced to its /64 prefix. */
  address: string;
}

/** Returns a signal that aborts when the client of a call disconnects. Only calls that may have to wait use the signal. */
export type DisconnectSignal = () => AbortSignal;
