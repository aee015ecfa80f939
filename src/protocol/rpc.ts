/**
 * RPC calls: params and result of every method as sent on the wire, the request and reply envelopes, and the push-socket
 * frames. Contains types, and the table of contexts for old messages. See docs/protocol.md, "Calls".
 */
import type { ErrorCode } from '../errors.js';

/** An ICE candidate as returned by RTCIceCandidate.toJSON(); the server does not interpret it. */
export interface WireCandidate {
  candidate: string;
  sdpMid?: string | null;
  sdpMLineIndex?: number | null;
  usernameFragment?: string | null;
}

export interface OfferInfo {
  offerId: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
}

export interface PublishParams {
  serviceFqn: string;
  /** `for` reserves the offer for one user, who receives it in preference to other offers; nobody else receives it. */
  offers: { sdp: string; for?: string }[];
  /** Lifetime of the offers in ms. Default 300 000. */
  ttl?: number;
  /** Random id of the publishing `Rondevu` instance; the offers are removed when the instance is gone. */
  instance?: string;
  /** Found by id only. */
  hidden?: boolean;
  /** Metadata of the service: at most 4 KiB of JSON, returned by lookups. */
  metadata?: unknown;
}

export interface PublishResult {
  serviceId: string;
  username: string;
  serviceFqn: string;
  offers: OfferInfo[];
  createdAt: number;
  expiresAt: number;
}

export interface GetServiceParams {
  serviceFqn: string;
  limit?: number;
  offset?: number;
  /** How long to wait in the queue if no offer is free, in ms; at most 25 000 over HTTP. */
  wait?: number;
  instance?: string;
}

/** A service with one of its offers; `publicKey` and the properties below it are sent only by servers of this version. */
export interface ServiceEntry {
  serviceId: string;
  username: string;
  serviceFqn: string;
  offerId: string;
  sdp: string;
  createdAt: number;
  expiresAt: number;
  offers?: OfferInfo[];
  /** The owner's public key, base64. */
  publicKey?: string;
  metadata?: unknown;
  /** Candidates that the offerer added after publishing the offer. */
  candidates?: WireCandidate[];
  /**
   * ICE servers for the joiner, as in `getIceServers`, and their lifetime in s; sent only with a leased offer, and only if
   * there are any.
   */
  iceServers?: IceServersResult['iceServers'];
  iceTtl?: number;
}

export interface ServicePage {
  services: ServiceEntry[];
  count: number;
  limit: number;
  offset: number;
  /**
   * `offset` of the next page, if any; sent only by servers of this version. A page may have fewer entries than `limit`,
   * because its size is limited to 1 MiB.
   */
  next?: number;
}

export interface AnswerParams {
  serviceFqn: string;
  offerId: string;
  sdp: string;
  instance?: string;
}

export interface AnswerInfo {
  offerId: string;
  serviceId: string;
  answererId: string;
  sdp: string;
  answeredAt: number;
  /** The answerer's public key, base64; sent only by servers of this version. */
  answererKey?: string;
  /** Instance id of the answerer; sent only by servers of this version. */
  answererInstance?: string;
}

export interface SignalParams {
  /** Username of the recipient. */
  to: string;
  /** Id of the session shared by the two peers. */
  sid: string;
  /** A session description, or `restart?` to request one; at most 64 KiB. Either this or candidates. */
  sdp?: string;
  candidates?: WireCandidate[];
}

export interface CandidateInfo {
  candidate: WireCandidate;
  role: 'offerer' | 'answerer';
  username: string;
  createdAt: number;
}

export interface PollResult {
  answers: AnswerInfo[];
  iceCandidates: Record<string, CandidateInfo[]>;
}

export interface UserInfo {
  username: string;
  available: boolean;
  claimedAt?: number;
  expiresAt?: number;
  publicKey?: string;
}

/** ICE servers for an RTCConfiguration, valid until `expiresAt`. */
export interface IceServersResult {
  iceServers: { urls: string[]; username?: string; credential?: string }[];
  /** Lifetime of the credentials, in s. */
  ttl: number;
  /** Expiry time according to the server's clock, in ms. */
  expiresAt: number;
}

/** Params and result of every method. */
export interface RpcMethods {
  getUser: [params: { username: string }, result: UserInfo];
  publishService: [params: PublishParams, result: PublishResult];
  getService: [params: GetServiceParams, result: ServiceEntry | ServicePage];
  getServiceById: [params: { serviceId: string; wait?: number; instance?: string }, result: ServiceEntry];
  deleteService: [params: { serviceFqn: string }, result: { success: true }];
  /** Releases the caller's username and its services. */
  releaseUsername: [params: object, result: { success: true }];
  withdrawOffers: [params: { serviceFqn: string; offerIds: string[] }, result: { count: number }];
  answerOffer: [params: AnswerParams, result: { success: true; offerId: string }];
  getOfferAnswer: [params: { serviceFqn: string; offerId: string }, result: Omit<AnswerInfo, 'serviceId'>];
  poll: [params: { since?: number; instance?: string }, result: PollResult];
  addIceCandidates: [
    params: { serviceFqn: string; offerId: string; candidates: WireCandidate[]; instance?: string },
    result: { count: number; offerId: string },
  ];
  signal: [params: SignalParams, result: { success: true }];
  getIceServers: [params: object, result: IceServersResult];
  getIceCandidates: [
    params: { serviceFqn: string; offerId: string; since?: number; instance?: string },
    result: { candidates: CandidateInfo[]; offerId: string },
  ];
}

export type RpcMethod = keyof RpcMethods;
export type RpcParams<M extends RpcMethod> = RpcMethods[M][0];
export type RpcResult<M extends RpcMethod> = RpcMethods[M][1];

/** Context part of an old message, between username and timestamp. Methods unknown to v0.20 are omitted. */
export const LEGACY_CONTEXT: { readonly [M in RpcMethod]?: (params: RpcParams<M>) => string } = {
  getUser: (p) => p.username,
  publishService: (p) => p.serviceFqn,
  getService: (p) => p.serviceFqn,
  deleteService: (p) => p.serviceFqn,
  answerOffer: (p) => p.offerId,
  getOfferAnswer: (p) => p.offerId,
  poll: () => '',
  addIceCandidates: (p) => p.offerId,
  getIceCandidates: (p) => `${p.offerId}:${p.since ?? 0}`,
};

/** Methods that require their own signature and therefore use HTTP even while a session is open. */
export const ALWAYS_SIGNED: ReadonlySet<string> = new Set<RpcMethod>(['deleteService', 'releaseUsername']);

/** One call over HTTP. */
export interface RpcRequest {
  method: string;
  message: string;
  /** Ed25519 signature over the UTF-8 encoding of the message, in standard base64. */
  signature: string;
  /** Public key: 32 raw bytes in standard base64. */
  publicKey?: string;
  params?: unknown;
}

/** The reply to one call over HTTP; `code`, `serverTime` and `retryAfter` are sent only by servers of this version. */
export type RpcResponse =
  | { success: true; result: unknown }
  | { success: false; error: string; code?: ErrorCode; serverTime?: number; retryAfter?: number };

/** Maximum size of a push-socket frame that a client accepts, in bytes; servers of this version send at most about 2 MiB. */
export const MAX_SERVER_FRAME = 4_194_304;

/** Maximum number of calls in one HTTP request. */
export const MAX_BATCH = 100;
/** Maximum `wait` over HTTP, in ms. */
export const MAX_HTTP_WAIT = 25_000;
/** Subprotocol of the push socket. */
export const PUSH_SUBPROTOCOL = 'rondevu.v1';
/** Response header that lists the server's capabilities beyond v0.5.4. */
export const CAPS_HEADER = 'Rondevu-Caps';

/** First frame on a push socket, signed like a call over HTTP. */
export interface OpenSessionFrame {
  id: number;
  method: 'openSession';
  message: string;
  signature: string;
  publicKey?: string;
  params: { instance: string; resume?: { epoch: string; seq: number } };
}

export interface OpenSessionResult {
  epoch: string;
  seq: number;
  serverTime: number;
  caps: string[];
  limits: { maxFrameBytes: number; maxOffers: number; maxCandidates: number };
  /** ICE servers, as in `getIceServers`, and their lifetime in s; absent if there are none. */
  iceServers?: IceServersResult['iceServers'];
  iceTtl?: number;
}

/** Events that the server pushes. */
export interface PushEvents {
  answer: AnswerInfo & { serviceFqn: string };
  candidates: { offerId: string; candidates: CandidateInfo[] };
  demand: { serviceFqn: string; waiting: number };
  taken: { offerId: string };
  signal: { from: string; sid: string; sdp?: string; candidates?: WireCandidate[] };
  /** Sent if missed events cannot be replayed; the client must poll and publish again. */
  resync: Record<string, never>;
}

/** Frames that the client sends after the first frame: a call, an acknowledgement of events, or the reply to a ping. */
export type ClientFrame = { id: number; method: string; params?: unknown } | { ack: number } | { pong: true };

/** Frames from the server. */
export type ServerFrame =
  | { id: number; result: unknown }
  | { id: number; error: { code: ErrorCode; message: string; serverTime?: number; retryAfter?: number } }
  | { [E in keyof PushEvents]: { event: E; data: PushEvents[E]; seq: number } }[keyof PushEvents]
  | { ping: true };
