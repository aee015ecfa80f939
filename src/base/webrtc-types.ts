/**
 * WebRTC types for the published declarations: the types of the DOM library if the project includes it, otherwise the subset
 * that a Node program uses. scripts/types.mjs adds imports of these types to the declaration files that use them; the engine
 * itself compiles against the DOM library.
 */

export type RTCIceConnectionState = 'checking' | 'closed' | 'completed' | 'connected' | 'disconnected' | 'failed' | 'new';
export type RTCIceGatheringState = 'complete' | 'gathering' | 'new';
export type RTCPeerConnectionState = 'closed' | 'connected' | 'connecting' | 'disconnected' | 'failed' | 'new';
export type RTCSignalingState =
  'closed' | 'have-local-offer' | 'have-local-pranswer' | 'have-remote-offer' | 'have-remote-pranswer' | 'stable';
export type RTCIceCandidateType = 'host' | 'prflx' | 'relay' | 'srflx';
export type RTCDataChannelState = 'closed' | 'closing' | 'connecting' | 'open';
export type RTCSdpType = 'answer' | 'offer' | 'pranswer' | 'rollback';

/** W3C WebRTC, section 4.2.2. */
export interface RTCIceServer {
  urls: string | string[];
  username?: string;
  credential?: string;
}

export interface RTCIceCandidateInit {
  candidate?: string;
  sdpMLineIndex?: number | null;
  sdpMid?: string | null;
  usernameFragment?: string | null;
}

export interface RTCSessionDescriptionInit {
  sdp?: string;
  type: RTCSdpType;
}

/** W3C WebRTC, section 6.2. */
export interface RTCDataChannelInit {
  id?: number;
  maxPacketLifeTime?: number;
  maxRetransmits?: number;
  negotiated?: boolean;
  ordered?: boolean;
  protocol?: string;
}

interface MinimalConfiguration {
  iceServers?: RTCIceServer[];
  iceTransportPolicy?: 'all' | 'relay';
  bundlePolicy?: 'balanced' | 'max-bundle' | 'max-compat';
  rtcpMuxPolicy?: 'require';
  iceCandidatePoolSize?: number;
}

interface MinimalTarget {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- every WebRTC package types these events differently
  addEventListener(type: string, listener: (event: any) => void): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  removeEventListener(type: string, listener: (event: any) => void): void;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type MinimalHandler = ((event: any) => void) | null;

interface MinimalDataChannel extends MinimalTarget {
  onopen: MinimalHandler;
  onmessage: MinimalHandler;
  onbufferedamountlow: MinimalHandler;
  onerror: MinimalHandler;
  onclosing: MinimalHandler;
  onclose: MinimalHandler;
  readonly label: string;
  readonly id: number | null;
  readonly ordered: boolean;
  readonly protocol: string;
  readonly negotiated: boolean;
  readonly readyState: RTCDataChannelState;
  readonly bufferedAmount: number;
  bufferedAmountLowThreshold: number;
  binaryType: 'arraybuffer' | 'blob';
  send(data: string | ArrayBuffer | ArrayBufferView): void;
  close(): void;
}

interface MinimalIceCandidate extends RTCIceCandidateInit {
  readonly candidate: string;
  toJSON(): RTCIceCandidateInit;
}

interface MinimalPeerConnection extends MinimalTarget {
  onconnectionstatechange: MinimalHandler;
  ondatachannel: MinimalHandler;
  onicecandidate: MinimalHandler;
  oniceconnectionstatechange: MinimalHandler;
  onicegatheringstatechange: MinimalHandler;
  onnegotiationneeded: MinimalHandler;
  onsignalingstatechange: MinimalHandler;
  readonly connectionState: RTCPeerConnectionState;
  readonly iceConnectionState: RTCIceConnectionState;
  readonly iceGatheringState: RTCIceGatheringState;
  readonly signalingState: RTCSignalingState;
  readonly localDescription: RTCSessionDescriptionInit | null;
  readonly remoteDescription: RTCSessionDescriptionInit | null;
  createDataChannel(label: string, options?: RTCDataChannelInit): RTCDataChannel;
  createOffer(options?: { iceRestart?: boolean }): Promise<RTCSessionDescriptionInit>;
  createAnswer(): Promise<RTCSessionDescriptionInit>;
  setLocalDescription(description?: RTCSessionDescriptionInit): Promise<void>;
  setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void>;
  addIceCandidate(candidate?: RTCIceCandidateInit | null): Promise<void>;
  getStats(): Promise<RTCStatsReport>;
  restartIce(): void;
  close(): void;
}

export type RTCConfiguration = typeof globalThis extends { RTCPeerConnection: new (configuration?: infer T) => unknown }
  ? NonNullable<T>
  : MinimalConfiguration;
export type RTCDataChannel = typeof globalThis extends { RTCDataChannel: { prototype: infer T } } ? T : MinimalDataChannel;
export type RTCIceCandidate = typeof globalThis extends { RTCIceCandidate: { prototype: infer T } } ? T : MinimalIceCandidate;
export type RTCPeerConnection = typeof globalThis extends { RTCPeerConnection: { prototype: infer T } }
  ? T
  : MinimalPeerConnection;
export type RTCStatsReport = typeof globalThis extends { RTCStatsReport: { prototype: infer T } }
  ? T
  : ReadonlyMap<string, Record<string, unknown>>;
export type CryptoKey = typeof globalThis extends { CryptoKey: { prototype: infer T } } ? T : { readonly type: string };

// the constructor, so that `typeof RTCPeerConnection` resolves
export declare const RTCPeerConnection: typeof globalThis extends { RTCPeerConnection: infer T }
  ? T
  : { new (configuration?: RTCConfiguration): RTCPeerConnection };
export declare const RTCIceCandidate: typeof globalThis extends { RTCIceCandidate: infer T }
  ? T
  : { new (candidate?: RTCIceCandidateInit): RTCIceCandidate };
