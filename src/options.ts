/**
 * Every public option of `Rondevu` and of a published service: unit, default, check. A bad value is quoted in the error.
 */
import type { ConnectionConfig } from './connection/connection-config.js';
import type { Peer } from './connection/connection-events.js';
import { mustBe } from './errors.js';
import type { IceServersOption } from './ice-servers.js';
import type { CryptoAdapter, Keypair, PinStore, Signer } from './identity/index.js';
import type { BatchingOptions } from './signaling/index.js';

export interface RondevuOptions {
  /** Address of the signaling server; `/rpc` and `/ws` are below it. */
  apiUrl: string;
  /** 3–32 of `a-z 0-9 . -`. Default: an anonymous name made from the key. */
  username?: string;
  /** Base64 keys. Default: fresh ones. */
  keypair?: Keypair;
  /** An identity that signs, instead of a keypair. */
  identity?: Signer;
  /** Another implementation of signing. Default: the platform's. */
  cryptoAdapter?: CryptoAdapter;
  /** `false` sends every call alone. Default `{ maxBatchSize: 10, maxWaitTime: 50, throttleInterval: 10 }`, times in ms. */
  batching?: BatchingOptions | false;
  /** A preset's name or RTCIceServer[]. Default `'server'`. */
  iceServers?: IceServersOption;
  /** TURN servers with credentials, for the presets that need some. */
  turnServers?: RTCIceServer[];
  /** Most RTCPeerConnections of the page or process at once. Default 256; Chromium refuses near 500. */
  maxPeerConnections?: number;
  /** Logs to the console. Default false. */
  debug?: boolean;
  /** A WebRTC implementation for this instance. Default: the global one. */
  rtcPeerConnection?: typeof RTCPeerConnection;
  rtcIceCandidate?: typeof RTCIceCandidate;
  /** A WebSocket implementation. Default: the global one; without any, HTTP polling. */
  webSocket?: typeof WebSocket;
  /** Where the keys of peers are pinned at the first meeting. Default: in memory, as long as this instance lives. */
  pins?: PinStore;
  /** Whether page events (hidden for good, back, online) are followed. Default true in pages. */
  lifecycle?: boolean;
}

/** What an `offerFactory` returns: the offer it made on the peer connection it got, and the channel it opened. */
export interface OfferFactoryResult {
  offer: RTCSessionDescriptionInit;
  dc?: RTCDataChannel;
  /**
   * Whether messages of the connection go over channels of ours beside `dc`, with all that delivery promises. Default false: they
   * go over `dc`, as they are.
   */
  durable?: boolean;
}

export interface PublishOptions {
  /** `name:version`; the username is appended. */
  service: string;
  /** Offers kept free for joiners. Default 5. */
  maxOffers?: number;
  /** Makes offer and channel on the peer connection it is given. */
  offerFactory?: (pc: RTCPeerConnection) => Promise<OfferFactoryResult>;
  /** Life of an offer in ms; it is renewed before. Default 300 000. */
  ttl?: number;
  /** After which share of its life it is renewed, 0 to 1. Default 0.8. */
  renewAt?: number;
  connectionConfig?: Partial<ConnectionConfig>;
  /** Most connections at once. Default: no limit. */
  maxConnections?: number;
  /** Asked before an answer is taken; false turns the joiner away. */
  accept?: (peer: Peer) => boolean | Promise<boolean>;
  /** Found by id only. Default false. */
  hidden?: boolean;
  /** At most 4 KiB of JSON, given to who looks the service up. */
  metadata?: unknown;
  /** ICE servers of this service's connections. Default: the instance's. */
  iceServers?: IceServersOption;
}

export interface ConnectOptions {
  /** `name:version@username`, or `name:version` for discovery. */
  serviceFqn?: string;
  /** `name:version`, with or without `username` beside it. */
  service?: string;
  username?: string;
  /** Instead of a name: the id of the service, as its `serviceId` says. The only way to one that is hidden. */
  serviceId?: string;
  /** Replaces the instance's RTCConfiguration. */
  rtcConfig?: RTCConfiguration;
  connectionConfig?: Partial<ConnectionConfig>;
  /** How long to stand in line when nobody is there, in ms. Default 0; Infinity returns at once a connection that goes on looking. */
  wait?: number;
  /**
   * Whether another provider may take the place of one that was found by discovery and is gone: a new session, told with `reset`
   * and all that the first one has not had. Default false.
   */
  failover?: boolean;
  /** Ends the search. */
  signal?: AbortSignal;
  /** ICE servers of this connection. Default: the instance's. */
  iceServers?: IceServersOption;
}

/** How to look services up. */
export interface FindOptions {
  /** Default: `direct` if the name has a username, otherwise `random`. */
  mode?: 'direct' | 'random' | 'paginated';
  /** Maximum number of services on a page. Default 10. */
  limit?: number;
  /** Number of services before the page. Default 0. */
  offset?: number;
}

/** Names by the type of their value; `any` is checked where it is used. */
export type OptionKinds = { [kind in 'string' | 'number' | 'boolean' | 'object' | 'function' | 'any']?: string };

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

/** @throws ValidationError naming the option, what was expected and what was got */
export function checkOptions(where: string, options: object, kinds: OptionKinds): void {
  if (typeof options !== 'object' || options === null) throw mustBe(where, 'called with an object', options);
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.entries(kinds).find(([, names]) => names.split(' ').includes(name))?.[0];
    if (!kind) throw mustBe(`the options of ${where}`, Object.values(kinds).join(' '), name);
    if (value === undefined || kind === 'any') continue;
    if (typeof value !== kind || value === null || (kind === 'number' && !(value >= 0))) {
      // quoting would print the secret where the option is a key
      throw mustBe(
        `${where}: ${name}`,
        `a ${kind}${kind === 'number' ? ' of 0 or more' : ''}`,
        /key|identity/.test(name) ? typeof value : value,
      );
    }
  }
}

/** @throws ValidationError naming the option, what was expected and what was got */
export const checkRondevuOptions = (options: RondevuOptions): void => checkOptions('Rondevu.connect', options, RONDEVU);
/** @throws ValidationError */
export const checkConnectOptions = (options: ConnectOptions): void => checkOptions('connectToService', options, CONNECT);
