/** Connections and all they need. A chunk of its own, requested when a client is made. */
export { AnswererConnection } from './connection/answerer-connection.js';
export { count } from './connection/census.js';
export { connectionConfig } from './connection/connection-config.js';
export { WebRtcLink } from './connection/webrtc-link.js';
export * from './connection/talk.js';
export { targetOf } from './target.js';
