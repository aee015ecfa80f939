/**
 * The control channel: a negotiated data channel (id 100) beside the one for messages. Two of ours ask each other on it for a
 * sign of life, acknowledge, and renegotiate; a peer that is not ours never sees it open. docs/protocol.md, "Control channel".
 */

/** Fixed by docs/protocol.md, so that neither side has to announce it. */
const CONTROL_ID = 100;
const PING = 'ping';
const PONG = 'pong';

export class ControlChannel {
  readonly #channel: RTCDataChannel;
  #waiting: (() => void)[] = [];
  /** What was said before the channel opened. */
  #early: string[] = [];
  /** What came beyond signs of life. */
  onText: ((text: string) => void) | undefined;
  /** Anything came. */
  onLife: (() => void) | undefined;

  constructor(pc: RTCPeerConnection) {
    this.#channel = pc.createDataChannel('rondevu-control', { negotiated: true, id: CONTROL_ID });
    this.#channel.onmessage = ({ data }) => {
      this.onLife?.();
      // answered here and not from a timer: timers of background pages are held back
      if (data === PING) this.send(PONG);
      else if (data === PONG) for (const resolve of this.#waiting.splice(0)) resolve();
      else if (typeof data === 'string') this.onText?.(data);
    };
    // it opens a moment before or after the channel for messages
    this.#channel.onopen = () => {
      for (const text of this.#early.splice(0)) this.send(text);
    };
  }

  ping(): void {
    this.send(PING);
  }

  /** Whether the other side answered within `ms`. */
  probe(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#waiting.push(() => (clearTimeout(timer), resolve(true)));
      this.ping();
    });
  }

  send(text: string): void {
    if (this.#channel.readyState === 'connecting') this.#early.push(text);
    if (this.#channel.readyState !== 'open') return;
    try {
      this.#channel.send(text);
    } catch {
      // closing under us; who waits for an answer finds out by its timer
    }
  }

  close(): void {
    this.#channel.onmessage = this.#channel.onopen = null;
    this.#channel.close();
  }
}
