/** Entry point `rondevu-elements`: the elements, the engine, and the low-level classes that the bundle leaves out. */
export * from './elements.js';
export * from '../src/offers/index.js';
export { AsyncLock, NodeCryptoAdapter, RondevuAPI, RpcBatcher, WebCryptoAdapter } from '../src/core.js';
