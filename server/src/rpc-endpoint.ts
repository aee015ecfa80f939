/**
 * `POST /rpc` on Node's own HTTP: the one address that is hot, and for which the objects of a web framework cost more than the
 * call. Reads and bounds the body, runs a batch in order, and gives every failed item as HTTP 200, as v0.20 clients need it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { CAPS_HEADER, MAX_BATCH, type RpcResponse } from 'rondevu-elements/protocol';
import { clientAddress } from './client-address.js';
import type { Dispatcher, Gone } from './dispatcher.js';
import { MAX_HTTP_WAIT } from './schemas.js';

export interface RpcContext {
  dispatcher: Dispatcher;
  proxies: BlockList | undefined;
  caps: string[];
  corsOrigins: string[];
  maxBodyBytes: number;
  /** Whether it stops: connections are not kept then. */
  isDraining(): boolean;
}

interface Answer {
  status: number;
  body: RpcResponse | RpcResponse[];
}

export type RpcEndpoint = (request: IncomingMessage, response: ServerResponse) => void;

export function createRpcEndpoint(context: RpcContext): RpcEndpoint {
  return (request, response) => {
    // few calls wait, and only these must know
    const gone = (): AbortSignal => {
      const controller = new AbortController();
      if (response.destroyed) controller.abort();
      response.once('close', () => response.writableFinished || controller.abort());
      return controller.signal;
    };
    void respond(context, request, gone).then((answer) => {
      // written together with what else is answered in this turn, as a session does
      setImmediate(() => {
        // who hung up hears nothing
        if (answer && !response.destroyed) send(context, request, response, answer);
      });
    });
  };
}

/** Undefined when the client went before all of its request was there. */
async function respond(context: RpcContext, request: IncomingMessage, gone: Gone): Promise<Answer | undefined> {
  const { dispatcher, maxBodyBytes } = context;
  try {
    const text = await readBody(request, maxBodyBytes);
    if (text === undefined) return undefined;
    if (text === 'too-large') return refuse(413, 'too-large', `Request too large: at most ${maxBodyBytes} bytes`);
    let body: unknown;
    try {
      body = JSON.parse(text.json);
    } catch {
      return refuse(400, 'bad-request', 'Invalid JSON in the request body');
    }
    return await answer(context, request, body, gone);
  } catch (error) {
    return refuse(500, 'unavailable', dispatcher.publicError(error).message);
  }
}

async function answer({ dispatcher, proxies }: RpcContext, request: IncomingMessage, body: unknown, gone: Gone): Promise<Answer> {
  const { host = '', 'x-forwarded-for': forwarded } = request.headers;
  const from = { address: clientAddress(request.socket.remoteAddress ?? '', forwarded?.toString(), proxies), host };
  if (!Array.isArray(body)) {
    const response = await outcome(dispatcher, dispatcher.signed(body, from, MAX_HTTP_WAIT, gone));
    return { status: !response.success && response.code === 'rate-limited' ? 429 : 200, body: response };
  }
  if (body.length === 0 || body.length > MAX_BATCH)
    return refuse(400, 'bad-request', `A batch must hold 1 to ${MAX_BATCH} calls, got ${body.length}`);
  const responses: RpcResponse[] = [];
  for (const call of body) {
    responses.push(await outcome(dispatcher, dispatcher.signed(call, from, 0, gone)));
    // verifying 100 signatures takes a while; others' calls go in between
    await new Promise(setImmediate);
  }
  return { status: 200, body: responses };
}

async function outcome(dispatcher: Dispatcher, call: Promise<unknown>): Promise<RpcResponse> {
  try {
    return { success: true, result: await call };
  } catch (error) {
    const { message, code, details } = dispatcher.publicError(error);
    return { success: false, error: message, code, ...details };
  }
}

const refuse = (status: number, code: 'bad-request' | 'too-large' | 'unavailable', error: string): Answer => ({
  status,
  body: { success: false, error, code },
});

/** Undefined for what was cut off. */
function readBody(request: IncomingMessage, most: number): Promise<{ json: string } | 'too-large' | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > most) return Promise.resolve('too-large');
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= most) return void chunks.push(chunk);
      request.pause();
      resolve('too-large');
    });
    request.on('end', () => resolve({ json: (chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString() }));
    request.on('error', () => resolve(undefined));
    request.on('close', () => resolve(undefined));
  });
}

function send(
  { caps, corsOrigins, isDraining }: RpcContext,
  request: IncomingMessage,
  response: ServerResponse,
  { status, body }: Answer,
): void {
  const { origin } = request.headers;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader(CAPS_HEADER, caps.join(', '));
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Access-Control-Expose-Headers', CAPS_HEADER);
  if (corsOrigins.includes('*')) response.setHeader('Access-Control-Allow-Origin', '*');
  else {
    response.setHeader('Vary', 'Origin');
    if (origin !== undefined && corsOrigins.includes(origin)) response.setHeader('Access-Control-Allow-Origin', origin);
  }
  // RFC 6585 section 4
  if (status === 429 && !Array.isArray(body) && !body.success && body.retryAfter)
    response.setHeader('Retry-After', Math.ceil(body.retryAfter / 1000));
  // what was not read to its end cannot be followed by another request
  if (isDraining() || !request.complete) response.setHeader('Connection', 'close');
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}
