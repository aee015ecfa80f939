/**
 * Everything that a connection needs once its link is up. Separate from the rest, so that a page loads it while the server looks
 * for an offer, and complete: when a path is lost it is too late to load anything.
 */
export { ConnectionEndpoint } from './connection-endpoint.js';
export { finish } from './finish.js';
export { renegotiationOf, type Renegotiation } from './renegotiation.js';
