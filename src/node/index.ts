/** `rondevu-elements/node`: the engine with everything that a Node program needs. */
export * from '../core.js';
export { connect, type NodeOptions } from './connect.js';
export { findWebRtc, WEBRTC_PACKAGES, type WebRtc, type WebRtcPackage } from './webrtc.js';
export { identityFromFile, readIdentity, writeIdentity } from './key-file.js';
export { unusedProxy } from './proxy.js';
export { answersUdp } from './stun-probe.js';
export { closeOnSignal, type ShutdownOptions } from './shutdown.js';
