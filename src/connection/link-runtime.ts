/**
 * Exports everything that a connection needs once its link is up. This chunk is separate so that a page can load it while the
 * server looks for an offer. The chunk is complete because nothing more can be loaded once a path is lost.
 */
export { ConnectionEndpoint } from './connection-endpoint.js';
export { finish } from './finish.js';
export { renegotiationOf, type Renegotiation } from './renegotiation.js';
