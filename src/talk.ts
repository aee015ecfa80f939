/** Connections and all they need. A chunk of its own, requested when a client is made. */
export { AnswererConnection } from './connection/answerer-connection.js';
export { count } from './connection/census.js';
export { connectionConfig } from './connection/connection-config.js';
export { Link } from './connection/link.js';
export * from './connection/talk.js';
export { targetOf } from './target.js';
