/** Connections and their dependencies. A separate chunk, requested when a client is made. */
export { AnswererConnection } from './connection/answerer-connection.js';
export { count } from './connection/census.js';
export { connectionConfig } from './connection/connection-config.js';
export { WebRtcLink } from './connection/webrtc-link.js';
export * from './connection/link-runtime.js';
export { targetOf } from './target.js';
