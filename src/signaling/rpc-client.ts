/**
 * RpcClient: makes authenticated RPC calls, over the push socket if it is open and otherwise over HTTP. Independent of WebRTC;
 * see docs/protocol.md, "Calls".
 */
import { chunk } from '../base/chunk.js';
import { NetworkError, RondevuError } from '../errors.js';
import type { CryptoAdapter, Keypair, Signer } from '../identity/index.js';
import {
  ALWAYS_SIGNED,
  type RpcMethod,
  type RpcParams,
  type RpcRequest,
  type RpcResponse,
  type RpcResult,
} from '../protocol/rpc.js';
import { HttpTransport } from './http-transport.js';
import type { PushSocket } from './push-socket.js';
import { RequestSigner } from './request-signer.js';
import type { BatchingOptions, RpcBatcher } from './rpc-batcher.js';
import { checkResult } from './server-messages.js';
import { ServerError } from './server-error.js';

export interface CallOptions {
  /** Whether to send the call without waiting for a batch. Default false. */
  urgent?: boolean;
  signal?: AbortSignal | undefined;
  /** Whether the request may outlive the page. Default false. */
  keepalive?: boolean;
}

export class RpcClient {
  readonly baseUrl: string;
  readonly username: string;
  /** @internal */
  readonly signer: RequestSigner;
  /** Key pair or signer that signs the calls. */
  readonly identity: Keypair | Signer;
  /** Push socket that carries calls while it is open. @internal */
  socket: PushSocket | undefined;
  /** Called with the server's capabilities after each HTTP reply; the list is empty for v0.5.4. @internal */
  onCaps: ((caps: string[]) => void) | undefined;
  /** @internal */
  protected batcher: RpcBatcher | undefined;
  readonly #http: HttpTransport;
  readonly #batching: BatchingOptions | false;
  #closed = false;

  /**
   * @param baseUrl URL of the server, to which `/rpc` and `/ws` are appended
   * @param keypair key pair in base64, or a Signer
   * @param batching false sends each call in a separate request
   * @throws ValidationError if baseUrl is not an http(s) URL
   */
  constructor(
    baseUrl: string,
    username: string,
    keypair: Keypair | Signer,
    cryptoAdapter?: CryptoAdapter,
    batching: BatchingOptions | false = {},
  ) {
    this.signer = new RequestSigner(baseUrl, username, keypair, cryptoAdapter);
    this.baseUrl = this.signer.aud;
    this.username = username;
    this.identity = keypair;
    this.#batching = batching;
    this.#http = new HttpTransport(this.baseUrl, (caps) => this.onCaps?.(caps));
  }

  /**
   * Makes any call. If the clocks disagree, the client adopts the server's time and silently retries once.
   * @throws ServerError with the server's code, NetworkError if the server cannot be reached
   */
  async call<M extends RpcMethod>(method: M, params: RpcParams<M>, options: CallOptions = {}): Promise<RpcResult<M>> {
    const { wait = 0 } = params as { wait?: number };
    if (this.socket?.isOpen && !ALWAYS_SIGNED.has(method))
      return (await this.socket.request(method, params, wait, options.signal)) as RpcResult<M>;
    let response = await this.#post(method, params, wait, options);
    const { serverTime } = response.success ? {} : new ServerError(method, response);
    if (serverTime !== undefined && this.signer.setServerTime(serverTime))
      response = await this.#post(method, params, wait, options);
    if (!response.success) throw new ServerError(method, response);
    return checkResult(method, params, response.result) as RpcResult<M>;
  }

  /** Rejects calls that are waiting for a batch. */
  close(): void {
    this.#closed = true;
    this.batcher?.clear();
  }

  /** Batching is useful only for clients without a push socket. @throws ValidationError for an invalid option */
  async useBatcher(options: BatchingOptions): Promise<RpcBatcher> {
    const { RpcBatcher } = await chunk('rpc-batcher', () => import('./rpc-batcher.js'));
    if (this.#closed) throw new RondevuError('closed', 'the client was closed');
    return (this.batcher ??= new RpcBatcher((requests) => this.post(requests), options));
  }

  /** @internal */
  protected post(requests: RpcRequest[]): Promise<RpcResponse[]> {
    return this.#http.post(requests);
  }

  async #post(method: string, params: unknown, wait: number, { urgent, signal, keepalive }: CallOptions): Promise<RpcResponse> {
    const request = await this.signer.sign(method, params);
    // looking up a username must not claim it
    if (method === 'getUser') delete request.publicKey;
    // a call that waits or can be aborted individually must not delay other calls
    if (this.#batching && !wait && !signal && !keepalive && (!urgent || this.batcher))
      return (await this.useBatcher(this.#batching)).add(request, urgent);
    const [response] = await this.#http.post([request], { wait, signal, ...(keepalive && { keepalive }) });
    if (!response) throw new NetworkError('the server sent an empty reply');
    return response;
  }
}
