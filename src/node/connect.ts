/**
 * `connect`: creates a client with everything that a Node program needs. Sets no globals.
 */
import { WebSocket } from 'ws';
import { ValidationError, invalidValue } from '../errors.js';
import { Rondevu } from '../rondevu.js';
import type { RondevuOptions } from '../options.js';
import { identityFromFile } from './key-file.js';
import { unusedProxy } from './proxy.js';
import { MAX_SERVER_FRAME } from '../protocol/rpc.js';
import { findWebRtc, type WebRtcPackage } from './webrtc.js';

let hasWarnedOfProxy = false;

/**
 * By default, `ws` accepts frames of up to 100 MiB, including compressed frames, so a malicious server could exhaust memory at
 * little cost.
 */
class BoundedWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols, { maxPayload: MAX_SERVER_FRAME, perMessageDeflate: false });
  }
}

export interface NodeOptions extends Omit<RondevuOptions, 'lifecycle'> {
  /**
   * Package that provides WebRTC. Default: the first of node-datachannel, `@roamhq/wrtc` and werift that is installed. A class
   * passed as `rtcPeerConnection` is used unchanged.
   */
  webrtc?: WebRtcPackage;
  /**
   * Path of the identity file, created with mode 600 if it does not exist. Default: no file is used and each call creates a
   * new identity, so a second run with the same username fails with `name-taken`.
   */
  keyFile?: string;
}

/**
 * `Rondevu.connect` for Node, with an installed WebRTC implementation, a WebSocket implementation, and the identity from a
 * file. Makes no network call. Warns once if the environment specifies an HTTP proxy that Node does not use.
 * @throws RondevuError `unsupported`, with the install command, if WebRTC is missing; ValidationError if an option is invalid
 *   (the message quotes the value), or if other users may read the key file; RondevuError `unavailable` if the key file cannot
 *   be read or written
 */
export async function connect({ webrtc, keyFile, ...options }: NodeOptions): Promise<Rondevu> {
  if (keyFile !== undefined && (typeof keyFile !== 'string' || !keyFile))
    throw invalidValue('connect: keyFile', 'a path', keyFile);
  if (keyFile !== undefined && (options.keypair || options.identity))
    throw new ValidationError('connect: keyFile cannot be combined with keypair or identity');
  if (webrtc !== undefined && options.rtcPeerConnection)
    throw new ValidationError('connect: pass webrtc or rtcPeerConnection, not both');
  const found = options.rtcPeerConnection ? undefined : await findWebRtc(webrtc);
  const proxy = unusedProxy(options.apiUrl);
  if (proxy && !hasWarnedOfProxy) console.warn(`rondevu: ${proxy}`);
  hasWarnedOfProxy ||= proxy !== undefined;
  return Rondevu.connect({
    ...options,
    ...(found && { rtcPeerConnection: found.RTCPeerConnection }),
    ...(keyFile !== undefined && { identity: await identityFromFile(keyFile) }),
    webSocket: options.webSocket ?? globalThis.WebSocket ?? (BoundedWebSocket as unknown as typeof globalThis.WebSocket),
    lifecycle: false,
  });
}
