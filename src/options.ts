/**
 * Public options of `Rondevu`, connections and published services, with units, defaults and checks. Validation errors quote the
 * invalid value.
 */
import { checkOptions, type OptionKinds } from './base/check-options.js';
import type { ConnectionConfig } from './connection/connection-config.js';
import type { Peer } from './connection/connection-events.js';
import type { IceServersOption } from './ice-servers.js';
import type { CryptoAdapter, Keypair, PinStore, Signer } from './identity/index.js';
import type { BatchingOptions } from './signaling/index.js';

export interface RondevuOptions {
  /** URL of the signaling server, to which `/rpc` and `/ws` are appended. */
  apiUrl: string;
  /** Username of 3–32 characters from `a-z 0-9 . -`. Default: an anonymous name derived from the key. */
  username?: string;
  /** Base64 keys. Default: new ones. */
  keypair?: Keypair;
  /** An identity used for signing, as an alternative to `keypair`. */
  identity?: Signer;
  /** A signing implementation. Default: the platform's. */
  cryptoAdapter?: CryptoAdapter;
  /**
   * `false` sends each call in a separate request. Default `{ maxBatchSize: 10, maxWaitTime: 50, throttleInterval: 10 }`, times
   * in ms.
   */
  batching?: BatchingOptions | false;
  /** Name of a preset, or a list of RTCIceServer objects. Default `'server'`. */
  iceServers?: IceServersOption;
  /** TURN servers with credentials, for the presets that use TURN. */
  turnServers?: RTCIceServer[];
  /** Maximum number of RTCPeerConnection objects in the page or process. Default 256; Chromium refuses more than about 500. */
  maxPeerConnections?: number;
  /** Logs to the console. Default false. */
  debug?: boolean;
  /** The RTCPeerConnection implementation for this instance. Default: the global one. */
  rtcPeerConnection?: typeof RTCPeerConnection;
  /** Class for remote candidates, for WebRTC implementations that do not accept plain objects. Default: plain objects. */
  rtcIceCandidate?: typeof RTCIceCandidate;
  /** A WebSocket implementation. Default: the global WebSocket, or HTTP polling if there is none. */
  webSocket?: typeof WebSocket;
  /** Store for the keys of peers, which are pinned on first use. Default: in memory, for the lifetime of this instance. */
  pins?: PinStore;
  /** Whether to react to page events such as `pagehide`, `pageshow` and `online`. Default true in pages. */
  lifecycle?: boolean;
}

/** Result of an `offerFactory`: the offer created on the given peer connection, and the data channel opened by the factory. */
export interface OfferFactoryResult {
  offer: RTCSessionDescriptionInit;
  dc?: RTCDataChannel;
  /**
   * Whether the connection sends its messages on separate channels alongside `dc`, with all delivery guarantees. Default false:
   * messages are sent over `dc` unchanged.
   */
  durable?: boolean;
}

export interface PublishOptions {
  /** Service name as `name:version`; the username is appended. */
  service: string;
  /** Number of free offers to keep available for joiners. Default 5. */
  maxOffers?: number;
  /**
   * Creates the offer and the channel on the given peer connection. The peer connection also has the properties `iceServers`
   * and `iceTransportPolicy`, because v0.18 factories expect an RTCConfiguration.
   */
  offerFactory?: (
    pc: RTCPeerConnection & Pick<RTCConfiguration, 'iceServers' | 'iceTransportPolicy'>,
  ) => Promise<OfferFactoryResult>;
  /** Lifetime of an offer in ms; offers are renewed before they expire. Default 300 000. */
  ttl?: number;
  /** Fraction of its lifetime after which an offer is renewed, above 0 and at most 1. Default 0.8. */
  renewAt?: number;
  connectionConfig?: Partial<ConnectionConfig>;
  /** Maximum number of simultaneous connections. Default: no limit. */
  maxConnections?: number;
  /** Called before an answer is processed; returning false refuses the joiner. */
  accept?: (peer: Peer) => boolean | Promise<boolean>;
  /** Whether the service can be found only by its id. Default false. */
  hidden?: boolean;
  /** Metadata of the service: at most 4 KiB of JSON, returned by lookups. */
  metadata?: unknown;
  /** ICE servers for the connections of this service. Default: the instance's. */
  iceServers?: IceServersOption;
}

export interface ConnectOptions {
  /** Service name as `name:version@username`, or `name:version` for discovery. */
  serviceFqn?: string;
  /** Service name as `name:version`, with or without a separate `username`. */
  service?: string;
  username?: string;
  /** Service id (`serviceId` of its pool), as an alternative to the service name. Hidden services can be joined only by id. */
  serviceId?: string;
  /** Replaces the instance's RTCConfiguration. */
  rtcConfig?: RTCConfiguration;
  connectionConfig?: Partial<ConnectionConfig>;
  /**
   * How long to wait in the queue if no offer is available, in ms. Default 0; with Infinity, the call immediately returns a
   * connection that keeps searching.
   */
  wait?: number;
  /**
   * Whether the connection may switch to a different host if the host found by discovery is gone. A failover starts a new
   * session and emits `reset` with all messages that the previous host has not acknowledged. Default false.
   */
  failover?: boolean;
  /**
   * Signal that, when aborted, ends the search and closes the connection. Once an offer has been found and answered, the
   * signal has no effect; call `close()` on the connection instead.
   */
  signal?: AbortSignal;
  /** ICE servers for this connection. Default: the instance's. */
  iceServers?: IceServersOption;
}

/** Options for looking up services. */
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
  object: 'rtcConfig connectionConfig',
  AbortSignal: 'signal',
  any: 'iceServers',
};

/** @throws ValidationError that states the option, the expected type and the received value */
export const checkRondevuOptions = (options: RondevuOptions): void => checkOptions('Rondevu.connect', options, RONDEVU);
/** @throws ValidationError */
export const checkConnectOptions = (options: ConnectOptions): void => checkOptions('connectToService', options, CONNECT);
