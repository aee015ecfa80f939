/**
 * Serves `POST /rpc` directly on Node's HTTP server: this is the hot path, and the objects that a web framework creates would
 * cost more than the call. Reads the body up to a size limit, runs the calls of a batch in order, and reports failed calls with
 * HTTP 200, as v0.20 clients expect.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { CAPS_HEADER, MAX_BATCH } from 'rondevu-elements/protocol';
import type { Authenticator } from './auth.js';
import { clientAddress } from './client-address.js';
import type { Limits } from './limits.js';
import { MAX_BODY_VALUES, countItems, hasMoreValues } from './count-values.js';
import type { DisconnectSignal } from './caller.js';
import type { Dispatcher } from './dispatcher.js';
import { RpcError } from './rpc-error.js';
import { MAX_HTTP_WAIT } from './schemas.js';
import type { Tally } from './tally.js';
import type { Reader, Unread } from './unread.js';

/**
 * Total size of the replies to a batch, in multiples of `maxReplyBytes`, above which the remaining calls of the batch are not
 * run.
 */
export const MAX_BATCH_REPLIES = 8;
/** How long the headers of a request may take to arrive, in ms. */
export const HEADERS_WITHIN = 10_000;
/** How long a whole request may take to arrive, in ms. */
export const REQUEST_WITHIN = 30_000;
/** How long a client may take to read a reply, in ms. */
export const READ_TIMEOUT = 60_000;
/** Maximum body size, in bytes, of a refused request whose body is read or discarded so that the connection can be kept. */
export const SMALL_BODY = 65_536;
/**
 * Maximum total size of the bodies from one address that are read or processed at the same time, in multiples of
 * `maxBodyBytes`.
 */
export const MAX_CONCURRENT_BODIES = 32;

export interface RpcContext {
  dispatcher: Dispatcher;
  auth: Pick<Authenticator, 'chargeBytes' | 'checkAddress'>;
  proxies: BlockList | undefined;
  caps: string[];
  corsOrigins: string[];
  limits: Pick<Limits, 'maxBodyBytes' | 'maxReplyBytes'>;
  /** Counts requests that are being read or processed, by address. */
  requestsOfAddress: Tally;
  /** Counts the bytes of request bodies and of incomplete frames, by address. */
  bytesOfAddress: Tally;
  unread: Unread;
  /** Whether the server is stopping; if so, connections are not kept alive. */
  isDraining(): boolean;
}

interface Reply {
  status: number;
  /** JSON. */
  text: string;
  /** In ms. */
  retryAfter?: number | undefined;
}

export type RpcEndpoint = (request: IncomingMessage, response: ServerResponse) => void;

export function createRpcEndpoint(context: RpcContext): RpcEndpoint {
  return (request, response) => {
    let controller: AbortController | undefined;
    // only the few calls that wait need an abort signal
    const disconnectSignal = (): AbortSignal => {
      if (controller) return controller.signal;
      const made = (controller = new AbortController());
      if (response.destroyed) made.abort();
      response.once('close', () => response.writableFinished || made.abort());
      return made.signal;
    };
    void respond(context, request, response, disconnectSignal).then((reply) => {
      // the reply is written together with the other replies of this turn of the event loop, as in session.ts
      setImmediate(() => {
        if (!reply || response.destroyed) return;
        try {
          send(context, request, response, reply);
        } catch (error) {
          context.dispatcher.publicError(error);
          response.destroy();
        }
      });
    });
  };
}

const isSmall = ({ headers }: IncomingMessage): boolean => Number(headers['content-length'] ?? Infinity) <= SMALL_BODY;

/** The client's address. */
export const addressOf = ({ socket, headers }: IncomingMessage, proxies: BlockList | undefined): string =>
  clientAddress(socket.remoteAddress ?? '', headers['x-forwarded-for']?.toString(), proxies);

/** Returns undefined if the client disconnected before its request had been fully received and processed. */
async function respond(
  context: RpcContext,
  request: IncomingMessage,
  response: ServerResponse,
  disconnectSignal: DisconnectSignal,
): Promise<Reply | undefined> {
  const { dispatcher, auth, proxies, limits, requestsOfAddress, bytesOfAddress } = context;
  const held: (() => void)[] = [];
  let read: Awaited<ReturnType<typeof readBody>>;
  try {
    const { host = '' } = request.headers;
    const from = { address: addressOf(request, proxies), host };
    // reading a large body costs more than refusing it, but a small body may be a batch, in which every call gets an error
    const refusal: unknown = await auth.checkAddress(from.address).catch((error: unknown) => error);
    if (refusal && !isSmall(request)) throw refusal;
    const hold = (tally: Tally, amount: number): boolean => {
      const release = tally.take(from.address, amount);
      if (release) held.push(release);
      return release !== undefined;
    };
    if (!hold(requestsOfAddress, 1)) throw tooManyAtOnce('requests');
    read = await readBody(request, limits.maxBodyBytes, (bytes) => hold(bytesOfAddress, bytes));
    if (refusal) throw refusal;
    if (read === undefined) return undefined;
    if (read === 'too-large') {
      await auth.chargeBytes(from.address, limits.maxBodyBytes, 1);
      return refuse(413, new RpcError('too-large', `Request too large: at most ${limits.maxBodyBytes} bytes`));
    }
    if (read === 'too-many') throw tooManyAtOnce('bytes');
    await auth.chargeBytes(from.address, read.length);
    if (hasMoreValues(read, MAX_BODY_VALUES))
      return refuse(413, new RpcError('too-large', `Request too large: at most ${MAX_BODY_VALUES} values`));
    let body: unknown;
    try {
      body = JSON.parse(read.toString());
    } catch {
      await auth.chargeBytes(from.address, 0, 1);
      return refuse(400, new RpcError('bad-request', 'Invalid JSON in the request body'));
    }
    return Array.isArray(body)
      ? await batch(context, body, from, response, disconnectSignal)
      : await single(dispatcher, body, from, disconnectSignal);
  } catch (error) {
    const publicError = dispatcher.publicError(error);
    if (publicError.code !== 'rate-limited') return refuse(500, publicError);
    const calls = Buffer.isBuffer(read) ? countItems(read) : 0;
    if (calls === 0 || calls > MAX_BATCH) return refuse(429, publicError);
    return { status: 200, text: `[${Array<string>(calls).fill(failed(publicError)).join(',')}]` };
  } finally {
    for (const release of held) release();
  }
}

async function single(
  dispatcher: Dispatcher,
  call: unknown,
  from: { address: string; host: string },
  disconnectSignal: DisconnectSignal,
): Promise<Reply> {
  try {
    return { status: 200, text: succeeded(await dispatcher.dispatchSigned(call, from, MAX_HTTP_WAIT, disconnectSignal)) };
  } catch (error) {
    const publicError = dispatcher.publicError(error);
    return refuse(publicError.code === 'rate-limited' ? 429 : 200, publicError);
  }
}

/** Runs the calls one after the other, until the replies reach their size limit or the client disconnects. */
async function batch(
  { dispatcher, limits }: RpcContext,
  calls: unknown[],
  from: { address: string; host: string },
  response: ServerResponse,
  disconnectSignal: DisconnectSignal,
): Promise<Reply | undefined> {
  if (calls.length === 0 || calls.length > MAX_BATCH)
    return refuse(400, new RpcError('bad-request', `A batch must contain 1 to ${MAX_BATCH} calls, got ${calls.length}`));
  const most = MAX_BATCH_REPLIES * limits.maxReplyBytes;
  const replies: string[] = [];
  let length = 0;
  for (const call of calls) {
    if (response.destroyed) return undefined;
    const reply =
      length < most
        ? await dispatcher
            .dispatchSigned(call, from, 0, disconnectSignal)
            .then(succeeded, (error: unknown) => failed(dispatcher.publicError(error)))
        : failed(
            new RpcError(
              'too-large',
              `This call was not run: the replies before it exceed ${most} bytes; send it in another batch`,
            ),
          );
    replies.push(reply);
    length += reply.length;
    // verifying 100 signatures takes a while, so calls from other clients run between the calls of a batch
    await new Promise(setImmediate);
  }
  return { status: 200, text: `[${replies.join(',')}]` };
}

const succeeded = (result: string): string => `{"success":true,"result":${result}}`;
const failed = ({ message, code, details }: RpcError): string =>
  JSON.stringify({ success: false, error: message, code, ...details });

const refuse = (status: number, error: RpcError): Reply => ({
  status,
  text: failed(error),
  retryAfter: error.details.retryAfter,
});

const tooManyAtOnce = (what: string): RpcError =>
  new RpcError('rate-limited', `Too many ${what} from this address at once`, { retryAfter: 1000 });

/**
 * @param hold reserves bytes as they arrive; returns false if there is no room for them
 * @returns the body, or undefined if the connection closed before the body was complete
 */
function readBody(
  request: IncomingMessage,
  most: number,
  hold: (bytes: number) => boolean,
): Promise<Buffer | 'too-large' | 'too-many' | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > most) return Promise.resolve('too-large');
  return new Promise((resolve) => {
    // an array of many small chunks would take more memory than the bytes themselves
    let body: Buffer = Buffer.alloc(0);
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      const end = length + chunk.length;
      if (end > body.length) {
        const room = Math.min(most, Math.max(end, 2 * body.length));
        if (end > most || !hold(room - body.length)) {
          request.pause();
          return resolve(end > most ? 'too-large' : 'too-many');
        }
        const larger = length ? Buffer.allocUnsafeSlow(room) : chunk;
        if (length) body.copy(larger, 0, 0, length);
        body = larger;
      }
      if (length || body !== chunk) chunk.copy(body, length);
      length = end;
    });
    request.on('end', () => resolve(body.subarray(0, length)));
    request.on('error', () => resolve(undefined));
    request.on('close', () => resolve(undefined));
  });
}

/** Sets the headers of every reply that does not come from the web framework. */
export function setCommonHeaders(
  { headers: { origin } }: IncomingMessage,
  response: ServerResponse,
  caps: string[],
  corsOrigins: string[],
): void {
  response.setHeader(CAPS_HEADER, caps.join(', '));
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Access-Control-Expose-Headers', CAPS_HEADER);
  if (corsOrigins.includes('*')) response.setHeader('Access-Control-Allow-Origin', '*');
  else {
    response.appendHeader('Vary', 'Origin');
    if (origin !== undefined && corsOrigins.includes(origin)) response.setHeader('Access-Control-Allow-Origin', origin);
  }
}

/** Refuses a request that is not a call, and closes the connection, so that no later requests on it are answered. */
export function sendRefusal(
  { caps, corsOrigins }: Pick<RpcContext, 'caps' | 'corsOrigins'>,
  request: IncomingMessage,
  response: ServerResponse,
  error: RpcError,
): void {
  const { retryAfter } = error.details;
  const text = failed(error);
  setCommonHeaders(request, response, caps, corsOrigins);
  // RFC 6585 section 4
  if (retryAfter) response.setHeader('Retry-After', Math.ceil(retryAfter / 1000));
  response.writeHead(error.code === 'rate-limited' ? 429 : 500, {
    Connection: 'close',
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

function send(
  { caps, corsOrigins, isDraining, proxies, unread }: RpcContext,
  request: IncomingMessage,
  response: ServerResponse,
  { status, text, retryAfter }: Reply,
): void {
  setCommonHeaders(request, response, caps, corsOrigins);
  response.setHeader('Content-Type', 'application/json');
  // RFC 6585 section 4
  if (status === 429 && retryAfter) response.setHeader('Retry-After', Math.ceil(retryAfter / 1000));
  // Node discards a body only if no part of it was read; otherwise, no other request can follow on the connection
  const hasUnreadBody = !request.complete && (request.readableDidRead || !isSmall(request));
  if (isDraining() || hasUnreadBody) response.setHeader('Connection', 'close');
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
  if (response.writableLength === 0) return;
  const reader: Reader = {
    address: addressOf(request, proxies),
    get unread() {
      return response.destroyed ? 0 : response.writableLength;
    },
    cutOff: () => response.destroy(),
  };
  // the reply to a client that does not read would stay in memory indefinitely
  const readTimeout = setTimeout(() => response.destroy(), READ_TIMEOUT);
  response.once('close', () => {
    clearTimeout(readTimeout);
    unread.forget(reader);
  });
  unread.note(reader);
}
