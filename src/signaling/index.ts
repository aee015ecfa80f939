/** The roads to the server. */
export { RondevuAPI, type CallOptions } from './rondevu-api.js';
export { RpcBatcher, type BatchingOptions } from './rpc-batcher.js';
export { ServerError } from './server-error.js';
export { SignalingClient, sleep, type SignalingState } from './signaling-client.js';
