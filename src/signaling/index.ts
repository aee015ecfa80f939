/** Signaling transports and the clients that use them. */
export { textOf } from './http-transport.js';
export { RondevuAPI } from './rondevu-api.js';
export { RpcClient, type CallOptions } from './rpc-client.js';
export { RpcBatcher, type BatchingOptions } from './rpc-batcher.js';
export { ServerError, type ServerFailure } from './server-error.js';
export { SignalingClient, type SignalingState } from './signaling-client.js';
