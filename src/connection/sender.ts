/**
 * Sender: hands messages to a data channel in order, as fast as it takes them. Reads Blobs on the way, keeps to the water
 * marks of `bufferedAmount`, and keeps what was not handed over when a link goes.
 */
import { RondevuError } from '../errors.js';
import type { BufferedMessage } from './message-buffer.js';

/** Past 1 MiB of bufferedAmount Chromium falls to a tenth of its throughput; see docs/architecture.md. */
const HIGH_WATER = 262_144;
const LOW_WATER = 65_536;

interface Queued {
  message: BufferedMessage;
  onHanded: (() => void) | undefined;
}

export class Sender {
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #channel: RTCDataChannel | undefined;
  #pumping = false;
  #reading = false;
  readonly #drained = new Set<() => void>();

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes that wait here and in the channel. */
  get bufferedAmount(): number {
    return this.#queuedBytes + (this.#channel?.bufferedAmount ?? 0);
  }

  /** Sends on this channel from now on, what waits first. */
  use(channel: RTCDataChannel): void {
    this.#channel = channel;
    channel.bufferedAmountLowThreshold = LOW_WATER;
    channel.onbufferedamountlow = () => this.#pump();
    this.#pump();
  }

  /** The link is gone; what waits goes on waiting. */
  pause(): void {
    this.#channel = undefined;
  }

  /** @param onHanded called when the channel has taken the message */
  push(message: BufferedMessage, onHanded?: () => void): void {
    this.#queue.push({ message, onHanded });
    this.#queuedBytes += byteLength(message);
    this.#pump();
  }

  /** Resolves when nothing waits here and the channel holds less than the low water mark. */
  drained(): Promise<void> {
    if (this.#isDrained()) return Promise.resolve();
    return new Promise((resolve) => this.#drained.add(resolve));
  }

  #isDrained(): boolean {
    return this.#queue.length === 0 && (this.#channel?.bufferedAmount ?? 0) <= LOW_WATER;
  }

  #tellDrained(): void {
    if (!this.#isDrained()) return;
    for (const resolve of this.#drained) resolve();
    this.#drained.clear();
  }

  #pump(): void {
    if (this.#pumping || this.#reading) return;
    this.#pumping = true;
    try {
      let channel: RTCDataChannel | undefined;
      while (
        (channel = this.#channel) &&
        channel.readyState === 'open' &&
        this.#queue.length &&
        channel.bufferedAmount < HIGH_WATER
      ) {
        const entry = this.#queue[0]!;
        const { data } = entry.message;
        if (typeof data !== 'string' && !(data instanceof ArrayBuffer)) return void this.#readBlob(entry, data);
        entry.message.attempts++;
        if (typeof data === 'string') channel.send(data);
        else channel.send(data);
        this.#queue.shift();
        this.#queuedBytes -= byteLength(entry.message);
        entry.onHanded?.();
      }
    } catch {
      // the channel closed under us: the message stays at the head and its link is about to be told lost
    } finally {
      this.#pumping = false;
    }
    this.#tellDrained();
  }

  /** Puts a Blob's bytes in its place; a Blob that cannot be read (its file is gone) is left out, and said. */
  async #readBlob(entry: Queued, blob: Blob): Promise<void> {
    this.#reading = true;
    try {
      const data = await blob.arrayBuffer();
      if (this.#queue[0] === entry) entry.message = { ...entry.message, data };
    } catch (cause) {
      console.error(
        new RondevuError('bad-request', `a Blob of ${blob.size} bytes could not be read and was not sent`, { cause }),
      );
      if (this.#queue[0] === entry) {
        this.#queue.shift();
        this.#queuedBytes -= blob.size;
      }
    }
    this.#reading = false;
    this.#pump();
  }
}

/** The size of a message on the wire, in bytes; of text an upper bound that needs no encoding. */
export function byteLength({ data }: { data: BufferedMessage['data'] }): number {
  if (typeof data === 'string') return data.length * 3;
  return data instanceof ArrayBuffer ? data.byteLength : data.size;
}
