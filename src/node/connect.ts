/**
 * `connect`: a client with all that a program in Node needs, and nothing put into globals.
 */
import { WebSocket } from 'ws';
import { ValidationError, mustBe } from '../errors.js';
import { Rondevu } from '../rondevu.js';
import type { RondevuOptions } from '../options.js';
import { identityFromFile } from './key-file.js';
import { unusedProxy } from './proxy.js';
import { MAX_SERVER_FRAME } from '../protocol/rpc.js';
import { findWebRtc, type WebRtcPackage } from './webrtc.js';

let hasWarnedOfProxy = false;

/** `ws` takes frames of 100 MiB, and compressed ones, unless it is told otherwise: a server that lies would pay little for much. */
class BoundedWebSocket extends WebSocket {
  constructor(url: string | URL, protocols?: string | string[]) {
    super(url, protocols, { maxPayload: MAX_SERVER_FRAME, perMessageDeflate: false });
  }
}

export interface NodeOptions extends Omit<RondevuOptions, 'lifecycle'> {
  /**
   * The package to take WebRTC from. Default: the first that is installed of node-datachannel, `@roamhq/wrtc`, werift. One that is passed as
   * `rtcPeerConnection` is taken as it is.
   */
  webrtc?: WebRtcPackage;
  /**
   * Path of the file that the identity is kept in, made with mode 600 when it is missing. Default: none, and a fresh identity each
   * time; then a username is `name-taken` the next time.
   */
  keyFile?: string;
}

/**
 * `Rondevu.connect` for Node: with a WebRTC implementation that is installed, a WebSocket, and the identity from a file. No network
 * call is made here. Warns once where the environment names an HTTP proxy that Node does not use.
 * @throws RondevuError `unsupported` with the command that installs WebRTC where there is none; ValidationError for a bad option, quoting
 *   it, or a key file that others may read; RondevuError `unavailable` for one that cannot be read or written
 */
export async function connect({ webrtc, keyFile, ...options }: NodeOptions): Promise<Rondevu> {
  if (keyFile !== undefined && (typeof keyFile !== 'string' || !keyFile)) throw mustBe('connect: keyFile', 'a path', keyFile);
  if (keyFile !== undefined && (options.keypair || options.identity))
    throw new ValidationError('connect: keyFile excludes keypair and identity');
  if (webrtc !== undefined && options.rtcPeerConnection)
    throw new ValidationError('connect: webrtc names a package, and rtcPeerConnection is one already: pass one of the two');
  const found = options.rtcPeerConnection ? undefined : await findWebRtc(webrtc);
  const proxy = unusedProxy(options.apiUrl);
  if (proxy && !hasWarnedOfProxy) console.warn(`rondevu: ${proxy}`);
  hasWarnedOfProxy ||= proxy !== undefined;
  return Rondevu.connect({
    ...options,
    ...(found && { rtcPeerConnection: found.RTCPeerConnection, rtcIceCandidate: found.RTCIceCandidate }),
    ...(keyFile !== undefined && { identity: await identityFromFile(keyFile) }),
    webSocket: options.webSocket ?? globalThis.WebSocket ?? (BoundedWebSocket as unknown as typeof globalThis.WebSocket),
    lifecycle: false,
  });
}
