/**
 * A conversation over a service or a connection: reads and writes the chat's JSON, relays in a group, says who wrote from the
 * link and never from the message. Knows no document; rondevu-chat.ts shows it.
 */
import { ChatRates, authorOf, cleanName, parseChatMessage, type ChatMessage } from '../src/protocol/chat.js';
import { IdentityChangedError, type Peer, type RondevuConnection, type SendHandle } from '../src/index.js';
import type { RondevuConnect } from './rondevu-connect.js';
import type { RondevuService } from './rondevu-service.js';

export type ChatSource = RondevuService | RondevuConnect;

/** How an own message fares. */
export type DeliveryStatus = 'waiting' | 'sent' | 'delivered' | 'failed';

export interface ChatEntry {
  readonly key: number;
  readonly kind: 'own' | 'other' | 'joined' | 'left';
  /** Who wrote, cleaned; empty for own messages. */
  readonly author: string;
  /** Who passed it on, when it was not written by the peer itself. */
  readonly via?: string | undefined;
  readonly text: string;
  /** ms */
  readonly time: number;
  status?: DeliveryStatus;
}

export interface ConversationHooks {
  onEntry(entry: ChatEntry): void;
  /** An entry's status, the state or the members changed. */
  onChange(): void;
  /** Something that is not the chat's. */
  onOther(data: string | ArrayBuffer, peer: Peer | undefined): void;
}

const PIN_LENGTH = 22;

export class Conversation {
  readonly source: ChatSource;
  readonly #hooks: ConversationHooks;
  readonly #listeners: [string, (event: Event) => void][] = [];
  readonly #rates = new ChatRates((text) => console.warn(`rondevu: ${text}`));
  readonly #waiting = new Set<ChatEntry>();
  /** The peer shows another key than before. */
  changedKey: IdentityChangedError | undefined;
  #nextKey = 1;

  constructor(source: ChatSource, hooks: ConversationHooks) {
    this.source = source;
    this.#hooks = hooks;
    this.#listen('rondevu-state', () => hooks.onChange());
    this.#listen('rondevu-message', ({ data, peer, connection }) =>
      this.#receive(data as string | ArrayBuffer, peer as Peer, connection as RondevuConnection | undefined),
    );
    if (isGroup(source)) {
      this.#listen('rondevu-connection', ({ peer }) => this.#note('joined', peer as Peer));
      this.#listen('rondevu-left', ({ peer }) => this.#note('left', peer as Peer));
      this.#listen('rondevu-disconnected', () => hooks.onChange());
      this.#listen('rondevu-reconnected', () => hooks.onChange());
    } else {
      this.#listen('rondevu-open', () => this.#flushed());
      this.#listen('rondevu-reconnected', () => this.#flushed());
      this.#listen('rondevu-buffered', () => hooks.onChange());
      this.#listen('rondevu-close', () => hooks.onChange());
      this.#listen('rondevu-error', ({ error }) => {
        // a pin in the address is never overridden: then it is the address that must change
        if (error instanceof IdentityChangedError && error.old.length > PIN_LENGTH) this.changedKey = error;
        hooks.onChange();
      });
      if (source.connection?.isConnected()) this.#identify();
    }
  }

  /** People here, ourselves included. */
  get members(): number {
    if (isGroup(this.source)) return this.source.peerCount + (this.source.state === 'live' ? 1 : 0);
    return this.source.state === 'connected' ? 2 : 0;
  }

  /** Who passes messages on, in a group that another hosts. */
  get ownName(): string {
    return this.source.rondevu?.getUsername() ?? '';
  }

  send(text: string): ChatEntry {
    const message = this.#encode({ type: 'message', text, from: this.ownName });
    const entry: ChatEntry = { key: this.#nextKey++, kind: 'own', author: '', text, time: Date.now(), status: 'sent' };
    try {
      this.#track(entry, this.#dispatch(message));
    } catch (error) {
      console.warn('rondevu: a chat message was not sent', error);
      entry.status = 'failed';
    }
    this.#hooks.onEntry(entry);
    return entry;
  }

  /** Stops listening; what was shown stays. */
  end(): void {
    for (const [name, listener] of this.#listeners) this.source.removeEventListener(name, listener);
  }

  /** Pins the new key of a peer, as the user wishes, and tries again. */
  async trust(): Promise<void> {
    const { changedKey, source } = this;
    if (!changedKey || isGroup(source)) return;
    await source.rondevu?.trust(changedKey.username, changedKey.new);
    this.changedKey = undefined;
    await source.connect();
    this.#hooks.onChange();
  }

  /** Hands a message to whom it is for; in a group to everyone. */
  #dispatch(message: string): SendHandle[] {
    return isGroup(this.source) ? this.source.connections.map((each) => each.send(message)) : [this.source.send(message)];
  }

  /** An own message shows how it fares. */
  #track(entry: ChatEntry, handles: SendHandle[]): void {
    if (!isGroup(this.source) && this.source.state !== 'connected') {
      entry.status = 'waiting';
      this.#waiting.add(entry);
    }
    if (!handles.length) return;
    void Promise.all(handles.map(({ delivered }) => delivered)).then((outcomes) => {
      this.#waiting.delete(entry);
      const failed = outcomes.some((outcome) => outcome === 'expired' || outcome === 'dropped');
      const arrived = outcomes.every((outcome) => outcome === 'delivered');
      // of what an old peer got nobody knows more than that it was sent
      entry.status = failed ? 'failed' : arrived ? 'delivered' : 'sent';
      this.#hooks.onChange();
    });
  }

  /** The link is there, and what waited for it has gone. */
  #flushed(): void {
    for (const entry of this.#waiting) entry.status = 'sent';
    this.#waiting.clear();
    this.#identify();
  }

  #receive(data: string | ArrayBuffer, peer: Peer, connection: RondevuConnection | undefined): void {
    const message = parseChatMessage(data);
    if (!message) return this.#hooks.onOther(data, peer);
    if (!this.#rates.mayTalk(peer.username)) return;
    if (message.type === 'identify') {
      connection?.send(this.#encode({ type: 'identify_ack', from: this.ownName }));
    } else if (message.type === 'message' && typeof message.text === 'string') {
      const { text } = message;
      // only the host of a group passes others' words on
      const inGroup = isGroup(this.source);
      const written = inGroup ? { author: cleanName(peer.username) } : authorOf(message, peer.username);
      this.#hooks.onEntry({ key: this.#nextKey++, kind: 'other', ...written, text, time: Date.now() });
      if (inGroup) this.#relay(text, written.author, connection);
    }
  }

  #relay(text: string, from: string, origin: RondevuConnection | undefined): void {
    const message = this.#encode({ type: 'message', text, from });
    for (const connection of (this.source as RondevuService).connections) {
      if (connection === origin) continue;
      try {
        connection.send(message);
      } catch (error) {
        console.warn(`rondevu: a chat message was not passed on to ${connection.peer?.username}`, error);
      }
    }
  }

  #identify(): void {
    try {
      (this.source as RondevuConnect).send(this.#encode({ type: 'identify', from: this.ownName }));
    } catch {
      // closed again already; the next link identifies anew
    }
    this.#hooks.onChange();
  }

  #encode(message: ChatMessage): string {
    const publicKey = message.type === 'message' ? {} : { publicKey: this.source.rondevu?.getPublicKey() };
    return JSON.stringify({ ...message, ...publicKey });
  }

  #note(kind: 'joined' | 'left', peer: Peer): void {
    this.#hooks.onEntry({ key: this.#nextKey++, kind, author: cleanName(peer.username), text: '', time: Date.now() });
  }

  #listen(name: string, handle: (detail: Record<string, unknown>) => void): void {
    const listener = (event: Event): void => {
      // events of elements further in bubble up to the source and are not its own
      if (event.target === this.source) handle((event as CustomEvent<Record<string, unknown>>).detail);
    };
    this.source.addEventListener(name, listener);
    this.#listeners.push([name, listener]);
  }
}

/** Whether many can be at the other end. */
export const isGroup = (source: ChatSource): source is RondevuService => 'broadcast' in source;
