/** Connections and their dependencies. A separate chunk, requested when a client is made. */
export { AnswererConnection } from './connection/answerer-connection.js';
export { connectionConfig } from './connection/connection-config.js';
export * from './connection/link-runtime.js';
export { LinkFactory } from './link-factory.js';
export { targetOf } from './target.js';
