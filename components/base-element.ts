/**
 * RondevuElement: the base class of <rondevu-service> and <rondevu-connect>. Resolves the server URL, borrows a shared client,
 * keeps author input apart from engine state, dispatches events in order, and keeps running when it is moved within the
 * document.
 */
import { LitElement, type PropertyDeclaration, type PropertyDeclarations } from 'lit';
import type { CommonEvents, TypedEvents } from './events.js';
import { RondevuError, type IceServersOption, type Rondevu } from '../src/index.js';
import { borrowClient, type Lease } from './client-registry.js';
import { addDeparting, endDeparting, removeDeparting } from './departing.js';
import { report } from './report.js';

/** How long an element may be out of the document before its connections are closed, in ms. */
const REMOVAL_GRACE = 1000;
/** Minimum time between two writes of a count attribute, in ms. */
const COUNT_INTERVAL = 16;
/** Properties that determine which peer or service the element uses. */
const IDENTITY: readonly unknown[] = ['to', 'service', 'apiUrl', 'username', 'identity'];

type StateValue = string | number | boolean | undefined;

/**
 * A single run of the element, from `begin` until it stops or fails. Asynchronous code checks that its run is still current.
 */
interface Run {
  /** A new run first ends removed elements with the same key. */
  key: string;
  lease?: Lease;
}

export interface RondevuElement<Details extends CommonEvents = CommonEvents> {
  addEventListener: TypedEvents<Details, this>['addEventListener'];
  removeEventListener: TypedEvents<Details, this>['removeEventListener'];
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging -- only overloads of inherited methods
export abstract class RondevuElement<Details extends CommonEvents = CommonEvents> extends LitElement {
  /** @internal */
  static override properties: PropertyDeclarations = {
    apiUrl: { attribute: 'api-url' },
    username: {},
    identity: {},
    iceServers: { attribute: 'ice-servers' },
    debug: { type: Boolean },
    noAutostart: { type: Boolean, attribute: 'no-autostart' },
    disabled: { type: Boolean },
  };

  /**
   * Address of the signaling server. Default: the `api-url` of the nearest ancestor, `<meta name="rondevu-api-url">`, or the
   * page's origin.
   */
  apiUrl?: string;
  /** Username of this client, 3–32 characters from `a-z 0-9 . -`. Default: an anonymous name. */
  username?: string;
  /** Name of the stored key to use; `none` creates a key that is not stored and lasts as long as the element. */
  identity?: string;
  /** Name of an ICE server preset; to pass a list of servers, set the `iceServers` property. */
  iceServers?: IceServersOption;
  /** Logs to the console. */
  debug = false;
  /** If set, the element does not start until `start()` or `connect()` is called. */
  noAutostart = false;
  /** If set, the element stops, and starts again only after the attribute is removed. */
  disabled = false;

  /** Names of the attributes that the element writes. @internal */
  static readonly stateAttributes: readonly string[] = [];

  readonly #states = new Map<string, StateValue>();
  readonly #counts = new Map<string, number>();
  readonly #internals: ElementInternals | undefined;
  #countTimer: ReturnType<typeof setTimeout> | undefined;
  #removal: ReturnType<typeof setTimeout> | undefined;
  #run: Run | undefined;
  /** Whether `begin` was called without a later `end`. Remains true after a failure. */
  #isWanted = false;
  /** Whether an identity property has changed, which ended the run; the next update begins a new run. */
  #isRestarting = false;
  #wasUpdated = false;
  #error: RondevuError | undefined;
  /** Whether a failure was shown and the element has not tried again since. */
  #hasFailed = false;
  /** Message of the last error that was printed to the console. */
  #complaint: string | undefined;
  /** Events to dispatch after the current batch or event. */
  readonly #events: { event: CustomEvent; isDue?: (() => boolean) | undefined }[] = [];
  #isDispatching = false;
  #batches = 0;

  /** @internal */
  constructor() {
    super();
    // server-side rendering has no ElementInternals
    this.#internals = typeof this.attachInternals === 'function' ? this.attachInternals() : undefined;
  }

  /** The most recent error; undefined after the element has recovered. */
  get error(): RondevuError | undefined {
    return this.#error;
  }

  /** Code of the most recent error; empty after the element has recovered. */
  get errorCode(): string {
    return this.stateOf('error-code', '');
  }

  /**
   * Starts a run with the current attributes.
   * @param isCurrent returns false once the run has ended or been replaced; call it after every `await`
   * @internal
   */
  protected abstract run(isCurrent: () => boolean): Promise<void>;
  /**
   * Releases the run's resources without dispatching events. Resources that a new run also needs are released synchronously.
   * @param error the error that ended the run, if the run failed
   * @internal
   */
  protected abstract release(reason: string, error?: RondevuError): Promise<unknown>;
  /** Updates the state after a run has ended, and dispatches the final events. Called after `release`. @internal */
  protected abstract ended(reason: string): void;

  override connectedCallback(): void {
    super.connectedCallback();
    clearTimeout(this.#removal);
    removeDeparting(this);
    // a cloned or serialized element carries the state attributes of the original
    for (const name of (this.constructor as typeof RondevuElement).stateAttributes) this.reflect(name, this.#states.get(name));
    if (!this.hasUpdated) return;
    if (this.#isRestarting) void this.begin();
    else if (!this.#isWanted) this.#autostart();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    const leave = () => this.end('the element was removed');
    this.#removal = setTimeout(() => void leave(), REMOVAL_GRACE);
    if (this.#run) {
      addDeparting(this, this.#run.key, () => {
        void leave();
        return this.vacated;
      });
    }
  }

  /** Empty on purpose: if this callback is defined, `moveBefore()` does not disconnect and reconnect the element. */
  connectedMoveCallback(): void {}

  /**
   * Handles identity changes synchronously instead of in the next update: a method called right after the assignment must not
   * act on the previous peer.
   * @internal
   */
  override requestUpdate(name?: PropertyKey, oldValue?: unknown, ...rest: [PropertyDeclaration?, boolean?, unknown?]): void {
    super.requestUpdate(name, oldValue, ...rest);
    if (name === undefined || oldValue === this[name as keyof this]) return;
    if (IDENTITY.includes(name)) {
      if (!this.#isWanted) return;
      this.#isRestarting = true;
      void this.#stop('an attribute changed');
    } else if (name === 'disabled' && this.disabled) void this.end('disabled');
  }

  /** @internal */
  protected override updated(changed: Map<PropertyKey, unknown>): void {
    if (!this.#wasUpdated) {
      this.#wasUpdated = true;
      this.#autostart();
    } else if (this.#isRestarting) void this.begin();
    else if (changed.get('disabled') && !this.disabled) this.#autostart();
  }

  /** Whether the element is running or about to restart. @internal */
  protected get running(): boolean {
    return this.#run !== undefined || this.#isRestarting;
  }

  /** Resolves when the previous run no longer blocks a new run. @internal */
  protected vacated: Promise<unknown> = Promise.resolve();

  /** @internal */
  protected async begin(): Promise<void> {
    if (this.#run || !this.isConnected || this.disabled) return;
    const run: Run = (this.#run = { key: this.#key() });
    const isCurrent = () => this.#run === run;
    this.#isWanted = true;
    this.#isRestarting = false;
    this.#clearError();
    try {
      const departed = endDeparting(run.key);
      if (departed) await departed;
      if (isCurrent()) await this.run(isCurrent);
    } catch (error) {
      if (isCurrent()) this.fail(toError(error));
    }
  }

  /** @internal */
  protected async end(reason: string): Promise<void> {
    this.#isWanted = this.#isRestarting = false;
    await this.#stop(reason);
  }

  async #stop(reason: string): Promise<void> {
    const run = this.#run;
    if (!run) return;
    const released = this.#release(run, reason);
    this.batch(() => this.ended(reason));
    await released;
  }

  async #release(run: Run, reason: string, error?: RondevuError): Promise<void> {
    this.#run = undefined;
    removeDeparting(this);
    try {
      await this.release(reason, error);
    } finally {
      run.lease?.release();
    }
  }

  /**
   * Ends the run with an error that is not retried: sets `error-code` and the state `failed`, dispatches `rondevu-error`, and
   * logs to the console.
   * @internal
   */
  protected fail(error: RondevuError): void {
    if (this.#run) void this.#release(this.#run, error.message, error);
    this.showFailure(error);
  }

  /** Shows an error that is not retried, without ending the run. @internal */
  protected showFailure(error: RondevuError): void {
    // the server may refuse a username on each transport: show only the first error
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.batch(() => {
      this.changeState('failed', error.message);
      this.showError(error);
    });
    this.complain(error);
  }

  /** Prints an error to the console, unless it repeats the previous message before the element has recovered. @internal */
  protected complain(error: RondevuError): void {
    if (this.#complaint === error.message) return;
    this.#complaint = error.message;
    report(this, this.#apiUrlText(), error);
  }

  /** Sets `error-code` and dispatches `rondevu-error`. @internal */
  protected showError(error: RondevuError): void {
    this.#error = error;
    this.reflect('error-code', error.code);
    this.emit('rondevu-error', { error } as Details['rondevu-error']);
  }

  /** Shows, once per outage, that the signaling server cannot be reached. @internal */
  protected showOutage(error: RondevuError): void {
    if (this.errorCode !== error.code) this.showError(error);
    this.complain(error);
  }

  /** Clears the error after the element has recovered. @internal */
  protected recovered(): void {
    this.#complaint = undefined;
    this.#clearError();
  }

  #clearError(): void {
    this.#error = undefined;
    this.reflect('error-code', undefined);
  }

  /**
   * Borrows the client that matches the current attributes, for the duration of the run.
   * @throws RondevuError for invalid attributes
   * @internal
   */
  protected async borrow(): Promise<Rondevu> {
    const lease = borrowClient({
      apiUrl: this.#resolvedApiUrl(),
      username: this.username || undefined,
      identity: this.identity || undefined,
      owner: this,
      debug: this.debug,
    });
    this.#run!.lease = lease;
    return lease.client;
  }

  /** Writes engine state to an attribute immediately; false and undefined remove the attribute. @internal */
  protected reflect(name: string, value: StateValue): void {
    this.#counts.delete(name);
    this.#states.set(name, value);
    if (value === undefined || value === false) this.removeAttribute(name);
    else this.setAttribute(name, value === true ? '' : String(value));
  }

  /** Like `reflect`, but throttled, for numbers that change often. @internal */
  protected reflectCount(name: string, value: number): void {
    this.#states.set(name, value);
    this.#counts.set(name, value);
    this.#countTimer ??= setTimeout(() => {
      this.#countTimer = undefined;
      for (const [count, latest] of [...this.#counts]) this.reflect(count, latest);
    }, COUNT_INTERVAL);
  }

  /** The last value from the engine, even if the page has overwritten the attribute. @internal */
  protected stateOf<T extends StateValue>(name: string, fallback: T): T {
    return (this.#states.get(name) as T | undefined) ?? fallback;
  }

  /** Adds or removes a custom state, which CSS matches with `:state(name)`. @internal */
  protected toggleState(name: string, on: boolean): void {
    try {
      // eslint-disable-next-line no-restricted-properties -- guarded: the attribute carries the same information
      const states = this.#internals?.states;
      if (on) states?.add(name);
      else states?.delete(name);
    } catch {
      // Chrome before version 125 accepts only names that start with two dashes
    }
  }

  /**
   * Dispatches an event after all events that are already queued. Lifecycle events bubble and cross shadow roots; data events
   * do neither.
   * @param isDue called immediately before the dispatch; if it returns false, the event is not dispatched
   * @internal
   */
  protected emit<Name extends keyof Details & string>(
    name: Name,
    detail: Details[Name],
    bubbles = true,
    isDue?: () => boolean,
  ): void {
    const event = new CustomEvent(name, { detail: Object.freeze(detail), bubbles, composed: bubbles });
    this.#events.push({ event, isDue });
    this.#dispatch();
  }

  /** Runs `act`, then dispatches the events that it emitted, before any events that their listeners emit. @internal */
  protected batch(act: () => void): void {
    this.#batches++;
    try {
      act();
    } finally {
      this.#batches--;
      this.#dispatch();
    }
  }

  #dispatch(): void {
    if (this.#isDispatching || this.#batches) return;
    this.#isDispatching = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift())
      if (next.isDue?.() ?? true) this.dispatchEvent(next.event);
    this.#isDispatching = false;
  }

  /**
   * Sets the `state` attribute and the custom state, and dispatches `rondevu-state`. Returns whether the state changed.
   * @param before emits the events that precede `rondevu-state`; if a listener changes the state again, `rondevu-state` is not
   *   dispatched for the earlier change
   * @internal
   */
  protected changeState(to: Details['rondevu-state']['to'], reason: string, before?: () => void): boolean {
    if (to !== 'failed') this.#hasFailed = false;
    const from = this.stateOf<string>('state', 'idle');
    if (from === to && this.hasAttribute('state')) {
      before?.();
      return false;
    }
    this.reflect('state', to);
    for (const name of ['connected', 'reconnecting', 'failed'])
      this.toggleState(name, name === to || (name === 'connected' && to === 'live'));
    before?.();
    if (from === to) return false;
    const isDue = before && (() => this.stateOf<string>('state', to) === to);
    this.emit('rondevu-state', { from, to, reason } as Details['rondevu-state'], true, isDue);
    return true;
  }

  /**
   * The engine's `iceServers` option, if set: an attribute can only name a preset; a property can also list servers.
   * @internal
   */
  protected iceChoice(): { iceServers?: IceServersOption } {
    return this.iceServers ? { iceServers: this.iceServers } : {};
  }

  #autostart(): void {
    if (!this.noAutostart && !this.disabled) void this.begin();
    else if (!this.hasAttribute('state')) this.reflect('state', 'idle');
  }

  #key(): string {
    const { to, service } = this as { to?: string; service?: string };
    return JSON.stringify([this.localName, this.#apiUrlText(), this.username, this.identity, to, service]);
  }

  #apiUrlText(): string {
    const meta = this.ownerDocument.querySelector('meta[name="rondevu-api-url"]')?.getAttribute('content');
    return this.apiUrl || this.#inheritedApiUrl() || meta || this.ownerDocument.location.origin;
  }

  #resolvedApiUrl(): string {
    const text = this.#apiUrlText();
    try {
      return new URL(text, this.ownerDocument.baseURI).href;
    } catch {
      throw new RondevuError('bad-request', `<${this.localName}> api-url must be an address, got "${text}"`);
    }
  }

  /** The value of the nearest `api-url` attribute on an ancestor, across shadow roots. */
  #inheritedApiUrl(): string | undefined {
    // `instanceof` is safe: all nodes belong to this realm, because Lit's style sheets cannot move to another document
    for (let node: Node | null = this.parentNode; node; node = node instanceof ShadowRoot ? node.host : node.parentNode) {
      if (node instanceof Element && node.getAttribute('api-url')) return node.getAttribute('api-url')!;
    }
    return undefined;
  }
}

/**
 * Returns an engine error unchanged, even if it comes from a second bundle on the page; wraps any other error as `unsupported`.
 */
export function toError(error: unknown): RondevuError {
  const { code, message } = (error ?? {}) as Partial<RondevuError>;
  // platform error codes are numbers or contain capital letters
  if (typeof code === 'string' && /^[a-z-]+$/.test(code)) return error as RondevuError;
  return new RondevuError('unsupported', message ?? String(error), { cause: error });
}
