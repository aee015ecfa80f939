/**
 * Two sessions connected by a wire that the test controls: frames wait until the test forwards them, and are lost when the test
 * cuts the wire. As on a real link, each of the two channels preserves order, but there is no order between the channels.
 */
import type { DeliveryPort } from '../../src/delivery/delivery-port.js';
import { Session, type Allowances } from '../../src/delivery/session.js';
import type { BufferedMessage, MessageData } from '../../src/delivery/message-buffer.js';

export type Side = 'a' | 'b';
const OTHER = { a: 'b', b: 'a' } as const;

export class Port implements DeliveryPort {
  readonly framed: boolean;
  isOpen = true;
  isAlive = true;
  readonly maxMessageSize = 262_144;
  bufferedAmount = 0;
  onLow: (() => void) | undefined;
  readonly data: (string | ArrayBuffer)[] = [];
  readonly controls: string[] = [];
  /** Number of frames that are accepted before `send` throws. */
  accepts = Infinity;

  constructor(framed = true) {
    this.framed = framed;
  }

  send(data: string | ArrayBuffer | Uint8Array): void {
    if (this.accepts-- <= 0) throw new Error('the channel is closing');
    // copies the bytes immediately, like a real channel: the caller may reuse its buffer
    this.data.push(typeof data === 'string' ? data : new Uint8Array(data).slice().buffer);
    this.bufferedAmount += typeof data === 'string' ? data.length : data.byteLength;
  }

  control(text: string): void {
    if (this.isOpen) this.controls.push(text);
  }
}

export class End {
  session: Session;
  port: Port | undefined;
  readonly got: (string | ArrayBuffer)[] = [];
  readonly outcomes = new Map<string, string>();
  readonly verdicts: string[] = [];
  lost: BufferedMessage[] = [];
  errors: string[] = [];
  unsent: string[] = [];
  /** Whether the application has a message listener. */
  listens = true;
  finished = false;
  #count = 0;

  constructor(sid: string, maxMessageSize = 1 << 26, allowances?: Allowances) {
    this.session = new Session(
      sid,
      { maxMessageSize, maxQueuedBytes: Infinity },
      {
        onMessage: (data) => void this.got.push(data),
        hasListener: () => this.listens,
        onUnsent: (_message, { message }) => void this.unsent.push(message),
        onReady: (verdict, lost) => {
          this.verdicts.push(verdict);
          this.lost.push(...lost);
        },
        onDone: ({ id }, outcome) => {
          if (this.outcomes.has(id)) this.errors.push(`message ${id} has two outcomes`);
          this.outcomes.set(id, outcome);
        },
        onFin: () => (this.finished = true),
        onGap: (reason) => void this.errors.push(reason),
        onError: ({ message }) => void this.errors.push(message),
      },
      allowances,
    );
  }

  send(data: MessageData): string {
    const id = `${++this.#count}`;
    this.session.send({ id, data, timestamp: 0, attempts: 0 });
    void this.session.drained(); // sends the message immediately, not in a microtask
    return id;
  }
}

export class Wire {
  readonly ends: Record<Side, End>;
  /** Ports of earlier links, in order. */
  readonly #old: Record<Side, Port[]> = { a: [], b: [] };

  constructor(a = new End('sid'), b = new End('sid')) {
    this.ends = { a, b };
  }

  /** Connects a new link; frames in flight on the old link are lost. */
  connect(framed = true): void {
    this.cut();
    for (const side of ['a', 'b'] as const) {
      this.ends[side].port = new Port(framed);
      this.ends[side].session.attach(this.ends[side].port!);
    }
  }

  cut(sides: Side[] = ['a', 'b']): void {
    for (const side of sides) {
      const end = this.ends[side];
      if (end.port) {
        end.port.isOpen = false;
        this.#old[side].push(end.port);
      } else this.#old[side].push(new Port());
      end.port = undefined;
      end.session.detach();
    }
  }

  /** Delivers a frame and a control message that were in flight on an earlier link. */
  late(to: Side, index: number): void {
    const from = this.#old[OTHER[to]];
    const port = from[index % Math.max(1, from.length)];
    const target = this.#old[to][index % Math.max(1, from.length)];
    if (!port || !target) return;
    const frame = port.data.shift();
    if (frame !== undefined) this.ends[to].session.receive(frame, target);
    const text = port.controls.shift();
    if (text !== undefined) this.ends[to].session.control(text, target);
  }

  /** Forwards up to `data` frames and `control` control messages from one end. @returns whether anything was forwarded */
  pass(from: Side, data: number, control = data): boolean {
    const port = this.ends[from].port;
    const to = this.ends[OTHER[from]];
    if (!port) return false;
    let moved = false;
    for (let i = 0; i < data && port.data.length && to.port; i++) {
      const frame = port.data.shift()!;
      port.bufferedAmount -= typeof frame === 'string' ? frame.length : frame.byteLength;
      to.session.receive(frame, to.port);
      moved = true;
      port.onLow?.();
    }
    for (let i = 0; i < control && port.controls.length && to.port; i++) {
      to.session.control(port.controls.shift()!, to.port);
      moved = true;
    }
    return moved;
  }

  /** Forwards everything until both ends are idle. @param tick advances the acknowledgement timers */
  settle(tick: () => void): void {
    for (let quiet = 0; quiet < 2;) {
      const moved = [this.pass('a', Infinity), this.pass('b', Infinity)].some(Boolean);
      quiet = moved ? 0 : quiet + 1;
      tick();
    }
  }
}
