/**
 * Limits all requests other than `POST /rpc`: pages, files, `/health` and so on. Each request waits for its address's turn and
 * costs one point; a connection has at most one request in progress. Requests for `/health`, `/ready` and `/metrics` cost no
 * points, so load balancers and Prometheus get replies regardless of how many requests an address sends.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList, Socket } from 'node:net';
import type { Authenticator } from './auth.js';
import type { Dispatcher } from './dispatcher.js';
import { addressOf, sendRefusal, type RpcContext } from './rpc-endpoint.js';
import { Turns } from './turns.js';

/**
 * Maximum number of requests on one connection that may wait for an earlier request; one more request closes the connection.
 */
export const MAX_PIPELINED = 64;

const FREE_PATHS = /^\/(health|ready|metrics)(\?|$)/;

export interface OtherRequestsContext extends Pick<RpcContext, 'caps' | 'corsOrigins'> {
  auth: Pick<Authenticator, 'chargeBytes'>;
  errors: Pick<Dispatcher, 'publicError'>;
  proxies: BlockList | undefined;
}

type Handle = (request: IncomingMessage, response: ServerResponse) => void;
type HandleAsync = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export function limitOtherRequests(handle: HandleAsync, { auth, errors, proxies, ...context }: OtherRequestsContext): Handle {
  /** Queued requests, by connection; HTTP replies must be sent in order anyway. */
  const queues = new WeakMap<Socket, (() => void)[]>();
  /** Free requests have separate turns, so that calls from the same address do not delay them. */
  const turns = new Turns();

  const start: Handle = (request, response) => {
    const address = addressOf(request, proxies);
    const isFree = (request.method === 'GET' || request.method === 'HEAD') && FREE_PATHS.test(request.url ?? '');
    const admitted = isFree ? (turns.take(address, 1) ?? Promise.resolve()) : auth.chargeBytes(address, 0, 1);
    admitted
      .then(
        () => (response.destroyed ? undefined : handle(request, response)),
        (error: unknown) => sendRefusal(context, request, response, errors.publicError(error)),
      )
      .catch((error: unknown) => {
        errors.publicError(error);
        response.destroy();
      });
  };

  return (request, response) => {
    const { socket } = request;
    const queue = queues.get(socket);
    if (queue && queue.length >= MAX_PIPELINED) return void socket.destroy();
    response.once('close', () => {
      const next = queues.get(socket)?.shift();
      if (next && !socket.destroyed) next();
      else queues.delete(socket);
    });
    if (queue) return void queue.push(() => start(request, response));
    queues.set(socket, []);
    start(request, response);
  };
}
