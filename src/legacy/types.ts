/** Type names from the 0.20 and 0.9 Rondevu clients for types that have been renamed or are no longer used. */
import type { ConnectionConfig } from '../connection/connection-config.js';
import type { ConnectionEvents } from '../connection/connection-events.js';
import type { RondevuChannel } from '../connection/channel.js';
import type { MessageData } from '../delivery/message-buffer.js';
import type { ConnectOptions, FindOptions, OfferFactoryResult, PublishOptions } from '../options.js';
import type { PublishParams, PublishResult, ServiceEntry, ServicePage, WireCandidate } from '../protocol/rpc.js';
import type { RondevuAPI } from '../signaling/index.js';

/** 0.20. @deprecated Use `PublishOptions`. */
export type PublishServiceOptions = PublishOptions;
/** 0.20. @deprecated Use `ConnectOptions`. */
export type ConnectToServiceOptions = ConnectOptions;
/** 0.20. @deprecated Use `OfferFactoryResult`. */
export type OfferContext = OfferFactoryResult;
/** 0.20. @deprecated Use `NonNullable<PublishOptions['offerFactory']>`. */
export type OfferFactory = (pc: RTCPeerConnection) => Promise<OfferContext>;
/** 0.20. @deprecated Use `FindOptions`. */
export type FindServiceOptions = FindOptions;
/** 0.20. */
export type ServiceResult = ServiceEntry;
/** 0.20. */
export type PaginatedServiceResult = ServicePage;
/** 0.20. */
export type Service = PublishResult;
/** 0.20. */
export type ServiceOffer = PublishResult['offers'][number];
/** 0.20. */
export type OfferRequest = PublishParams['offers'][number];
/** 0.20: `signature` and `message` are ignored. */
export type ServiceRequest = PublishParams & { signature?: string; message?: string };
/** 0.20. Times in ms. */
export interface IceCandidate {
  candidate: WireCandidate | null;
  role: 'offerer' | 'answerer';
  createdAt: number;
}
/** 0.20: result of `getActiveOffers()`. */
export interface ActiveOffer {
  offerId: string;
  serviceFqn: string;
  pc: RTCPeerConnection;
  dc?: RTCDataChannel;
  answered: boolean;
  /** Time of the `getActiveOffers()` call, in ms. */
  createdAt: number;
}
/** 0.18 to 0.20: a raw connection, as passed to `onConnection`. */
export interface ConnectionContext {
  pc: RTCPeerConnection;
  dc: RTCDataChannel;
  serviceFqn: string;
  offerId: string;
  peerUsername: string;
}
/** 0.20. @deprecated Use `ConnectionEvents`. */
export type ConnectionEventMap = ConnectionEvents;
/** 0.20. */
export type ConnectionEventName = keyof ConnectionEvents;
/** 0.20. */
export type ConnectionEventArgs<Name extends ConnectionEventName> = ConnectionEvents[Name];
/** 0.20. */
export type ReconnectInfo = ConnectionEvents['reconnect:scheduled'][0];
/** 0.20. */
export type StateChangeInfo = ConnectionEvents['state:changed'][0];
/** 0.20: constructor options of a connection. In this version, `publishService` and `connectToService` create connections. */
export interface OffererOptions {
  api: RondevuAPI;
  serviceFqn: string;
  offerId: string;
  pc: RTCPeerConnection;
  dc?: RTCDataChannel;
  config?: Partial<ConnectionConfig>;
}
/** 0.20: see OffererOptions. */
export interface AnswererOptions {
  api: RondevuAPI;
  serviceFqn: string;
  offerId: string;
  offerSdp: string;
  rtcConfig?: RTCConfiguration;
  config?: Partial<ConnectionConfig>;
}
/** 0.20: a function that undoes the call that returned it. */
export type Binnable = () => void;
/** 0.20: exchanges descriptions and candidates. Unused here. */
export interface Signaler {
  addIceCandidate(candidate: RTCIceCandidate): Promise<void>;
  addListener(callback: (candidate: RTCIceCandidate) => void): Binnable;
  addOfferListener(callback: (offer: RTCSessionDescriptionInit) => void): Binnable;
  addAnswerListener(callback: (answer: RTCSessionDescriptionInit) => void): Binnable;
  setOffer(offer: RTCSessionDescriptionInit): Promise<void>;
  setAnswer(answer: RTCSessionDescriptionInit): Promise<void>;
}
/** 0.9. @deprecated Use `RondevuChannel`. */
export type DurableChannel = RondevuChannel;
/** 0.9: the states of a channel. */
export type DurableChannelState = RondevuChannel['readyState'];
/** 0.9: a queued message. */
export interface QueuedMessage {
  data: MessageData;
  /** Time at which the message was queued, in ms. */
  enqueuedAt: number;
  id: string;
}
