/** The wire protocol, exported together: everything on which clients and servers must agree, without network code. */
export * from './anonymous.js';
export * from './json.js';
export * from './message.js';
export * from './rpc.js';
export * from './sdp.js';
export * from './sdp-line.js';
export * from './service-name.js';
export { escapeUnprintable, printable } from '../base/printable.js';
export { RondevuError, ValidationError, quote } from '../errors.js';
export type { ErrorCode } from '../errors.js';
export type { Bytes } from '../base/bytes.js';
