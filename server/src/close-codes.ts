/** WebSocket close codes that the server sends; see "Close codes" in docs/protocol.md. */

/** Codes below 4000 are defined in RFC 6455 section 7.4.1; section 7.4.2 leaves 4000–4999 to applications. */
export const CLOSE = {
  stopping: 1001,
  notJson: 1003,
  /** Sent by `ws` itself, for a message of more than MAX_FRAGMENTS fragments. */
  fragments: 1008,
  /** Also sent by `ws` itself, for a frame that is too large. */
  tooLarge: 1009,
  noSession: 4401,
  nameLost: 4403,
  silent: 4408,
  replaced: 4409,
  tooMuch: 4429,
} as const;

/** Code with which browsers close their sockets when the user leaves the page. */
export const PAGE_LEFT = 1001;
