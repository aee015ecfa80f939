/**
 * Exports everything that a connection needs once its link is up. This chunk is separate so that a page can load it while the
 * server looks for an offer. The chunk must be complete, because nothing more can be loaded if the network fails.
 */
export { ConnectionEndpoint } from './connection-endpoint.js';
export { finish } from './finish.js';
export { renegotiationOf, type Renegotiation } from './renegotiation.js';
