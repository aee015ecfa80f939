/**
 * Rondevu: the façade. Wires up identity, signaling, offers and connections, and manages their lifetimes.
 */
import { chunk } from './base/chunk.js';
import { Emitter } from './base/emitter.js';
import type { AnswererConnection } from './connection/answerer-connection.js';
import type { OffererConnection } from './connection/offerer-connection.js';
import { RondevuError, ValidationError, invalidValue } from './errors.js';
import { rtcConfiguration } from './ice-servers.js';
import {
  anonymousNameOf,
  exportKeypair,
  generateKeypair,
  generateSigner,
  HandshakeProof,
  MemoryPinStore,
  signerFromKeypair,
  type Keypair,
  type Signer,
} from './identity/index.js';
import type { LinkFactory } from './link-factory.js';
import type { OnConnection } from './legacy/raw.js';
import type { ConnectionContext } from './legacy/types.js';
import { activeConnections, addOlderNames } from './legacy/older-names.js';
import type { ActiveConnections, OlderNames } from './legacy/older-types.js';
import type { OfferPool } from './offers/offer-pool.js';
import {
  checkConnectOptions,
  checkRondevuOptions,
  type ConnectOptions,
  type FindOptions,
  type PublishOptions,
  type RondevuOptions,
} from './options.js';
import { watchPage, type Hint } from './page.js';
import { audience } from './protocol/message.js';
import { checkUsername } from './protocol/service-name.js';
import type { ServiceEntry, ServicePage } from './protocol/rpc.js';
import { RpcClient, SignalingClient, type SignalingState } from './signaling/index.js';

/** The publishing code is a separate chunk, which pages that only join do not load. */
const publishing = () => chunk('publishing', () => import('./offers/publishing.js'));
/** The connection code, requested when a client is created. */
const loadLinkRuntime = () => chunk('link-runtime', () => import('./link-runtime.js'));

/** Support for older clients, loaded as a separate chunk. */
const legacy = () => chunk('raw', () => import('./legacy/raw.js'));

type LinkRuntimeChunk = Awaited<ReturnType<typeof loadLinkRuntime>>;

const ignored = (): void => undefined;

/** Features required by the engine; all supported browsers have them (Baseline 2023). */
const REQUIRED = ['URL.canParse', 'Object.hasOwn', 'Array.prototype.at', 'crypto.getRandomValues', 'AbortSignal.timeout'];

/** @throws RondevuError `unsupported` that lists the missing features */
function checkPlatform(): void {
  const valueOf = (path: string) =>
    path.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], globalThis);
  const missing = REQUIRED.filter((path) => !valueOf(path));
  if (missing.length)
    throw new RondevuError(
      'unsupported',
      `this browser is too old: it has no ${missing.join(', ')}. Use Chrome 120, Firefox 121, Safari 17.2 or newer`,
    );
}

export interface RondevuEvents {
  'connection:opened': [offerId: string, connection: OffererConnection];
  'connection:rotated': [oldOfferId: string, newOfferId: string, connection: OffererConnection];
  'offer:created': [offerId: string, serviceFqn: string];
  'offer:failed': [offerId: string, error: RondevuError];
  /**
   * Emitted when the signaling state changes. `offline` always has an `error`: code `unavailable` if the server cannot be
   * reached (the message says why), another code if the server refused the session. The event is emitted again when the error
   * changes.
   */
  'signaling:state': [state: SignalingState, error?: RondevuError];
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging, @typescript-eslint/no-empty-object-type -- addOlderNames adds them
export interface Rondevu extends OlderNames {}

// eslint-disable-next-line @typescript-eslint/no-unsafe-declaration-merging
export class Rondevu extends Emitter<RondevuEvents> {
  static {
    addOlderNames(this.prototype);
  }

  /** Gives access to the calls of the wire protocol that this class does not wrap. */
  readonly api: RpcClient;
  readonly #username: string;
  readonly #signer: Signer;
  readonly #options: RondevuOptions;
  readonly #signaling: SignalingClient;
  readonly #proof: HandshakeProof;
  readonly #pools = new Map<string, OfferPool>();
  readonly #joined = new Set<AnswererConnection>();
  #links: LinkFactory | undefined;
  #stopWatching: () => void = () => undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: RondevuOptions, username: string, signer: Signer) {
    super();
    if (!signer)
      throw new RondevuError(
        'unsupported',
        'new Rondevu() is from 0.9: use await Rondevu.connect({ apiUrl, username, keypair }), see docs/migrating.md',
      );
    this.#options = options;
    this.#username = username;
    this.#signer = signer;
    this.api = new RpcClient(options.apiUrl, username, signer, undefined, options.batching);
    this.#signaling = new SignalingClient(this.api, options.webSocket ?? globalThis.WebSocket);
    const pins = options.pins ?? new MemoryPinStore();
    this.#proof = new HandshakeProof(signer, this.#signaling.instance, audience(options.apiUrl), pins);
    this.#signaling.on('state', (state, error) => this.emit('signaling:state', state, error));
    this.#signaling.on('signal', ({ from, sid, sdp }) => {
      for (const connection of [...this.#joined, ...this.#hosted()]) {
        if (connection.sessionId === sid && connection.peer?.username === from && sdp) connection.receiveSignal(sdp);
      }
    });
    if (options.lifecycle ?? true) this.#stopWatching = watchPage(this);
  }

  /**
   * Creates a client without making any network requests.
   * @throws ValidationError that quotes an invalid option; RondevuError `unsupported` if the browser is too old
   */
  static async connect(options: RondevuOptions): Promise<Rondevu> {
    checkPlatform();
    checkRondevuOptions(options);
    void loadLinkRuntime().catch(ignored); // a failure is reported on first use
    audience(options.apiUrl); // throws if apiUrl is invalid
    if (options.username !== undefined) checkUsername(options.username);
    if (options.keypair && options.identity) throw new ValidationError('Rondevu.connect: pass keypair or identity, not both');
    const adapter = options.cryptoAdapter;
    const keypair = options.keypair ?? (options.identity ? undefined : await (adapter?.generateKeypair() ?? generateKeypair()));
    const signer = keypair ? await signerFromKeypair(keypair, adapter) : options.identity!;
    if (!signer.publicKey) throw invalidValue('identity', 'a Signer', typeof signer);
    const iceServers = options.iceServers ?? 'server';
    rtcConfiguration(iceServers, options.turnServers ?? [], options.apiUrl); // throws if the ICE options are invalid
    const username = options.username ?? (await anonymousNameOf(signer.publicKey));
    const client = new Rondevu({ ...options, iceServers }, username, signer);
    if (options.batching) await client.api.useBatcher(options.batching); // throws if batching is invalid
    return client;
  }

  /** Preloads the publishing code for `publishService`. @internal */
  static preparePublishing(): void {
    void publishing().catch(ignored); // reported by publishService
  }

  /** Creates an identity whose private key is non-extractable, if the platform supports non-extractable keys. */
  static createIdentity(): Promise<Signer> {
    return generateSigner();
  }

  getUsername(): string {
    return this.#username;
  }

  /** The public key, base64. */
  getPublicKey(): string {
    return this.#signer.publicKey;
  }

  /** @throws RondevuError `key-not-exportable` */
  getKeypair(): Keypair {
    return exportKeypair(this.#signer);
  }

  /** Whether this username is claimed on the server, with this client's key or a different key. */
  async isUsernameClaimed(): Promise<boolean> {
    const { isUsernameClaimed } = await chunk('rondevu-api', () => import('./signaling/rondevu-api.js'));
    return isUsernameClaimed(this.api, this.#username);
  }

  /**
   * Pins a key to a name, replacing an earlier pin. Call this method after the user has verified the key.
   * @param publicKey base64
   */
  trust(username: string, publicKey: string): Promise<void> {
    checkUsername(username, 'trust: username');
    return this.#proof.trust(username, publicKey);
  }

  get signalingState(): SignalingState {
    return this.#signaling.state;
  }

  /** Reason why `signalingState` is `offline`; undefined in all other states. */
  get signalingError(): RondevuError | undefined {
    return this.#signaling.error;
  }

  /**
   * Declares a service. To accept joiners, call `start()` on the returned pool, or `startFilling()`.
   * @throws ValidationError if an option is invalid; RondevuError `already-published` if this client already publishes the
   *   service
   */
  async publishService(options: PublishOptions): Promise<OfferPool> {
    this.#checkOpen();
    const [{ checkPublishOptions, makePool }, runtime] = await Promise.all([publishing(), loadLinkRuntime()]);
    checkPublishOptions(options);
    this.#checkOpen();
    const { iceServers, offerFactory } = options;
    const { makeForOffer } = this.#linkFactory(runtime).maker({ iceServers, allowsOwn: offerFactory !== undefined });
    const limits = {
      maxPeerConnections: this.#options.maxPeerConnections,
      config: this.#config(runtime, options.connectionConfig),
    };
    const pool = makePool(options, this.#username, limits, this.#signaling, this.#proof, makeForOffer);
    const { fqn: serviceFqn } = pool;
    if (this.#pools.has(serviceFqn))
      throw new RondevuError('already-published', `${serviceFqn} is already published by this client`);
    this.#pools.set(serviceFqn, pool);
    for (const event of ['connection:opened', 'connection:rotated', 'offer:created', 'offer:failed'] as const)
      pool.on(event, (...args) => this.emit(event, ...(args as never)));
    return pool;
  }

  /** Removes a service and closes its connections, so that it can be published again with different options. */
  async unpublishService(serviceFqn: string): Promise<void> {
    const pool = this.#pools.get(serviceFqn);
    this.#pools.delete(serviceFqn);
    await pool?.stop();
  }

  /**
   * Starts to accept joiners for all services.
   * @throws RondevuError `not-found` if no service has been published with `publishService`, or the server's error if it
   *   refuses a service
   */
  async startFilling(): Promise<void> {
    if (!this.#pools.size)
      throw new RondevuError('not-found', 'startFilling: nothing is published yet, call publishService first');
    await Promise.all([...this.#pools.values()].map((pool) => pool.start()));
  }

  /** Stops accepting joiners for all services and closes their connections. */
  async stopFilling(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.stop()));
  }

  /**
   * Joins a service. Resolves when an offer has been found and answered; the link opens shortly after (`connection.opened`).
   * @throws ValidationError for invalid options; RondevuError `not-found` or `no-offer` if no host is available within `wait`;
   *   the abort reason if `signal` is aborted first
   */
  connectToService(options: ConnectOptions & { onConnection?: undefined }): Promise<AnswererConnection>;
  /** Opens a raw link, as v0.18 did; the link is not replaced when it is lost. @deprecated Leave `onConnection` out. */
  connectToService(options: ConnectOptions & { onConnection: OnConnection }): Promise<ConnectionContext>;
  async connectToService(
    options: ConnectOptions & { onConnection?: OnConnection },
  ): Promise<AnswererConnection | ConnectionContext> {
    if (typeof options?.onConnection === 'function') return (await legacy()).connectRaw(this, options, options.onConnection);
    const connection = await this.prepareConnection(options);
    const { wait = 0, signal } = options;
    const onAbort = () => void connection.close({ reason: 'aborted' });
    const stopListening = () => signal?.removeEventListener('abort', onAbort);
    signal?.addEventListener('abort', onAbort);
    connection.found.then(stopListening, stopListening);
    if (signal?.aborted) onAbort();
    else connection.start(wait);
    if (wait === Infinity) return connection;
    try {
      await connection.found;
      return connection;
    } catch (error) {
      await connection.close({ reason: 'nobody was found' });
      signal?.throwIfAborted();
      throw error;
    }
  }

  /**
   * Creates the same connection as `connectToService`, but does not start it; call `start(wait)` on the connection.
   * @throws ValidationError for invalid options
   */
  async prepareConnection(options: ConnectOptions): Promise<AnswererConnection> {
    checkConnectOptions(options);
    this.#checkOpen();
    const runtime = await loadLinkRuntime();
    const { target, pin } = runtime.targetOf(options);
    this.#checkOpen();
    const { iceServers, rtcConfig } = options;
    const { make } = this.#linkFactory(runtime).maker({ iceServers, rtcConfig, prefetch: true });
    const connection = new runtime.AnswererConnection(
      target,
      this.#config(runtime, options.connectionConfig),
      this.#signaling,
      make,
      this.#proof,
      runtime,
      { pin, failover: options.failover ?? false },
    );
    this.#joined.add(connection);
    connection.on('closed', () => this.#joined.delete(connection));
    return connection;
  }

  /** Looks up services. @throws RondevuError `not-found` or `no-offer` if a look-up of a single service fails */
  findService(serviceFqn: string, options: FindOptions & { mode: 'paginated' }): Promise<ServicePage>;
  findService(serviceFqn: string, options?: FindOptions & { mode?: 'direct' | 'random' }): Promise<ServiceEntry>;
  findService(serviceFqn: string, options?: FindOptions): Promise<ServiceEntry | ServicePage>;
  async findService(serviceFqn: string, options?: FindOptions): Promise<ServiceEntry | ServicePage> {
    const { findService } = await chunk('lookup', () => import('./lookup.js'));
    return findService(this.#signaling, serviceFqn, options);
  }

  /** Returns the total number of free offers of all services. */
  getOfferCount(): number {
    return [...this.#pools.values()].reduce((count, { offers }) => count + offers.length, 0);
  }

  /**
   * Returns the connections of all services, whether or not their links are up; they are accessible by offer id and by index. A
   * snapshot.
   */
  getActiveConnections(): ActiveConnections {
    return activeConnections(this.#hosted());
  }

  #hosted(): OffererConnection[] {
    return [...this.#pools.values()].flatMap(({ connections }) => connections);
  }

  isConnected(offerId: string): boolean {
    return this.#hosted().some((connection) => connection.getOfferId() === offerId && connection.isConnected());
  }

  getServiceStatus(): { active: boolean; offerCount: number } {
    return { active: [...this.#pools.values()].some(({ isStarted }) => isStarted), offerCount: this.getOfferCount() };
  }

  /** Closes all connections, hosted and joined; services continue to accept joiners. */
  async disconnectAll(): Promise<void> {
    await Promise.all([...this.#hosted(), ...this.#joined].map((connection) => connection.close()));
  }

  /** Reports an external event: the network is back, or the page was shown, hidden or resumed. */
  hint(kind: Hint): void {
    if (kind === 'hide') {
      for (const pool of this.#pools.values()) pool.suspend();
      for (const connection of this.#joined) connection.suspend();
      this.#signaling.suspend();
      return;
    }
    this.#signaling.hint();
    for (const pool of this.#pools.values()) pool.hint();
    for (const connection of this.#joined) connection.hint();
  }

  /** Withdraws the offers and closes the connections and the push socket. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= (async () => {
      this.#stopWatching();
      await Promise.all([this.stopFilling(), ...[...this.#joined].map((connection) => connection.close())]);
      this.#links?.stop();
      this.#signaling.close();
    })());
  }

  #checkOpen(): void {
    if (this.#closing) throw new RondevuError('closed', 'this client was closed');
  }

  #config({ connectionConfig }: LinkRuntimeChunk, options: PublishOptions['connectionConfig']) {
    return connectionConfig({ debug: this.#options.debug ?? false, ...options });
  }

  #linkFactory({ LinkFactory: Factory }: LinkRuntimeChunk): LinkFactory {
    return (this.#links ??= new Factory(this.#options, this.#signaling, () => {
      for (const pool of this.#pools.values()) pool.renewOffers();
    }));
  }
}
