/**
 * RpcClient: any call of the wire, over the push socket when one is open, else over HTTP, signed either way. Knows nothing of
 * WebRTC. docs/protocol.md, "Calls".
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
  /** Not to be held back for company. Default false. */
  urgent?: boolean;
  signal?: AbortSignal | undefined;
  /** Let the request outlive the page. Default false. */
  keepalive?: boolean;
}

export class RpcClient {
  readonly baseUrl: string;
  readonly username: string;
  readonly signer: RequestSigner;
  /** What calls are signed with. */
  readonly identity: Keypair | Signer;
  /** Carries calls while it is open. */
  socket: PushSocket | undefined;
  /** Told at each HTTP reply what the server can do; empty for v0.5.4. */
  onCaps: ((caps: string[]) => void) | undefined;
  protected batcher: RpcBatcher | undefined;
  readonly #http: HttpTransport;
  readonly #batching: BatchingOptions | false;
  #closed = false;

  /**
   * @param baseUrl where the server is; `/rpc` and `/ws` are below it
   * @param keypair base64 keys, or a Signer
   * @param batching false sends every call by itself
   * @throws ValidationError when baseUrl is no http(s) address
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
   * Any call. A wrong clock is put right once, silently.
   * @throws ServerError with the server's code, NetworkError when it cannot be reached
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

  /** Rejects calls that wait for company. */
  close(): void {
    this.#closed = true;
    this.batcher?.clear();
  }

  /** Only clients without a push socket have use for it. @throws ValidationError for a wrong option */
  async useBatcher(options: BatchingOptions): Promise<RpcBatcher> {
    const { RpcBatcher } = await chunk('rpc-batcher', () => import('./rpc-batcher.js'));
    if (this.#closed) throw new RondevuError('closed', 'the client was closed');
    return (this.batcher ??= new RpcBatcher((requests) => this.post(requests), options));
  }

  protected post(requests: RpcRequest[]): Promise<RpcResponse[]> {
    return this.#http.post(requests);
  }

  async #post(method: string, params: unknown, wait: number, { urgent, signal, keepalive }: CallOptions): Promise<RpcResponse> {
    const request = await this.signer.sign(method, params);
    // to ask for a name must not claim it
    if (method === 'getUser') delete request.publicKey;
    // a call that waits, or that may be cut off alone, must not hold others up
    if (this.#batching && !wait && !signal && !keepalive && (!urgent || this.batcher))
      return (await this.useBatcher(this.#batching)).add(request, urgent);
    const [response] = await this.#http.post([request], { wait, signal, ...(keepalive && { keepalive }) });
    if (!response) throw new NetworkError('the server sent an empty reply');
    return response;
  }
}

/** Whether the server knows a username as taken, by us or by another. */
export async function isUsernameClaimed(client: RpcClient, username: string): Promise<boolean> {
  try {
    return !(await client.call('getUser', { username })).available;
  } catch (error) {
    // asked under a name that is another's, the server answers that our signature does not fit
    if (error instanceof ServerError && /^(bad-signature|name-taken)$/.test(error.code)) return true;
    throw error;
  }
}
