/**
 * Entry point `rondevu-elements/core`: the engine, plus names from the 0.20 and 0.9 Rondevu clients that are kept only for
 * compatibility.
 */
export * from './index.js';
export { AsyncLock } from './base/async-lock.js';
export { NodeCryptoAdapter, WebCryptoAdapter } from './identity/index.js';
export { RondevuAPI, RpcBatcher } from './signaling/index.js';
export { OffererConnection } from './connection/offerer-connection.js';
export { RondevuChannel, RondevuChannel as DurableChannel } from './connection/channel.js';
export { DurableConnection } from './legacy/durable/durable-connection.js';
export { DurableService } from './legacy/durable/durable-service.js';
export { RondevuAuth, RondevuUsername } from './legacy/accounts.js';
export { LegacyMessageBuffer as MessageBuffer } from './legacy/message-buffer.js';
