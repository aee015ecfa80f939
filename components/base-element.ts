/**
 * RondevuElement: what the tags share. Finds the server's address, borrows a client, keeps author input and engine state
 * apart, tells events in the documented form, and survives being moved in the document.
 */
import { LitElement, type PropertyValues } from 'lit';
import { property } from 'lit/decorators.js';
import { RondevuError, type IceServersOption } from '../src/index.js';
import { borrowClient, type Lease } from './client-registry.js';

/** How long an element may be out of the document before what it holds is closed, in ms. */
const REMOVAL_GRACE = 1000;
/** Counts change their attribute at most this often, in ms. */
const COUNT_EVERY = 16;

type StateValue = string | number | boolean | undefined;

export abstract class RondevuElement extends LitElement {
  /** Address of the signaling server. Default: that of the nearest ancestor, `<meta name="rondevu-api-url">`, the page's origin. */
  @property({ attribute: 'api-url' }) apiUrl?: string;
  /** Own name, 3–32 of `a-z 0-9 . -`. Default: anonymous, or a key kept for this page. */
  @property() username?: string;
  /** Name of a kept key; `none` for a fresh one each time. */
  @property() identity?: string;
  /** Name of an ICE preset; a list of servers goes to the property `iceServers`. */
  @property({ attribute: 'ice-servers' }) iceServers?: IceServersOption;
  /** Logs to the console. */
  @property({ type: Boolean }) debug = false;
  /** Waits for `start()` or `connect()`. */
  @property({ type: Boolean, attribute: 'no-autostart' }) noAutostart = false;
  /** Holds nothing while set. */
  @property({ type: Boolean }) disabled = false;

  readonly #states = new Map<string, StateValue>();
  readonly #counts = new Map<string, number>();
  readonly #internals: ElementInternals | undefined;
  #countTimer: ReturnType<typeof setTimeout> | undefined;
  #removal: ReturnType<typeof setTimeout> | undefined;
  #lease: Lease | undefined;
  #running = false;
  #wasUpdated = false;

  constructor() {
    super();
    // server rendering has no internals
    this.#internals = typeof this.attachInternals === 'function' ? this.attachInternals() : undefined;
  }

  /** Attributes that, changed while running, make everything anew. */
  protected abstract readonly identityProperties: readonly string[];
  /** Begins with what the attributes say. */
  protected abstract run(): Promise<void>;
  /** Ends what `run` began. */
  protected abstract halt(reason: string): Promise<void>;
  /** Tells of an error: `error-code`, the state, `rondevu-error`. */
  protected abstract failed(error: RondevuError): void;

  override connectedCallback(): void {
    super.connectedCallback();
    clearTimeout(this.#removal);
    if (this.hasUpdated && !this.#running) this.#autostart();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#removal = setTimeout(() => void this.end('the element was removed'), REMOVAL_GRACE);
  }

  /** Defined so that `moveBefore` costs nothing. */
  connectedMoveCallback(): void {}

  protected override updated(changed: PropertyValues): void {
    if (!this.#wasUpdated) {
      this.#wasUpdated = true;
      return this.#autostart();
    }
    if (changed.has('disabled') && changed.get('disabled') !== undefined) {
      if (this.disabled) void this.end('disabled');
      else this.#autostart();
    } else if (this.#running && this.identityProperties.some((name) => changed.has(name))) {
      void this.end('an attribute changed').then(() => this.begin());
    }
  }

  /** Whether `begin` was called and `end` was not. */
  protected get running(): boolean {
    return this.#running;
  }

  protected async begin(): Promise<void> {
    if (this.#running || !this.isConnected) return;
    this.#running = true;
    this.reflect('error-code', undefined);
    try {
      await this.run();
    } catch (error) {
      if (!this.#running) return; // ended meanwhile
      this.failed(toError(error));
    }
  }

  protected async end(reason: string): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    const lease = this.#lease;
    this.#lease = undefined;
    try {
      await this.halt(reason);
    } finally {
      lease?.release();
    }
  }

  /** The client of these attributes. @throws RondevuError for attributes that are wrong */
  protected async borrow() {
    const lease = borrowClient({
      apiUrl: this.#resolvedApiUrl(),
      username: this.username || undefined,
      identity: this.identity || undefined,
      debug: this.debug,
    });
    this.#lease = lease;
    return lease.client;
  }

  /** Writes engine state as an attribute, at once; false and undefined take it away. */
  protected reflect(name: string, value: StateValue): void {
    this.#counts.delete(name);
    this.#states.set(name, value);
    if (value === undefined || value === false) this.removeAttribute(name);
    else this.setAttribute(name, value === true ? '' : String(value));
  }

  /** The same for numbers that change fast. */
  protected reflectCount(name: string, value: number): void {
    this.#states.set(name, value);
    this.#counts.set(name, value);
    this.#countTimer ??= setTimeout(() => {
      this.#countTimer = undefined;
      for (const [count, latest] of [...this.#counts]) this.reflect(count, latest);
    }, COUNT_EVERY);
  }

  /** What the engine said last; an attribute that the page wrote changes nothing here. */
  protected stateOf<T extends StateValue>(name: string, fallback: T): T {
    return (this.#states.get(name) as T | undefined) ?? fallback;
  }

  /** Shows a custom state, for `:state(name)`. */
  protected toggleState(name: string, on: boolean): void {
    try {
      if (on) this.#internals?.states.add(name);
      else this.#internals?.states.delete(name);
    } catch {
      // a browser before custom states without dashes; the attribute says the same
    }
  }

  /** Tells an event. Lifecycle events bubble and cross shadow roots, data events do neither. */
  protected tell(name: string, detail: object, bubbles = true): void {
    this.dispatchEvent(new CustomEvent(name, { detail: Object.freeze(detail), bubbles, composed: bubbles }));
  }

  /** Writes the state, shows it as a custom state, tells `rondevu-state`. Returns whether it changed. */
  protected changeState(to: string, reason: string): boolean {
    const from = this.stateOf('state', 'idle');
    if (from === to && this.hasAttribute('state')) return false;
    this.reflect('state', to);
    for (const name of ['connected', 'reconnecting', 'failed'])
      this.toggleState(name, name === to || (name === 'connected' && to === 'live'));
    if (from !== to) this.tell('rondevu-state', { from, to, reason });
    return from !== to;
  }

  /** The ICE choice as the engine takes it: the attribute may only name a preset. */
  protected iceChoice(): { iceServers?: IceServersOption } {
    return this.iceServers ? { iceServers: this.iceServers } : {};
  }

  #autostart(): void {
    if (!this.noAutostart && !this.disabled) void this.begin();
    else if (!this.hasAttribute('state')) this.reflect('state', 'idle');
  }

  #resolvedApiUrl(): string {
    const meta = this.ownerDocument.querySelector('meta[name="rondevu-api-url"]')?.getAttribute('content');
    const text = this.apiUrl || this.#inheritedApiUrl() || meta || this.ownerDocument.location.origin;
    try {
      return new URL(text, this.ownerDocument.baseURI).href;
    } catch {
      throw new RondevuError('bad-request', `<${this.localName}> api-url must be an address, got "${text}"`);
    }
  }

  /** The nearest ancestor that has one, through shadow roots. */
  #inheritedApiUrl(): string | undefined {
    for (let node: Node | null = this.parentNode; node; node = node instanceof ShadowRoot ? node.host : node.parentNode) {
      if (node instanceof Element && node.getAttribute('api-url')) return node.getAttribute('api-url')!;
    }
    return undefined;
  }
}

export function toError(error: unknown): RondevuError {
  if (error instanceof RondevuError) return error;
  return new RondevuError('unsupported', error instanceof Error ? error.message : String(error), { cause: error });
}
