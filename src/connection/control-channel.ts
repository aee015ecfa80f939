/**
 * The control channel: a negotiated data channel (id 100) beside the one for messages, over which two of ours ask each
 * other for a sign of life and say that this is the end. A peer that is not ours never answers on it, and never sees it open.
 */

/** Fixed by docs/protocol.md, so that neither side has to announce it. */
const CONTROL_ID = 100;
const PING = 'ping';
const PONG = 'pong';
const FIN = 'fin';

export class ControlChannel {
  readonly #channel: RTCDataChannel;
  #waiting: (() => void)[] = [];
  /** Whether the other side said that it closes for good. */
  peerEnds = false;

  constructor(pc: RTCPeerConnection) {
    this.#channel = pc.createDataChannel('rondevu-control', { negotiated: true, id: CONTROL_ID });
    this.#channel.onmessage = ({ data }) => {
      // answered here and not from a timer: timers of background pages are held back
      if (data === FIN) this.peerEnds = true;
      if (data === PING || data === FIN) this.#send(PONG);
      else if (data === PONG) for (const resolve of this.#waiting.splice(0)) resolve();
    };
  }

  /** Whether the other side answered within `ms`. */
  probe(ms: number): Promise<boolean> {
    return this.#ask(PING, ms);
  }

  /** Says that this is the end, and waits until the other side has heard it, `ms` at the most. */
  finish(ms: number): Promise<boolean> {
    return this.#ask(FIN, ms);
  }

  close(): void {
    this.#channel.onmessage = this.#channel.onopen = null;
    this.#channel.close();
  }

  #ask(text: string, ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#waiting.push(() => (clearTimeout(timer), resolve(true)));
      this.#send(text);
    });
  }

  #send(text: string): void {
    // it opens a moment before or after the channel for messages
    if (this.#channel.readyState === 'connecting') this.#channel.onopen = () => this.#send(text);
    if (this.#channel.readyState !== 'open') return;
    try {
      this.#channel.send(text);
    } catch {
      // closing under us; whoever waits will find out by its timer
    }
  }
}
