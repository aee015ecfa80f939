/**
 * Every public option of `Rondevu` and of a published service: unit, default, check. Errors quote the invalid value.
 */
import { checkOptions, type OptionKinds } from './base/check-options.js';
import type { ConnectionConfig } from './connection/connection-config.js';
import type { Peer } from './connection/connection-events.js';
import type { IceServersOption } from './ice-servers.js';
import type { CryptoAdapter, Keypair, PinStore, Signer } from './identity/index.js';
import type { BatchingOptions } from './signaling/index.js';

export interface RondevuOptions {
  /** Address of the signaling server; `/rpc` and `/ws` are below it. */
  apiUrl: string;
  /** 3–32 characters of `a-z 0-9 . -`. Default: an anonymous name derived from the key. */
  username?: string;
  /** Base64 keys. Default: new ones. */
  keypair?: Keypair;
  /** An identity that signs, instead of a keypair. */
  identity?: Signer;
  /** A signing implementation. Default: the platform's. */
  cryptoAdapter?: CryptoAdapter;
  /**
   * `false` sends each call in its own request. Default `{ maxBatchSize: 10, maxWaitTime: 50, throttleInterval: 10 }`, times in
   * ms.
   */
  batching?: BatchingOptions | false;
  /** Name of a preset, or RTCIceServer[]. Default `'server'`. */
  iceServers?: IceServersOption;
  /** TURN servers with credentials, for the presets that use TURN. */
  turnServers?: RTCIceServer[];
  /** Maximum number of RTCPeerConnections of the page or process. Default 256; Chromium refuses more than about 500. */
  maxPeerConnections?: number;
  /** Logs to the console. Default false. */
  debug?: boolean;
  /** A WebRTC implementation for this instance. Default: the global one. */
  rtcPeerConnection?: typeof RTCPeerConnection;
  /** Class for the peer's candidates, for a WebRTC implementation that does not take plain objects. Default: plain objects. */
  rtcIceCandidate?: typeof RTCIceCandidate;
  /** A WebSocket implementation. Default: the global one; without any, HTTP polling. */
  webSocket?: typeof WebSocket;
  /** Store for peer keys, pinned on first use. Default: in memory, for the lifetime of this instance. */
  pins?: PinStore;
  /** Whether to follow page events (hidden for good, shown again, online). Default true in pages. */
  lifecycle?: boolean;
}

/** Result of an `offerFactory`: the offer made on the given peer connection, and the channel that it opened. */
export interface OfferFactoryResult {
  offer: RTCSessionDescriptionInit;
  dc?: RTCDataChannel;
  /**
   * Whether messages of the connection use separate channels alongside `dc`, with all delivery guarantees. Default false: they
   * are sent over `dc` as they are.
   */
  durable?: boolean;
}

export interface PublishOptions {
  /** `name:version`; the username is appended. */
  service: string;
  /** Offers kept free for joiners. Default 5. */
  maxOffers?: number;
  /**
   * Creates the offer and the channel on the given peer connection, which also has `iceServers` and `iceTransportPolicy`, for
   * v0.18 factories, which expect an RTCConfiguration.
   */
  offerFactory?: (
    pc: RTCPeerConnection & Pick<RTCConfiguration, 'iceServers' | 'iceTransportPolicy'>,
  ) => Promise<OfferFactoryResult>;
  /** Lifetime of an offer in ms; it is renewed before it expires. Default 300 000. */
  ttl?: number;
  /** Fraction of its lifetime after which an offer is renewed, above 0 and at most 1. Default 0.8. */
  renewAt?: number;
  connectionConfig?: Partial<ConnectionConfig>;
  /** Maximum number of connections at once. Default: no limit. */
  maxConnections?: number;
  /** Called before an answer is processed; false refuses the joiner. */
  accept?: (peer: Peer) => boolean | Promise<boolean>;
  /** Whether the service can be found only by its id. Default false. */
  hidden?: boolean;
  /** At most 4 KiB of JSON, returned by look-ups of the service. */
  metadata?: unknown;
  /** ICE servers of this service's connections. Default: the instance's. */
  iceServers?: IceServersOption;
}

export interface ConnectOptions {
  /** `name:version@username`, or `name:version` for discovery. */
  serviceFqn?: string;
  /** `name:version`, with or without a separate `username`. */
  service?: string;
  username?: string;
  /** Instead of a name: the id of the service (`serviceId` of its pool). Hidden services can be joined only by id. */
  serviceId?: string;
  /** Replaces the instance's RTCConfiguration. */
  rtcConfig?: RTCConfiguration;
  connectionConfig?: Partial<ConnectionConfig>;
  /**
   * How long to wait in the queue if there is no offer, in ms. Default 0; with Infinity, returns at once a connection that
   * keeps looking.
   */
  wait?: number;
  /**
   * Whether another provider may take over when a provider that was found by discovery is gone. This starts a new session and
   * emits `reset` with all messages that the first provider has not received. Default false.
   */
  failover?: boolean;
  /** Ends the search when aborted. */
  signal?: AbortSignal;
  /** ICE servers of this connection. Default: the instance's. */
  iceServers?: IceServersOption;
}

/** How to look up services. */
export interface FindOptions {
  /** Default: `direct` if the name has a username, otherwise `random`. */
  mode?: 'direct' | 'random' | 'paginated';
  /** Maximum number of services per page. Default 10. */
  limit?: number;
  /** Number of services to skip. Default 0. */
  offset?: number;
}

const RONDEVU: OptionKinds = {
  string: 'apiUrl username',
  object: 'keypair identity cryptoAdapter turnServers pins',
  number: 'maxPeerConnections',
  boolean: 'debug lifecycle',
  function: 'rtcPeerConnection rtcIceCandidate webSocket',
  any: 'batching iceServers',
};
const CONNECT: OptionKinds = {
  string: 'serviceFqn service username serviceId',
  number: 'wait',
  boolean: 'failover',
  object: 'rtcConfig connectionConfig signal',
  any: 'iceServers',
};

/** @throws ValidationError naming the option, what was expected and what was received */
export const checkRondevuOptions = (options: RondevuOptions): void => checkOptions('Rondevu.connect', options, RONDEVU);
/** @throws ValidationError */
export const checkConnectOptions = (options: ConnectOptions): void => checkOptions('connectToService', options, CONNECT);
