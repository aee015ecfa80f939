/**
 * The control channel: a negotiated data channel (id 100) alongside the message channel. If both peers run this version, they
 * use it for pings, acknowledgements and renegotiation; otherwise, the control channel never opens. See docs/protocol.md,
 * "Control channel".
 */

import { timerDelay } from '../base/timers.js';

/** Stream id fixed by docs/protocol.md, so that neither peer has to announce it. */
const CONTROL_ID = 100;
const PING = 'ping';
const PONG = 'pong';
/** Maximum length of an accepted text, in characters; a description with its candidates is about a tenth as long. */
export const MAX_TEXT = 65_536;
/** Maximum number of texts buffered until the channel opens. */
const MAX_EARLY = 1000;
/** Number of unsent bytes at which `pong` is no longer sent, because the peer is not reading the replies to its pings. */
const UNREAD = 16_384;
/** Maximum number of unsent bytes; above this limit, the link is closed because the peer is not reading. */
const MAX_UNREAD = 1_048_576;

export class ControlChannel {
  readonly #channel: RTCDataChannel;
  /** Pending probes, each waiting for a `pong`. */
  readonly #probes: ((isAlive: boolean) => void)[] = [];
  /** Texts sent before the channel opened. */
  #early: string[] = [];
  /** Called for each text other than `ping` and `pong`. */
  onText: ((text: string) => void) | undefined;
  /** Called whenever anything is received. */
  onMessage: (() => void) | undefined;
  /** Called if the peer violates the protocol or does not read from the channel. */
  onBroken: ((reason: string) => void) | undefined;

  constructor(pc: RTCPeerConnection) {
    this.#channel = pc.createDataChannel('rondevu-control', { negotiated: true, id: CONTROL_ID });
    this.#channel.onmessage = ({ data }) => {
      this.onMessage?.();
      // pings are answered here, not from a timer, because browsers throttle timers in background pages
      if (data === PING) {
        if (this.#channel.bufferedAmount < UNREAD) this.send(PONG);
      } else if (data === PONG) for (const settle of this.#probes.splice(0)) settle(true);
      else if (typeof data === 'string' && data.length <= MAX_TEXT) this.onText?.(data);
      else this.onBroken?.(`a control message must be text of at most ${MAX_TEXT} characters`);
    };
    // the control channel may open before or after the message channel
    this.#channel.onopen = () => {
      for (const text of this.#early.splice(0)) this.send(text);
    };
  }

  ping(): void {
    this.send(PING);
  }

  /** Pings the peer, and resolves to whether it replies within `ms` milliseconds. */
  probe(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timerDelay(ms));
      this.#probes.push((isAlive) => (clearTimeout(timer), resolve(isAlive)));
      this.ping();
    });
  }

  send(text: string): void {
    if (this.#channel.readyState === 'connecting' && this.#early.length < MAX_EARLY) this.#early.push(text);
    if (this.#channel.readyState !== 'open') return;
    if (this.#channel.bufferedAmount > MAX_UNREAD) return this.onBroken?.('the peer does not read its control channel');
    try {
      this.#channel.send(text);
    } catch {
      // the channel is being closed
    }
  }

  close(): void {
    this.#channel.onmessage = this.#channel.onopen = null;
    this.#channel.close();
    for (const settle of this.#probes.splice(0)) settle(false);
  }
}
