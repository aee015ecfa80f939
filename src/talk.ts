/** What a client needs beyond a first page load: of connections, and of looking services up. A chunk of its own. */
export * from './connection/talk.js';
export { findService, targetOf } from './lookup.js';
