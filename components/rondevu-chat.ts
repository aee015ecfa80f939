/**
 * <rondevu-chat>: a chat over the service or connection that contains it.
 */
import { LitElement, html, nothing, type PropertyDeclarations } from 'lit';
import { cleanName } from '../src/protocol/chat.js';
import type { IceServersOption } from '../src/index.js';
import { ChatConversation, isGroup, type ChatEntry, type ChatSource } from './chat-conversation.js';
import { chatStyles } from './chat-styles.js';
import type { RondevuChatEventDetails, TypedEvents } from './events.js';
import { report } from './report.js';
import { fill, stringsFor, type Strings } from './strings.js';

export type { ChatSource } from './chat-conversation.js';

/** Distance from the end, in pixels, within which the log counts as scrolled to the end. */
const END_SLACK = 24;
const SOURCES = 'rondevu-service, rondevu-connect';
/** How long a chat may lack a source before an error is logged, in ms. */
const SOURCE_TIMEOUT = 1000;
/** Properties that are passed to a source that the chat creates. */
const SOURCE_PROPERTIES = ['apiUrl', 'username', 'identity', 'iceServers', 'to', 'service'] as const;
const UNVERIFIED = /^(unverified|identity-)/;
const NO_SOURCE = { code: 'no-source' as const, message: 'it has no source' };
/** States of a source in which no message can be sent. */
const UNUSABLE = /^(idle|closed|stopped|failed|unreachable)$/;

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging -- only overloads of inherited methods
export interface RondevuChat {
  addEventListener: TypedEvents<RondevuChatEventDetails, this>['addEventListener'];
  removeEventListener: TypedEvents<RondevuChatEventDetails, this>['removeEventListener'];
}

/**
 * A chat: a group chat that this page hosts if the source is a `<rondevu-service>`, or a chat with the peer if the source is a
 * `<rondevu-connect>`. The source is the element with the id in `for`, the nearest such ancestor, the element in the property
 * `source`, or an element that the chat creates from `to` or `service`.
 *
 * @tag rondevu-chat
 * @slot header - Content above the messages.
 * @slot empty - Replaces the text shown while there are no messages.
 * @slot status - Replaces the text of the status line.
 * @slot composer - Replaces the composer.
 * @slot footer - Content below the composer.
 *
 * @attr {string} state - State of the source, read-only.
 * @attr {number} unread - Number of new messages below the visible part, read-only.
 * @attr {number} members - Number of participants, including the local user, read-only.
 * @attr {string} error-code - Code of the source's last error, read-only.
 *
 * @csspart base - The whole chat.
 * @csspart header - Wraps the header slot.
 * @csspart log - The scrollable message log, with `role="log"`.
 * @csspart list - The list of messages.
 * @csspart message - A message; own messages also have the part `own`.
 * @csspart bubble - The text of a message.
 * @csspart author - The author of a message.
 * @csspart time - The time of a message.
 * @csspart status - The status line, with `role="status"`.
 * @csspart composer - The form with the text input and the send button.
 * @csspart input - The text input.
 * @csspart send - The send button.
 * @csspart trust - The button to trust the peer's new key, shown if the key has changed.
 *
 * @cssprop --rondevu-chat-color - Text color.
 * @cssprop --rondevu-chat-background - Background color.
 * @cssprop --rondevu-chat-accent - Color of own messages, the button and the focus ring.
 * @cssprop --rondevu-chat-radius - Corner radius.
 * @cssprop --rondevu-chat-gap - Space between parts.
 * @cssprop --rondevu-chat-font - Value of the `font` shorthand property.
 * @cssprop --rondevu-chat-max-height - Maximum height, beyond which the messages scroll.
 *
 * @fires rondevu-message - A message arrived that is not a chat message: `{data, peer}`. Does not bubble.
 * @fires rondevu-chat-message - A chat message was displayed: `{text, from, own}`. Bubbles.
 */
// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging -- only overloads of inherited methods
export class RondevuChat extends LitElement {
  /** @internal */
  static override properties: PropertyDeclarations = {
    for: { attribute: 'for' },
    name: {},
    placeholder: {},
    maxlength: { type: Number },
    history: { type: Number },
    disabled: { type: Boolean },
    readonly: { type: Boolean },
    to: {},
    service: {},
    apiUrl: { attribute: 'api-url' },
    username: {},
    identity: {},
    iceServers: { attribute: 'ice-servers' },
    source: { attribute: false },
    strings: { attribute: false },
    entries: { state: true, attribute: false },
    version: { state: true, attribute: false },
  };

  /** @internal */
  static override styles = chatStyles;
  /** @internal */
  static override shadowRootOptions = { ...LitElement.shadowRootOptions, delegatesFocus: true };

  /** Id of the `<rondevu-service>` or `<rondevu-connect>` element to use. */
  for?: string;
  /** Author label of own messages. Default: "You". */
  name = '';
  /** Placeholder of the input. */
  placeholder = '';
  /** Maximum length of a message, in characters. */
  maxlength = 4000;
  /** Maximum number of messages shown. */
  history = 500;
  /** Disables the composer. */
  disabled = false;
  /** Removes the composer. */
  readonly = false;
  /** Address to join if there is no other source. */
  to?: string;
  /** Service to publish if there is no other source. */
  service?: string;
  /** Address of the signaling server, for a source that the chat creates. */
  apiUrl?: string;
  /** Username, for a source that the chat creates. */
  username?: string;
  /** Name of the stored key, for a source that the chat creates; `none` creates a key that is not stored. */
  identity?: string;
  /** ICE servers, for a source that the chat creates: the name of a preset or, set as a property, an RTCIceServer[]. */
  iceServers?: IceServersOption;
  /** The service or connect element to use. */
  source?: ChatSource;
  /** Texts that replace the defaults in this element only. */
  strings: Partial<Strings> = {};

  private entries: readonly ChatEntry[] = [];
  private version = 0;
  #conversation: ChatConversation | undefined;
  /** The source that the chat created. */
  #own: ChatSource | undefined;
  /** The last value of `for` that matched no element. */
  #deadFor: string | undefined;
  #sourceTimer: ReturnType<typeof setTimeout> | undefined;
  #unread = 0;
  #atEnd = true;
  #scrollTop = 0;

  get #log(): HTMLElement | null {
    return this.shadowRoot?.querySelector('[part=log]') ?? null;
  }

  get #input(): HTMLTextAreaElement | null {
    return this.shadowRoot?.querySelector('textarea') ?? null;
  }

  /** State of the source. */
  get state(): string {
    return this.#conversation?.source.state ?? 'idle';
  }

  /** Number of new messages below the visible part. */
  get unread(): number {
    return this.#unread;
  }

  /** Number of participants, including the local user. */
  get members(): number {
    return this.#conversation?.members ?? 0;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    // a cloned element carries the attribute of the original
    this.#reflect('unread', this.#unread ? String(this.#unread) : undefined);
    this.#bind();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#sourceTimer);
    this.#conversation?.end();
    this.#conversation = undefined;
  }

  /** Empty on purpose: if this callback is defined, `moveBefore()` does not disconnect and reconnect the element. */
  connectedMoveCallback(): void {}

  /** Sends a message as if the user had typed it. Returns false if the text is empty or nothing can be sent. */
  send(text: string): boolean {
    const trimmed = text.trim();
    this.#bind(); // `to`, `for` or `source` may have changed since the last update
    if (!trimmed || !this.#conversation || this.disabled) return false;
    this.#atEnd = true;
    this.#conversation.send(trimmed.slice(0, this.maxlength));
    return true;
  }

  /** Removes all messages from view. */
  clear(): void {
    this.entries = [];
    this.#setUnread(0);
  }

  override focus(options?: FocusOptions): void {
    this.#input?.focus(options);
  }

  /** Scrolls to the newest message. */
  scrollToEnd(): void {
    this.#atEnd = true;
    this.#setUnread(0);
    const log = this.#log;
    if (!log) return;
    log.scrollTop = log.scrollHeight;
    this.#scrollTop = log.scrollTop;
  }

  /** @internal */
  protected override willUpdate(): void {
    this.#bind(); // runs even if the source has ended: a different element may now have its id
  }

  /** @internal */
  protected override firstUpdated(): void {
    // an on-screen keyboard or a narrower window must not hide the newest message
    if (this.#log && globalThis.ResizeObserver) new ResizeObserver(() => this.#atEnd && this.scrollToEnd()).observe(this.#log);
  }

  /** @internal */
  protected override updated(): void {
    if (this.#atEnd) this.scrollToEnd();
    this.#reflect('state', this.state);
    this.#reflect('members', this.members ? String(this.members) : undefined);
    this.#reflect('error-code', this.#conversation?.source.errorCode || undefined);
  }

  /** Finds the source, or creates or updates the chat's own source, and adds listeners to it. */
  #bind(): void {
    if (!this.isConnected) return;
    const source = this.#nearestSource() ?? this.#ownSource();
    if (source !== this.#own) this.#dropOwn();
    if (source && source === this.#conversation?.source) return;
    this.#conversation?.end();
    this.#conversation = undefined;
    this.version++;
    if (!source) {
      this.#sourceTimer ??= setTimeout(() => report(this, '', NO_SOURCE), SOURCE_TIMEOUT);
      return;
    }
    clearTimeout(this.#sourceTimer);
    if (!('errorCode' in source)) this.#bindWhenDefined(source);
    else {
      this.#conversation = new ChatConversation(source, {
        onEntry: (entry) => this.#add(entry),
        onChange: () => this.version++,
        onOther: (data, peer) => this.#emit('rondevu-message', { data, peer }, false),
      });
    }
  }

  /** Binds to a source once its custom element is defined: an undefined element lacks the methods of a source. */
  #bindWhenDefined(source: HTMLElement): void {
    void customElements.whenDefined(source.localName).then(() => {
      customElements.upgrade(source);
      if ('errorCode' in source) this.#bind();
    });
  }

  #nearestSource(): ChatSource | undefined {
    if (this.for) {
      const found = (this.getRootNode() as Document | ShadowRoot).getElementById(this.for);
      if (found?.matches(SOURCES)) return found as ChatSource;
      if (this.#deadFor !== this.for)
        console.warn(`rondevu: <rondevu-chat for="${this.for}"> finds no <rondevu-service> or <rondevu-connect> with this id`);
      this.#deadFor = this.for;
    }
    return (this.closest(SOURCES) as ChatSource | null) ?? this.source;
  }

  #ownSource(): ChatSource | undefined {
    const tag = this.to ? 'rondevu-connect' : this.service ? 'rondevu-service' : undefined;
    if (this.#own?.localName !== tag) this.#dropOwn();
    if (!tag) return undefined;
    const own = (this.#own ??= this.ownerDocument.createElement(tag));
    for (const name of SOURCE_PROPERTIES) Object.assign(own, { [name]: this[name] });
    if (!own.parentNode) this.renderRoot.append(own);
    return own;
  }

  #dropOwn(): void {
    const own = this.#own;
    this.#own = undefined;
    if (own && 'errorCode' in own) void (isGroup(own) ? own.stop() : own.close());
    own?.remove();
  }

  #add(entry: ChatEntry): void {
    const dropped = Math.max(0, this.entries.length + 1 - Math.max(1, this.history));
    this.entries = [...this.entries.slice(dropped), entry];
    if (!this.#atEnd && entry.kind === 'other') this.#setUnread(this.#unread + 1);
    if (entry.kind !== 'own' && entry.kind !== 'other') return;
    this.#emit('rondevu-chat-message', { text: entry.text, from: entry.author, own: entry.kind === 'own' }, true);
  }

  #emit<Name extends keyof RondevuChatEventDetails>(name: Name, detail: RondevuChatEventDetails[Name], bubbles: boolean): void {
    this.dispatchEvent(new CustomEvent(name, { detail: Object.freeze(detail), bubbles, composed: bubbles }));
  }

  #setUnread(count: number): void {
    if (count === this.#unread) return;
    this.#unread = count;
    this.#reflect('unread', count ? String(count) : undefined);
    this.version++;
  }

  #reflect(name: string, value: string | undefined): void {
    if (value === undefined) this.removeAttribute(name);
    else if (this.getAttribute(name) !== value) this.setAttribute(name, value);
  }

  #onScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#log!;
    // only the user scrolls up; the browser also scrolls when the size of the log changes
    const isUp = scrollTop < this.#scrollTop;
    this.#scrollTop = scrollTop;
    this.#atEnd = scrollHeight - scrollTop - clientHeight <= END_SLACK || (this.#atEnd && !isUp);
    if (this.#atEnd) this.#setUnread(0);
  }

  #onKey(event: KeyboardEvent): void {
    // during IME composition, Enter selects a candidate; older engines report key code 229
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit(event?: Event): void {
    event?.preventDefault();
    if (this.#input && this.send(this.#input.value)) this.#input.value = '';
    this.#input?.focus();
  }

  /** @internal */
  protected override render() {
    const words = stringsFor(this, this.strings);
    return html`<div part="base">
      <div part="header"><slot name="header"></slot></div>
      <div part="log" role="log" aria-label=${words.messages} tabindex="0" @scroll=${this.#onScroll}>
        ${this.entries.length ? nothing : html`<div class="empty"><slot name="empty">${this.#isOpen ? words.empty : nothing}</slot></div>`}
        <ol part="list">
          ${this.entries.map((entry) => this.#entry(entry, words))}
        </ol>
      </div>
      <div class="bottom">
        ${this.#unread ? html`<button class="new" type="button" @click=${this.scrollToEnd}>${fill(words.newMessages, { count: this.#unread })}</button>` : nothing}
        <div part="status" role="status"><slot name="status">${this.#status(words)}</slot></div>
        ${this.#conversation?.changedKey ? html`<button part="trust" class="trust" type="button" @click=${() => this.#conversation?.trust()}>${words.trustKey}</button>` : nothing}
        ${this.readonly ? nothing : this.#composer(words)}
        <slot name="footer"></slot>
      </div>
    </div>`;
  }

  /** Whether a message can be sent, either now or when a peer connects. */
  get #isOpen(): boolean {
    const { source, changedKey } = this.#conversation ?? {};
    return source !== undefined && !changedKey && !UNUSABLE.test(source.state) && source.errorCode !== 'unavailable';
  }

  #composer(words: Strings) {
    return html`<slot name="composer">
      <form part="composer" @submit=${this.#submit}>
        <label class="visually-hidden" for="input">${words.composerLabel}</label>
        <textarea
          part="input"
          id="input"
          rows="1"
          dir="auto"
          enterkeyhint="send"
          maxlength=${this.maxlength}
          placeholder=${this.placeholder || words.placeholder}
          ?disabled=${this.disabled}
          @keydown=${this.#onKey}
        ></textarea>
        <button part="send" type="submit" ?disabled=${this.disabled}>${words.send}</button>
      </form>
    </slot>`;
  }

  #entry(entry: ChatEntry, words: Strings) {
    if (entry.kind === 'joined' || entry.kind === 'left')
      return html`<li class="note" dir="auto">${fill(words[entry.kind], { name: entry.author })}</li>`;
    const own = entry.kind === 'own';
    const author = own
      ? this.name || words.you
      : entry.via
        ? fill(words.via, { name: entry.author, host: entry.via })
        : entry.author;
    const time = new Date(entry.time);
    return html`<li part=${own ? 'message own' : 'message'}>
      <span class="meta"><span part="author" dir="auto">${author}</span></span>
      <span part="bubble" dir="auto">${entry.text}</span>
      <span class="meta">
        <time part="time" datetime=${time.toISOString()}
          >${time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}</time
        >
        ${entry.status ? html`<span>${fill(words[entry.status], { names: entry.missed?.join(', ') ?? '' })}</span>` : nothing}
      </span>
    </li>`;
  }

  #status(words: Strings): string {
    const { source, changedKey } = this.#conversation ?? {};
    if (!source) return words.noSource;
    const { state, errorCode } = source;
    if (changedKey) return fill(words.keyChanged, { name: cleanName(changedKey.username) });
    if (state === 'failed') return this.#failure(words, errorCode);
    if (isGroup(source)) return this.#groupStatus(words, state, errorCode);
    const { buffered, peer } = source;
    switch (state) {
      case 'connected':
        return peer ? fill(words.connectedTo, { name: peer.username }) : words.connected;
      case 'disconnected':
      case 'reconnecting':
        if (UNVERIFIED.test(errorCode)) return words.unverified;
        if (errorCode === 'unavailable') return words.reconnectingServerAway;
        return buffered === 0
          ? words.reconnecting
          : buffered === 1
            ? words.reconnectingOne
            : fill(words.reconnectingBuffered, { count: buffered });
      case 'waiting':
        return words.waitingForPeer;
      case 'unreachable':
        return words.serverAway;
      case 'closed':
        return words.closed;
      case 'idle':
        return words.idle;
      default:
        return words.connecting;
    }
  }

  #failure(words: Strings, code: string): string {
    if (UNVERIFIED.test(code)) return words.unverified;
    switch (code) {
      case 'name-taken':
        return fill(words.nameTaken, { name: this.#conversation?.source.username ?? '' });
      case 'bad-request':
      case 'already-published':
        return words.misconfigured;
      case 'timeout':
        return words.nobodyCame;
      case 'unsupported':
        return globalThis.RTCPeerConnection ? words.failedState : words.noWebRtc;
      case 'unavailable':
        return words.serverAway;
      default:
        return words.failedState;
    }
  }

  #groupStatus(words: Strings, state: string, errorCode: string): string {
    const { members } = this;
    const isAway = errorCode === 'unavailable' || state === 'reconnecting';
    if (state === 'stopped') return words.closed;
    if (members > 1) return fill(isAway ? words.membersServerAway : words.members, { count: members });
    if (state === 'idle') return words.idle;
    if (isAway) return words.serverAway;
    return state === 'live' ? words.live : words.connecting;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'rondevu-chat': RondevuChat;
  }
}
