/**
 * POSTs calls to `{apiUrl}/rpc` and reads the server's capabilities from each reply.
 */
import { NetworkError } from '../errors.js';
import { CAPS_HEADER, type RpcRequest, type RpcResponse } from '../protocol/rpc.js';
import { parseReplies } from './server-messages.js';

/** How long a call may take in addition to its `wait`, in ms. */
export const CALL_TIMEOUT = 15_000;
/** Maximum size of a reply, in bytes. */
const MAX_REPLY = 10 * 1024 * 1024;
/** Maximum length of the capabilities header, in characters. */
const MAX_CAPS = 2048;

export class HttpTransport {
  readonly #url: string;
  readonly #onCaps: (caps: string[]) => void;

  constructor(baseUrl: string, onCaps: (caps: string[]) => void) {
    this.#url = `${baseUrl}/rpc`;
    this.#onCaps = onCaps;
  }

  /**
   * Sends a single request as an object, and several requests as an array.
   * @param keepalive whether the request may outlive the page
   * @throws NetworkError if the server cannot be reached or does not speak the protocol
   */
  async post(requests: RpcRequest[], { wait = 0, signal, keepalive = false }: PostOptions = {}): Promise<RpcResponse[]> {
    signal?.throwIfAborted();
    // AbortSignal.any is missing in some supported browsers
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Error(`no reply within ${CALL_TIMEOUT + wait} ms`)), CALL_TIMEOUT + wait);
    const onAbort = () => controller.abort(signal!.reason);
    signal?.addEventListener('abort', onAbort);
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.#url, {
        method: 'POST',
        // a string is sent as text/plain, which needs no CORS preflight
        body: JSON.stringify(requests.length === 1 ? requests[0] : requests),
        signal: controller.signal,
        keepalive,
        // a server must not redirect the client to addresses that only the client can reach
        redirect: 'manual',
      });
      text = await textOf(response);
    } catch (cause) {
      signal?.throwIfAborted();
      throw new NetworkError(`the signaling server ${this.#url} cannot be reached: ${reasonOf(cause)}`, { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
    const replies = parseReplies(text);
    // 404 and 405 mean that the address is wrong, even if a Rondevu server sends them
    if (!replies || response.status === 404 || response.status === 405) {
      // browsers reveal only that the response is a redirect
      const isRedirect = response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400);
      const what = isRedirect ? ' with a redirect' : ` HTTP ${response.status}${replies ? '' : ' without a valid Rondevu reply'}`;
      throw new NetworkError(
        `POST ${this.#url} answered${what}: apiUrl must be the address of a Rondevu server, with its path if it has one`,
      );
    }
    // reads capabilities only from valid replies, because a gateway's error page does not contain them
    this.#onCaps(
      response.headers
        .get(CAPS_HEADER)
        ?.slice(0, MAX_CAPS)
        .split(',')
        .map((cap) => cap.trim()) ?? [],
    );
    // if the whole request was refused (for example because it is too large), all its calls fail with the same error
    return response.ok || replies.length === requests.length ? replies : requests.map(() => replies[0]!);
  }
}

export interface PostOptions {
  /** The call's `wait`, in ms; extends the timeout. */
  wait?: number | undefined;
  signal?: AbortSignal | undefined;
  keepalive?: boolean;
}

/**
 * Why `fetch` failed. Node provides the reason in the cause; browsers provide no reason, so the message lists causes that a
 * user can fix.
 */
function reasonOf(error: unknown): string {
  const { name, message, cause } = error as Error & { cause?: Error & { code?: string } };
  if (name !== 'TypeError') return message;
  const why = cause?.message || cause?.code;
  return why
    ? `${message} (${why})`
    : `${message}. Is the server running, the address right, and allowed by the page's Content-Security-Policy (connect-src)?`;
}

/** The body as text. @throws Error if the body is longer than MAX_REPLY */
export async function textOf({ body }: Response): Promise<string> {
  const reader = body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let length = 0; ;) {
    const { value } = (await reader?.read()) ?? {};
    if (!value) return text + decoder.decode();
    length += value.length;
    if (length > MAX_REPLY) {
      await reader!.cancel();
      throw new Error(`the reply is longer than ${MAX_REPLY} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}
