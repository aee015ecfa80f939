/**
 * Validates all data from the server before any other code uses it: replies over HTTP and the push socket, and events. Types
 * and limits are enforced strictly; unknown fields are accepted, so that newer servers can add fields. See docs/protocol.md,
 * "Calls" and "Push".
 */
import { NetworkError, RondevuError } from '../errors.js';
import { MAX_SERVER_FRAME, type PushEvents, type RpcResponse, type ServerFrame } from '../protocol/rpc.js';
import { MAX_SDP_LENGTH } from '../protocol/sdp.js';
import { isCompatible, isUsername, parseServiceName } from '../protocol/service-name.js';

/** Maximum number of items in a list that has no smaller limit. */
const MAX_ITEMS = 10_000;

/**
 * Returns the path and type of the first invalid value, or undefined if all values are valid. The result omits the value, which
 * may be secret.
 */
type Check = (value: unknown, path: string) => string | undefined;

const wrong = (value: unknown, path: string): string =>
  `${path} (${value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value})`;

const where =
  (test: (value: never) => unknown): Check =>
  (value, path) =>
    test(value as never) ? undefined : wrong(value, path);

const text = (most = 256): Check => where((value: unknown) => typeof value === 'string' && value.length <= most);
const number = where((value: unknown) => Number.isFinite(value));
const username = where(isUsername);
const key = where((value: unknown) => typeof value === 'string' && /^[\w+/]{43}=$/.test(value));
const serviceFqn = where((value: unknown) => {
  try {
    return parseServiceName(value).username !== undefined;
  } catch {
    return false;
  }
});
const nullable =
  (check: Check): Check =>
  (value, path) =>
    value === null ? undefined : check(value, path);

/** Checks the fields of an object by name; a name that ends with `?` marks an optional field. */
const object =
  (fields: Record<string, Check>): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong(value, path);
    for (const [field, check] of Object.entries(fields)) {
      const name = field.replace('?', '');
      const given = (value as Record<string, unknown>)[name];
      const flaw = given === undefined && name !== field ? undefined : check(given, `${path}.${name}`);
      if (flaw) return flaw;
    }
    return undefined;
  };

const list =
  (item: Check, most = MAX_ITEMS, least = 0): Check =>
  (value, path) => {
    if (!Array.isArray(value) || value.length > most || value.length < least) return wrong(value, path);
    for (const [index, each] of value.entries()) {
      const flaw = item(each, `${path}[${index}]`);
      if (flaw) return flaw;
    }
    return undefined;
  };

/**
 * Checks a list of items sent by other users; a malformed item is removed, because it must not suppress the items of others.
 */
const listOfForeign =
  (item: Check): Check =>
  (value, path) => {
    const flaw = list(() => undefined)(value, path);
    if (!flaw) {
      const items = value as unknown[];
      const kept = items.filter((each) => !item(each, path));
      items.length = 0;
      for (const each of kept) items.push(each);
    }
    return flaw;
  };

const candidate = object({
  candidate: text(2048),
  'sdpMid?': nullable(text()),
  'sdpMLineIndex?': nullable(where((value: unknown) => Number.isInteger(value) && (value as number) >= 0)),
  'usernameFragment?': nullable(text()),
});
const candidates = listOfForeign(object({ candidate, 'username?': username, 'createdAt?': number }));
const answer = object({
  offerId: text(),
  answererId: username,
  sdp: text(MAX_SDP_LENGTH),
  answeredAt: number,
  'answererKey?': key,
  'answererInstance?': text(),
});
const urls: Check = (value, path) => (Array.isArray(value) ? list(text(512), 32)(value, path) : text(512)(value, path));
const iceServers = list(object({ urls, 'username?': text(512), 'credential?': text(512) }), 32);
const ttl = where((value: number) => Number.isFinite(value) && value >= 0);
const offer = object({ offerId: text() });
const service = { serviceId: text(), username, serviceFqn, 'publicKey?': key };
const entry = object({
  ...service,
  offerId: text(),
  sdp: text(MAX_SDP_LENGTH),
  'candidates?': listOfForeign(candidate),
  'iceServers?': iceServers,
  'iceTtl?': ttl,
});
const page = object({ services: list(object({ ...service, 'offerId?': text(), 'sdp?': text(MAX_SDP_LENGTH) })), count: number });
const any = object({});

const RESULTS: Record<string, Check> = {
  getUser: object({ available: where((value: unknown) => typeof value === 'boolean'), 'publicKey?': key }),
  getService: entry,
  getServiceById: entry,
  getOfferAnswer: object({ offerId: text(), answererId: username, sdp: text(MAX_SDP_LENGTH), answeredAt: number }),
  poll: object({
    answers: listOfForeign(answer),
    iceCandidates: (value, path) => any(value, path) ?? list(candidates)(Object.values(value as object), path),
  }),
  getIceServers: object({ iceServers, ttl }),
  getIceCandidates: object({ candidates: listOfForeign(object({ candidate, createdAt: number })) }),
  openSession: object({
    epoch: text(),
    seq: where(Number.isSafeInteger),
    caps: list(text(64), 100),
    'iceServers?': iceServers,
    'iceTtl?': ttl,
  }),
};

const EVENTS: { [E in keyof PushEvents]: Check } = {
  answer,
  candidates: object({ offerId: text(), candidates }),
  demand: object({ serviceFqn, waiting: number }),
  taken: offer,
  signal: object({ from: username, sid: text(), 'sdp?': text(MAX_SDP_LENGTH) }),
  resync: any,
};

interface Service {
  serviceId: string;
  serviceFqn: string;
  username: string;
}

/** Checks that a well-formed reply is about the requested service. @throws RondevuError `identity-mismatch` */
function checkService(asked: { serviceFqn?: string; serviceId?: string }, { serviceId, serviceFqn, username }: Service): void {
  const given = parseServiceName(serviceFqn);
  const wanted = asked.serviceFqn === undefined ? given : parseServiceName(asked.serviceFqn);
  if (
    wanted.name !== given.name ||
    !isCompatible(given.version, wanted.version) ||
    (wanted.username ?? username) !== username ||
    given.username !== username ||
    (asked.serviceId ?? serviceId) !== serviceId
  ) {
    const text = `${asked.serviceFqn ?? asked.serviceId} was requested, but the server returned ${serviceFqn} of ${username}`;
    throw new RondevuError('identity-mismatch', text);
  }
}

/**
 * Validates and returns the result of a call.
 * @param params parameters of the call, which determine the expected result
 * @throws NetworkError that names the invalid field; RondevuError `identity-mismatch` if the result is about a different
 *   service
 */
export function checkResult(method: string, params: unknown, result: unknown): unknown {
  const { limit, offers } = (params ?? {}) as { limit?: number; offers?: unknown[] };
  let check = RESULTS[method] ?? any;
  if (method === 'getService' && limit !== undefined) check = page;
  if (method === 'publishService')
    check = object({ serviceId: text(), expiresAt: number, offers: list(offer, offers?.length, offers?.length) });
  const flaw = check(result, 'result');
  if (flaw) throw new NetworkError(`${method}: the server sent a malformed reply: ${flaw}`);
  if (check === entry) checkService(params as object, result as Service);
  if (check === page) for (const service of (result as { services: Service[] }).services) checkService(params as object, service);
  return result;
}

/** Parses the replies in the body of an HTTP response; returns undefined if the body violates the protocol. */
export function parseReplies(body: string): RpcResponse[] | undefined {
  const replies = [parse(body)].flat();
  return list(reply, MAX_ITEMS, 1)(replies, '') ? undefined : (replies as RpcResponse[]);
}

const reply: Check = (value, path) =>
  any(value, path) ??
  ((value as RpcResponse).success === true
    ? undefined
    : object({ success: where((is) => is === false), error: text(MAX_SDP_LENGTH) })(value, path));

/**
 * Parses a push-socket frame; returns undefined for an event that is malformed or unknown, and for anything else that is not a
 * frame. Results and errors are validated when they are matched to their calls.
 */
export function parseFrame(data: unknown): ServerFrame | undefined {
  const frame = typeof data === 'string' && data.length <= MAX_SERVER_FRAME ? parse(data) : undefined;
  if (any(frame, '')) return undefined;
  const { event, ping, id } = frame as Record<string, unknown>;
  let isValid = ping === true || typeof id === 'number';
  if (event !== undefined) {
    const check = typeof event === 'string' && Object.hasOwn(EVENTS, event) ? EVENTS[event as keyof PushEvents] : undefined;
    isValid = check !== undefined && !object({ seq: where(Number.isSafeInteger), data: check })(frame, '');
  }
  return isValid ? (frame as ServerFrame) : undefined;
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
