/**
 * The calls: every method's params and result as they stand on the wire, the envelope round them, and the frames of the
 * push socket. Types, and the one table that says what an old message carries as context. docs/protocol.md, "Calls".
 */
import type { ErrorCode } from '../errors.js';

/** An ICE candidate as RTCIceCandidate.toJSON() gives it; the server does not look inside. */
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
  /** `for`: hidden from everyone but this user, and handed to him first. */
  offers: { sdp: string; for?: string }[];
  /** Life of the offers in ms. Default 300 000. */
  ttl?: number;
  /** Random id of the publishing `Rondevu`; its offers live and die with it. */
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
  /** How long to stand in line when no offer is free, in ms; at most 25 000 over HTTP. */
  wait?: number;
  instance?: string;
}

/** One service with one offer of it; the last four only from our server. */
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
  /** For who joins, as `getIceServers` has them, and their life in s: only with a leased offer, and only where there are any. */
  iceServers?: IceServersResult['iceServers'];
  iceTtl?: number;
}

export interface ServicePage {
  services: ServiceEntry[];
  count: number;
  limit: number;
  offset: number;
  /** The `offset` of the next page, if there is one; only from our server. A page may hold fewer than `limit`: it ends after 1 MiB. */
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
  /** The answerer's public key, base64; only from our server. */
  answererKey?: string;
  /** What the answerer calls its `Rondevu`; only from our server. */
  answererInstance?: string;
}

export interface SignalParams {
  /** The other user. */
  to: string;
  /** The session of the two. */
  sid: string;
  /** A description, or `restart?` to ask for one; at most 64 KiB. Either this or candidates. */
  sdp?: string;
  candidates?: WireCandidate[];
  instance?: string;
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

/** ICE servers for an RTCConfiguration, good until `expiresAt`. */
export interface IceServersResult {
  iceServers: { urls: string[]; username?: string; credential?: string }[];
  /** Life of the credentials, in s. */
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
  /** Gives one's name up, with its services. */
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
  getIceServers: [params: { instance?: string }, result: IceServersResult];
  getIceCandidates: [
    params: { serviceFqn: string; offerId: string; since?: number; instance?: string },
    result: { candidates: CandidateInfo[]; offerId: string },
  ];
}

export type RpcMethod = keyof RpcMethods;
export type RpcParams<M extends RpcMethod> = RpcMethods[M][0];
export type RpcResult<M extends RpcMethod> = RpcMethods[M][1];

/** What an old message carries between username and timestamp. Methods that v0.20 does not know are not here. */
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

/** What needs a signature of its own, and so goes over HTTP even while a session is open. */
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

/** The reply to one call over HTTP; `code`, `serverTime` and `retryAfter` only from our server. */
export type RpcResponse =
  | { success: true; result: unknown }
  | { success: false; error: string; code?: ErrorCode; serverTime?: number; retryAfter?: number };

/** Maximum size of a push-socket frame that a client accepts, in bytes; replies of this version's server have at most about 2 MiB. */
export const MAX_SERVER_FRAME = 4_194_304;

/** Maximum number of calls in one HTTP request. */
export const MAX_BATCH = 100;
/** Maximum `wait` over HTTP, in ms. */
export const MAX_HTTP_WAIT = 25_000;
/** Subprotocol of the push socket. */
export const PUSH_SUBPROTOCOL = 'rondevu.v1';
/** Reply header that tells what the server can do beyond v0.5.4. */
export const CAPS_HEADER = 'Rondevu-Caps';

/** First frame of a push socket, signed as a call over HTTP is. */
export interface OpenSessionFrame {
  id: number;
  method: 'openSession';
  message: string;
  signature: string;
  publicKey: string;
  params: { instance: string; resume?: { epoch: string; seq: number } };
}

export interface OpenSessionResult {
  epoch: string;
  seq: number;
  serverTime: number;
  caps: string[];
  limits: { maxFrameBytes: number; maxOffers: number; maxCandidates: number };
  /** As `getIceServers` has them, and their life in s, where there are any. */
  iceServers?: IceServersResult['iceServers'];
  iceTtl?: number;
}

/** What the server pushes. */
export interface PushEvents {
  answer: AnswerInfo & { serviceFqn: string };
  candidates: { offerId: string; candidates: CandidateInfo[] };
  demand: { serviceFqn: string; waiting: number };
  taken: { offerId: string };
  signal: { from: string; sid: string; sdp?: string; candidates?: WireCandidate[] };
  /** What was missed cannot be told: poll and publish again. */
  resync: Record<string, never>;
}

/** Frames from the client, after the first: a call, an acknowledgement of events, or a sign of life. */
export type ClientFrame = { id: number; method: string; params?: unknown } | { ack: number } | { pong: true };

/** Frames from the server. */
export type ServerFrame =
  | { id: number; result: unknown }
  | { id: number; error: { code: ErrorCode; message: string; serverTime?: number; retryAfter?: number } }
  | { [E in keyof PushEvents]: { event: E; data: PushEvents[E]; seq: number } }[keyof PushEvents]
  | { ping: true };
