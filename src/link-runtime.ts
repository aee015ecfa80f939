/** Connections and their dependencies. This module is a separate chunk, requested when a client is created. */
export { AnswererConnection } from './connection/answerer-connection.js';
export { connectionConfig } from './connection/connection-config.js';
export * from './connection/link-runtime.js';
export { LinkFactory } from './link-factory.js';
export { targetOf } from './target.js';
