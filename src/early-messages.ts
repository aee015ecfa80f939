/**
 * Buffers messages that `<rondevu-connect>` sends before its connection exists (while the engine and the key are being loaded).
 * The messages are composed, validated, copied and limited by the same code as in a connection, and are later passed to the
 * connection with their ids and handles.
 */
import { connectionConfig, type ConnectionConfig } from './connection/connection-config.js';
import { Backlog } from './delivery/backlog.js';
import { composeMessage, type Message, type MessageData, type SendHandle } from './delivery/message-buffer.js';
import { RondevuError } from './errors.js';

export interface EarlyHandlers {
  onBuffered(data: MessageData): void;
  /** Called when the number of buffered messages changes. */
  onQueueSize(size: number): void;
}

const nothing = (): void => undefined;

export class EarlyMessages {
  readonly #config: ConnectionConfig;
  readonly #handlers: EarlyHandlers;
  readonly #backlog: Backlog;
  #lastId = 0;

  /** @throws ValidationError if an option is invalid */
  constructor(options: Partial<ConnectionConfig>, handlers: EarlyHandlers) {
    const config = (this.#config = connectionConfig(options));
    this.#handlers = handlers;
    this.#backlog = new Backlog(
      { maxSize: config.maxBufferSize, maxAge: config.maxBufferAge },
      { onExpired: nothing, onOverflow: nothing, ...handlers },
    );
  }

  /** @throws the same errors as `RondevuConnection.send` while no link is up */
  send(data: unknown): SendHandle {
    if (!this.#config.bufferEnabled)
      throw new RondevuError('not-connected', 'send: no connection yet, and bufferEnabled is false');
    const message = composeMessage(`early-${++this.#lastId}`, data, this.#config);
    this.#backlog.add(message, () => this.#handlers.onBuffered(message.data));
    return message.handle;
  }

  /** Number of buffered messages. */
  get count(): number {
    return this.#backlog.size;
  }

  /** Removes and returns the messages, oldest first. */
  takeAll(): Message[] {
    return this.#backlog.takeAll();
  }

  /** Discards all messages and reports them as dropped. */
  drop(): void {
    for (const message of this.takeAll()) message.settle('dropped');
  }
}
