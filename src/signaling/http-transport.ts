/**
 * POSTs calls to `{apiUrl}/rpc` and learns from each reply what the server can do.
 */
import { NetworkError } from '../errors.js';
import { CAPS_HEADER, type RpcRequest, type RpcResponse } from '../protocol/rpc.js';

/** How long a call may take beyond what it asked to wait, in ms. */
export const CALL_TIMEOUT = 15_000;

export class HttpTransport {
  readonly #url: string;
  readonly #onCaps: (caps: string[]) => void;

  constructor(baseUrl: string, onCaps: (caps: string[]) => void) {
    this.#url = `${baseUrl}/rpc`;
    this.#onCaps = onCaps;
  }

  /**
   * One request goes as it is, several as an array.
   * @param keepalive let the request outlive the page
   * @throws NetworkError when the server cannot be reached or does not speak the protocol
   */
  async post(requests: RpcRequest[], { wait = 0, signal, keepalive = false }: PostOptions = {}): Promise<RpcResponse[]> {
    const timeout = AbortSignal.timeout(CALL_TIMEOUT + wait);
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.#url, {
        method: 'POST',
        // a string goes as text/plain, which needs no CORS preflight
        body: JSON.stringify(requests.length === 1 ? requests[0] : requests),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        keepalive,
      });
      text = await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      throw new NetworkError(`the signaling server ${this.#url} cannot be reached: ${String(cause)}`, { cause });
    }
    const replies = parseReplies(text);
    if (replies) {
      // a gateway's error page says nothing of what the server can do
      this.#onCaps(response.headers.get(CAPS_HEADER)?.split(/\s*,\s*/) ?? []);
      // a refused request (too large, too many) is one failure for all its calls
      return response.ok || replies.length === requests.length ? replies : requests.map(() => replies[0]!);
    }
    throw new NetworkError(
      `${this.#url} answered HTTP ${response.status} with something that is not a Rondevu reply: is apiUrl right?`,
    );
  }
}

export interface PostOptions {
  /** What the call asks the server to wait, in ms; prolongs the timeout. */
  wait?: number | undefined;
  signal?: AbortSignal | undefined;
  keepalive?: boolean;
}

/** The replies in a body; undefined when it is not one of this protocol. */
function parseReplies(text: string): RpcResponse[] | undefined {
  try {
    const replies = [JSON.parse(text)].flat() as RpcResponse[];
    return replies.every((reply) => typeof reply?.success === 'boolean') ? replies : undefined;
  } catch {
    return undefined;
  }
}
