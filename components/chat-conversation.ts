/**
 * ChatConversation: the messages of a chat over a service or a connection. Encodes and decodes the chat's JSON, and relays
 * messages in a group. A group host identifies authors by their link, never by the name in a message. This class contains no
 * DOM code: rondevu-chat.ts renders the messages.
 */
import { ChatRates, authorOf, cleanName, parseChatMessage, type ChatMessage } from '../src/protocol/chat.js';
import type { IdentityChangedError, Peer, RondevuConnection, SendHandle } from '../src/index.js';
import type { RondevuConnectEventDetails, RondevuServiceEventDetails } from './events.js';
import type { RondevuConnect } from './rondevu-connect.js';
import type { RondevuService } from './rondevu-service.js';
import { sendToAll } from './send-to-all.js';

export type ChatSource = RondevuService | RondevuConnect;

/**
 * Delivery status of a message from the local user. `nobody`: not sent, because there are no peers; `partly`: not sent to some
 * of the peers.
 */
type DeliveryStatus = 'waiting' | 'sent' | 'delivered' | 'failed' | 'nobody' | 'partly';

export interface ChatEntry {
  readonly key: number;
  readonly kind: 'own' | 'other' | 'joined' | 'left';
  /** Sanitized name of the author; empty for messages from the local user. */
  readonly author: string;
  /** Name of the peer that relayed the message; undefined if the author sent it directly. */
  readonly via?: string | undefined;
  readonly text: string;
  /** ms */
  readonly time: number;
  status?: DeliveryStatus;
  /** Names of the peers to which the message could not be sent. */
  missed?: string[];
}

export interface ChatConversationHooks {
  onEntry(entry: ChatEntry): void;
  /** Called when the status of an entry, the state or the number of members changes. */
  onChange(): void;
  /** Called when a message arrives that is not a chat message. */
  onOther(data: string | ArrayBuffer, peer: Peer): void;
}

const PIN_LENGTH = 22;

export class ChatConversation {
  readonly source: ChatSource;
  readonly #hooks: ChatConversationHooks;
  readonly #listeners: [string, (event: Event) => void][] = [];
  readonly #rates = new ChatRates((text) => console.warn(`rondevu: ${text}`));
  readonly #waiting = new Set<ChatEntry>();
  /** Error for the changed key that the user has chosen to trust. */
  #trusted: IdentityChangedError | undefined;
  #nextKey = 1;

  constructor(source: ChatSource, hooks: ChatConversationHooks) {
    this.source = source;
    this.#hooks = hooks;
    const onChange = () => hooks.onChange();
    if (isGroup(source)) {
      const listen = this.#listenerOf<RondevuServiceEventDetails>();
      listen('rondevu-state', ({ to }) => this.#stateChanged(to));
      listen('rondevu-error', onChange);
      listen('rondevu-message', ({ data, peer, connection }) => this.#receive(data, peer, connection));
      listen('rondevu-connection', ({ peer }) => this.#note('joined', peer));
      listen('rondevu-left', ({ peer }) => this.#note('left', peer));
      listen('rondevu-disconnected', onChange);
      listen('rondevu-reconnected', () => this.#flushed());
    } else {
      const listen = this.#listenerOf<RondevuConnectEventDetails>();
      const onUp = () => (this.#flushed(), this.#identify());
      listen('rondevu-state', ({ to }) => this.#stateChanged(to));
      listen('rondevu-error', onChange);
      listen('rondevu-message', ({ data, peer }) => this.#receive(data, peer, undefined));
      listen('rondevu-open', onUp);
      listen('rondevu-reconnected', onUp);
      listen('rondevu-buffered', onChange);
      listen('rondevu-close', onChange);
      if (source.connection?.isConnected()) this.#identify();
    }
  }

  #stateChanged(to: string): void {
    if (to === 'failed') for (const entry of this.#waiting) entry.status = 'failed';
    this.#hooks.onChange();
  }

  /** Number of participants, including the local user. */
  get members(): number {
    const { source } = this;
    if (!isGroup(source)) return source.state === 'connected' ? 2 : 0;
    // connections persist while the signaling server is unreachable
    return source.peerCount + (source.state === 'live' || source.peerCount ? 1 : 0);
  }

  /** The error for a peer that presents a different key than before, if the user is allowed to trust the new key. */
  get changedKey(): IdentityChangedError | undefined {
    const { error } = this.source;
    // a failed reconnection attempt reports its own error, with the changed key as the cause
    // `instanceof` fails if the source belongs to a second bundle on the page
    const isChange = (each: unknown): each is IdentityChangedError =>
      typeof (each as Partial<IdentityChangedError> | undefined)?.old === 'string';
    const changed = [error, error?.cause].find(isChange);
    // a pin in the address is never overridden: the user must change the address
    return changed && changed !== this.#trusted && changed.old.length > PIN_LENGTH ? changed : undefined;
  }

  /** Local username; empty while the source has no client. */
  get ownName(): string {
    return this.source.rondevu?.getUsername() ?? '';
  }

  send(text: string): ChatEntry {
    const message = this.#encode({ type: 'message', text, from: this.ownName });
    const entry: ChatEntry = { key: this.#nextKey++, kind: 'own', author: '', text, time: Date.now(), status: 'sent' };
    this.#dispatch(entry, message);
    this.#hooks.onEntry(entry);
    return entry;
  }

  /** Removes all listeners from the source; displayed messages remain. */
  end(): void {
    for (const [name, listener] of this.#listeners) (this.source as EventTarget).removeEventListener(name, listener);
  }

  /** Pins the peer's new key after the user has accepted it, and connects again. */
  async trust(): Promise<void> {
    const { changedKey, source } = this;
    if (!changedKey || isGroup(source)) return;
    await source.rondevu?.trust(changedKey.username, changedKey.new);
    this.#trusted = changedKey;
    await source.connect();
    this.#hooks.onChange();
  }

  /** Sends a message to the peer (in a group, to everyone) and tracks its delivery. */
  #dispatch(entry: ChatEntry, message: string): void {
    const { source } = this;
    if (!isGroup(source)) {
      try {
        const handle = source.send(message);
        if (source.state === 'failed') entry.status = 'failed';
        else if (source.state !== 'connected') this.#wait(entry);
        this.#track(entry, [handle]);
      } catch (error) {
        this.#refused(entry, error);
      }
      return;
    }
    const { connections, peerCount } = source;
    const { sent, failures } = sendToAll(connections, message);
    for (const { error } of failures) this.#refused(entry, error);
    if (!connections.length) entry.status = /^(live|reconnecting)$/.test(source.state) ? 'nobody' : 'failed';
    else if (sent.length && failures.length) {
      entry.status = 'partly';
      entry.missed = failures.map(({ connection }) => cleanName(connection.peer?.username ?? ''));
    } else if (sent.length) {
      if (!peerCount) this.#wait(entry);
      this.#track(entry, sent);
    }
  }

  #refused(entry: ChatEntry, error: unknown): void {
    console.warn('rondevu: a chat message was not sent', error);
    entry.status = 'failed';
  }

  /** Marks a message as waiting for the link. */
  #wait(entry: ChatEntry): void {
    entry.status = 'waiting';
    this.#waiting.add(entry);
  }

  #track(entry: ChatEntry, handles: SendHandle[]): void {
    void Promise.all(handles.map(({ delivered }) => delivered)).then((outcomes) => {
      this.#waiting.delete(entry);
      const failed = outcomes.some((outcome) => outcome === 'expired' || outcome === 'dropped');
      const arrived = outcomes.every((outcome) => outcome === 'delivered');
      // older peers do not acknowledge messages, so the status remains `sent`
      entry.status = failed ? 'failed' : arrived ? 'delivered' : 'sent';
      this.#hooks.onChange();
    });
  }

  /** Marks waiting messages as sent once the link is up. */
  #flushed(): void {
    for (const entry of this.#waiting) entry.status = 'sent';
    this.#waiting.clear();
    this.#hooks.onChange();
  }

  #receive(data: string | ArrayBuffer, peer: Peer, connection: RondevuConnection | undefined): void {
    const message = parseChatMessage(data);
    if (!message) return this.#hooks.onOther(data, peer);
    if (!this.#rates.allows(peer.username)) return;
    if (message.type === 'identify') {
      this.#try(() => connection?.send(this.#encode({ type: 'identify_ack', from: this.ownName })));
    } else if (message.type === 'message' && typeof message.text === 'string') {
      const { text } = message;
      // only the host of a group relays messages from other members
      const inGroup = isGroup(this.source);
      const written = inGroup ? { author: cleanName(peer.username) } : authorOf(message, peer.username);
      this.#hooks.onEntry({ key: this.#nextKey++, kind: 'other', ...written, text, time: Date.now() });
      if (inGroup) this.#relay(text, written.author, connection);
    }
  }

  #relay(text: string, from: string, origin: RondevuConnection | undefined): void {
    const message = this.#encode({ type: 'message', text, from });
    const others = (this.source as RondevuService).connections.filter((each) => each !== origin);
    for (const { connection, error } of sendToAll(others, message).failures)
      console.warn(`rondevu: cannot forward a chat message to ${connection.peer?.username}`, error);
  }

  #identify(): void {
    this.#try(() => (this.source as RondevuConnect).send(this.#encode({ type: 'identify', from: this.ownName })));
    this.#hooks.onChange();
  }

  /** Sends an identification message and ignores failures: identification is repeated on the next link. */
  #try(send: () => unknown): void {
    try {
      send();
    } catch {
      // the connection is closed, or its queue is full
    }
  }

  #encode(message: ChatMessage): string {
    const publicKey = message.type === 'message' ? {} : { publicKey: this.source.rondevu?.getPublicKey() };
    return JSON.stringify({ ...message, ...publicKey });
  }

  #note(kind: 'joined' | 'left', peer: Peer): void {
    this.#hooks.onEntry({ key: this.#nextKey++, kind, author: cleanName(peer.username), text: '', time: Date.now() });
  }

  /** Returns a function that adds typed listeners for events that the source itself dispatches. */
  #listenerOf<Details>() {
    return <Name extends keyof Details & string>(name: Name, handle: (detail: Details[Name]) => void): void => {
      const listener = (event: Event): void => {
        // events of nested elements bubble up to the source
        if (event.target === this.source) handle((event as CustomEvent<Details[Name]>).detail);
      };
      (this.source as EventTarget).addEventListener(name, listener);
      this.#listeners.push([name, listener]);
    };
  }
}

/** Whether the source is a service, which can have several peers. */
export const isGroup = (source: ChatSource): source is RondevuService => 'broadcast' in source;
