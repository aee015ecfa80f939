/** Key pairs, signatures and key stores, exported together for the server and for code that imports this subpath. */
export * from './crypto-adapter.js';
export { hasNativeEd25519, isPlausiblePublicKey, isStrictPublicKey, pinOf, sha256, verify, type PrivateKey } from './ed25519.js';
export * from './handshake-proof.js';
export * from './key-store.js';
export * from './pins.js';
export * from './portable-identity.js';
export * from './signer.js';
