/**
 * The RPC calls: params and result of every method as sent on the wire, their envelope, and the frames of the push socket.
 * Types, and the table of contexts in old messages. docs/protocol.md, "Calls".
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
  /** `for`: the only user to whom the offer is handed out, in preference to other offers; no one else sees it. */
  offers: { sdp: string; for?: string }[];
  /** Lifetime of the offers in ms. Default 300 000. */
  ttl?: number;
  /** Random id of the publishing `Rondevu`; its offers end with it. */
  instance?: string;
  /** Found by id only. */
  hidden?: boolean;
  /** At most 4 KiB of JSON, returned by look-ups. */
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

/** One service with one of its offers; `publicKey` and the properties after it only from this version's server. */
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
  /** Candidates that the offerer added after publishing. */
  candidates?: WireCandidate[];
  /** As in `getIceServers`, for the joiner, and their lifetime in s: only with a leased offer, and only if there are any. */
  iceServers?: IceServersResult['iceServers'];
  iceTtl?: number;
}

export interface ServicePage {
  services: ServiceEntry[];
  count: number;
  limit: number;
  offset: number;
  /** `offset` of the next page, if any; only from this version's server. A page may be shorter than `limit`: at most 1 MiB. */
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
  /** The answerer's public key, base64; only from this version's server. */
  answererKey?: string;
  /** Instance id of the answerer; only from this version's server. */
  answererInstance?: string;
}

export interface SignalParams {
  /** Username of the recipient. */
  to: string;
  /** Id of the session shared by the two peers. */
  sid: string;
  /** A description, or `restart?` to request one; at most 64 KiB. Either this or candidates. */
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
  /** By the server's clock, in ms. */
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

/** Context of an old message, between username and timestamp. Methods unknown to v0.20 are omitted. */
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

/** Methods that need their own signature, and so use HTTP even while a session is open. */
export const ALWAYS_SIGNED: ReadonlySet<string> = new Set<RpcMethod>(['deleteService', 'releaseUsername']);

/** One call over HTTP. */
export interface RpcRequest {
  method: string;
  message: string;
  /** Ed25519 over the message's UTF-8, standard base64. */
  signature: string;
  /** 32 raw bytes, standard base64. */
  publicKey?: string;
  params?: unknown;
}

/** The reply to one call over HTTP; `code`, `serverTime` and `retryAfter` only from this version's server. */
export type RpcResponse =
  | { success: true; result: unknown }
  | { success: false; error: string; code?: ErrorCode; serverTime?: number; retryAfter?: number };

/** Maximum size of a push-socket frame that a client accepts, in bytes; this version's server sends at most about 2 MiB. */
export const MAX_SERVER_FRAME = 4_194_304;

/** Maximum number of calls in one HTTP request. */
export const MAX_BATCH = 100;
/** Maximum `wait` over HTTP, in ms. */
export const MAX_HTTP_WAIT = 25_000;
/** Subprotocol of the push socket. */
export const PUSH_SUBPROTOCOL = 'rondevu.v1';
/** Reply header that lists the server's capabilities beyond v0.5.4. */
export const CAPS_HEADER = 'Rondevu-Caps';

/** First frame of a push socket, signed like a call over HTTP. */
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
  /** As in `getIceServers`, and their lifetime in s, if there are any. */
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
  /** Missed events cannot be replayed: poll and publish again. */
  resync: Record<string, never>;
}

/** Frames from the client, after the first: a call, an acknowledgement of events, or the reply to a ping. */
export type ClientFrame = { id: number; method: string; params?: unknown } | { ack: number } | { pong: true };

/** Frames from the server. */
export type ServerFrame =
  | { id: number; result: unknown }
  | { id: number; error: { code: ErrorCode; message: string; serverTime?: number; retryAfter?: number } }
  | { [E in keyof PushEvents]: { event: E; data: PushEvents[E]; seq: number } }[keyof PushEvents]
  | { ping: true };
