/**
 * <rondevu-chat>: a conversation over the service or connection that it stands in.
 */
import { LitElement, html, nothing } from 'lit';
import { cleanName } from '../src/protocol/chat.js';
import { Conversation, isGroup, type ChatEntry, type ChatSource } from './chat-conversation.js';
import { chatStyles } from './chat-styles.js';
import { property, state } from './property.js';
import { report } from './report.js';
import { fill, stringsFor, type Strings } from './strings.js';

export type { ChatSource } from './chat-conversation.js';

/** Pixels from the end that still count as being there. */
const END_SLACK = 24;
const SOURCES = 'rondevu-service, rondevu-connect';
/** How long a page may take to give a chat its source before the console says that it has none, in ms. */
const SOURCE_WITHIN = 1000;
/** Properties that go to the source that the chat makes. */
const SOURCE_PROPERTIES = ['apiUrl', 'username', 'identity', 'to', 'service'] as const;
const UNVERIFIED = /^(unverified|identity-)/;
const NO_SOURCE = { code: 'no-source' as const, message: 'it has no source' };
/** States of a source in which nothing can be said. */
const MUTE = /^(idle|closed|stopped|failed|unreachable)$/;

/**
 * A conversation. Over a `<rondevu-service>` a group chat that this page hosts, over a `<rondevu-connect>` one with the other
 * side. Finds its source by `for`, else as the nearest ancestor, else the property `source`, else makes its own from `to` or `service`.
 *
 * @tag rondevu-chat
 * @slot header - Above the messages.
 * @slot empty - In place of the words shown while there are no messages.
 * @slot status - In place of the status line's words.
 * @slot composer - In place of the whole composer.
 * @slot footer - Below the composer.
 *
 * @attr {string} state - State of the source, read-only.
 * @attr {number} unread - Messages below what is in view, read-only.
 * @attr {number} members - People here, ourselves included, read-only.
 * @attr {string} error-code - Code of the source's last error, read-only.
 *
 * @csspart base - The whole.
 * @csspart header - Round the header slot.
 * @csspart log - The scrolling part, `role="log"`.
 * @csspart list - The list in it.
 * @csspart message - One message; own ones also have the part `own`.
 * @csspart bubble - Its text.
 * @csspart author - Who wrote it.
 * @csspart time - When.
 * @csspart status - The status line, `role="status"`.
 * @csspart composer - Input and button.
 * @csspart input - The input.
 * @csspart send - The button.
 * @csspart trust - The button shown when the peer has another key than before.
 *
 * @cssprop --rondevu-chat-color - Text.
 * @cssprop --rondevu-chat-background - Background.
 * @cssprop --rondevu-chat-accent - Own messages, button, focus.
 * @cssprop --rondevu-chat-radius - Corners.
 * @cssprop --rondevu-chat-gap - Space between things.
 * @cssprop --rondevu-chat-font - Font shorthand.
 * @cssprop --rondevu-chat-max-height - Height past which messages scroll.
 *
 * @fires rondevu-message - Something came that is not the chat's: `{data, peer}`. Does not bubble.
 * @fires rondevu-chat-message - A message was shown: `{text, from, own}`. Bubbles.
 */
export class RondevuChat extends LitElement {
  static override styles = chatStyles;
  static override shadowRootOptions = { ...LitElement.shadowRootOptions, delegatesFocus: true };

  /** Id of the service or connect element to use. */
  @property({ attribute: 'for' }) for?: string;
  /** What own messages are labelled with. Default: "You". */
  @property() name = '';
  /** Words in the empty input. */
  @property() placeholder = '';
  /** Most characters of one message. */
  @property({ type: Number }) maxlength = 4000;
  /** Messages kept in view. */
  @property({ type: Number }) history = 500;
  /** Nothing can be written. */
  @property({ type: Boolean }) disabled = false;
  /** There is no composer. */
  @property({ type: Boolean }) readonly = false;
  /** Joins this address by itself when there is no other source. */
  @property() to?: string;
  /** Publishes this service by itself when there is no other source. */
  @property() service?: string;
  /** Address of the signaling server, for a source that the chat makes. */
  @property({ attribute: 'api-url' }) apiUrl?: string;
  /** Own name, for a source that the chat makes. */
  @property() username?: string;
  /** Name of a kept key, for a source that the chat makes; `none` for one that is not kept. */
  @property() identity?: string;
  /** The service or connection to use. */
  @property({ attribute: false }) source?: ChatSource;
  /** Words for this element alone. */
  @property({ attribute: false }) strings: Partial<Strings> = {};

  @state() private entries: readonly ChatEntry[] = [];
  @state() private version = 0;
  #conversation: Conversation | undefined;
  /** The source that the chat made. */
  #own: ChatSource | undefined;
  /** The value of `for` that was found to lead nowhere. */
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

  /** Messages below what is in view. */
  get unread(): number {
    return this.#unread;
  }

  /** People here, ourselves included. */
  get members(): number {
    return this.#conversation?.members ?? 0;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#reflect('unread', this.#unread ? String(this.#unread) : undefined); // a copied element brings that of its original along
    this.#bind();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.#sourceTimer);
    this.#conversation?.end();
    this.#conversation = undefined;
  }

  /** Defined so that `moveBefore` costs nothing. */
  connectedMoveCallback(): void {}

  /** Sends a message as if it had been written here. Returns whether there was something to send and somewhere to send it. */
  send(text: string): boolean {
    const trimmed = text.trim();
    this.#bind(); // `to`, `for` or `source` may have changed since the last update
    if (!trimmed || !this.#conversation || this.disabled) return false;
    this.#atEnd = true;
    this.#conversation.send(trimmed.slice(0, this.maxlength));
    return true;
  }

  /** Takes all messages out of view. */
  clear(): void {
    this.entries = [];
    this.#setUnread(0);
  }

  override focus(options?: FocusOptions): void {
    this.#input?.focus(options);
  }

  /** Shows the newest message. */
  scrollToEnd(): void {
    this.#atEnd = true;
    this.#setUnread(0);
    const log = this.#log;
    if (!log) return;
    log.scrollTop = log.scrollHeight;
    this.#scrollTop = log.scrollTop;
  }

  protected override willUpdate(): void {
    this.#bind(); // also when the source ended: another element may have taken its id
  }

  protected override firstUpdated(): void {
    // a keyboard on the screen, or a narrower window, must not cover the newest message
    if (this.#log && globalThis.ResizeObserver) new ResizeObserver(() => this.#atEnd && this.scrollToEnd()).observe(this.#log);
  }

  protected override updated(): void {
    if (this.#atEnd) this.scrollToEnd();
    this.#reflect('state', this.state);
    this.#reflect('members', this.members ? String(this.members) : undefined);
    this.#reflect('error-code', this.#conversation?.source.errorCode || undefined);
  }

  /** Finds the source, makes or updates the chat's own, and listens to it. */
  #bind(): void {
    if (!this.isConnected) return;
    const source = this.#nearestSource() ?? this.#ownSource();
    if (source !== this.#own) this.#dropOwn();
    if (source && source === this.#conversation?.source) return;
    this.#conversation?.end();
    this.#conversation = undefined;
    this.version++;
    if (!source) {
      this.#sourceTimer ??= setTimeout(() => report(this, '', NO_SOURCE), SOURCE_WITHIN);
      return;
    }
    clearTimeout(this.#sourceTimer);
    if (!('errorCode' in source)) this.#bindWhenDefined(source);
    else {
      this.#conversation = new Conversation(source, {
        onEntry: (entry) => this.#add(entry),
        onChange: () => this.version++,
        onOther: (data, peer) =>
          this.dispatchEvent(new CustomEvent('rondevu-message', { detail: Object.freeze({ data, peer }) })),
      });
    }
  }

  /** An element that is not defined yet has none of the methods of a source. */
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
    const properties = own as { [name in (typeof SOURCE_PROPERTIES)[number]]?: string | undefined };
    for (const name of SOURCE_PROPERTIES) properties[name] = this[name];
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
    const detail = Object.freeze({ text: entry.text, from: entry.author, own: entry.kind === 'own' });
    this.dispatchEvent(new CustomEvent('rondevu-chat-message', { detail, bubbles: true, composed: true }));
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
    // only the reader scrolls up; a browser that adapts to a new size scrolls too
    const isUp = scrollTop < this.#scrollTop;
    this.#scrollTop = scrollTop;
    this.#atEnd = scrollHeight - scrollTop - clientHeight <= END_SLACK || (this.#atEnd && !isUp);
    if (this.#atEnd) this.#setUnread(0);
  }

  #onKey(event: KeyboardEvent): void {
    // while an input method composes, Enter chooses a candidate; 229 is what older engines say then
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit(event?: Event): void {
    event?.preventDefault();
    if (this.#input && this.send(this.#input.value)) this.#input.value = '';
    this.#input?.focus();
  }

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

  /** Whether something can be said, now or when somebody comes. */
  get #isOpen(): boolean {
    const { source, changedKey } = this.#conversation ?? {};
    return source !== undefined && !changedKey && !MUTE.test(source.state) && source.errorCode !== 'unavailable';
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
