/**
 * Compares every table in docs/protocol.md with the code: with schemas, constants and types where they exist, and otherwise
 * with the behaviour. A test fails if a row is added, removed or changed in the document but not in the code, or vice versa.
 * `NOT_COMPARED` lists the tables that do not describe this code.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as v from 'valibot';
import { createApp } from '../../server/src/app.js';
import { CLOSE } from '../../server/src/close-codes.js';
import { LEGACY_AUTH, readConfig } from '../../server/src/config.js';
import * as countValues from '../../server/src/count-values.js';
import * as fairness from '../../server/src/fairness.js';
import { Fairness } from '../../server/src/fairness.js';
import * as handlers from '../../server/src/handlers.js';
import * as hub from '../../server/src/hub.js';
import * as incomingFrames from '../../server/src/incoming-frames.js';
import { CAPS, DEFAULT_LIMITS, DEFAULT_TURN, type Limits } from '../../server/src/index.js';
import * as limiter from '../../server/src/limiter.js';
import { costOf } from '../../server/src/limiter.js';
import { createLog } from '../../server/src/log.js';
import { Metrics } from '../../server/src/metrics.js';
import * as discovery from '../../server/src/discovery.js';
import * as matchmaker from '../../server/src/matchmaker.js';
import * as otherRequests from '../../server/src/other-requests.js';
import { maxReply } from '../../server/src/dispatcher.js';
import { Quotas } from '../../server/src/quotas.js';
import * as rpcEndpoint from '../../server/src/rpc-endpoint.js';
import { RpcError } from '../../server/src/rpc-error.js';
import * as schemaModule from '../../server/src/schemas.js';
import { checkEnvelope, checkParams, checkSize, createSchemas, type Schemas } from '../../server/src/schemas.js';
import * as session from '../../server/src/session.js';
import * as slots from '../../server/src/slots.js';
import * as store from '../../server/src/store.js';
import type { Store } from '../../server/src/store.js';
import * as turns from '../../server/src/turns.js';
import * as unread from '../../server/src/unread.js';
import * as upgrades from '../../server/src/upgrades.js';
import * as waitingRoom from '../../server/src/waiting-room.js';
import { WaitingRoom, type Waiter } from '../../server/src/waiting-room.js';
import { ControlChannel } from '../../src/connection/control-channel.js';
import { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { finFrame, helloFrame } from '../../src/protocol/frames.js';
import { MAX_JSON_DEPTH } from '../../src/protocol/json.js';
import { ALWAYS_SIGNED, LEGACY_CONTEXT, MAX_BATCH, type RpcMethod } from '../../src/protocol/rpc.js';
import { isCompatible, parseServiceName } from '../../src/protocol/service-name.js';
import { OLD_TEXTS, ServerError } from '../../src/signaling/server-error.js';
import { DocumentTables, codes, parseShape, type Shape } from './document-tables.js';
import { SourceFacts, filesIn, sourceOf } from './source-facts.js';

const RPC = 'src/protocol/rpc.ts';

/** Tables that describe the v0.5.4 server instead of this code. */
const NOT_COMPARED = [{ section: 'Towards a v0.5.4 server', head: ['', 'v0.5.4', 'The client therefore'] }];

const document = new DocumentTables('docs/protocol.md');
let facts: SourceFacts;
let methods: RpcMethod[];
before(() => {
  facts = new SourceFacts();
  methods = facts.names(RPC, 'RpcMethods') as RpcMethod[];
});

const sorted = (items: Iterable<string>): string[] => [...new Set(items)].sort();

/** Formats a number as in the document, which separates the digits of numbers above 9999 into groups of three. */
const n = (value: number | string): string =>
  Number(value) < 10_000 ? String(value) : String(value).replace(/\B(?=(\d{3})+$)/g, ' ');

/** Bounds set by a schema and by the schemas that it wraps. */
interface Bounds {
  min?: number;
  max?: number;
  pattern?: string;
  standard?: unknown;
  /** Schemas of the properties of an object, or of the objects in a list. */
  entries?: Record<string, v.GenericSchema>;
}

function boundsOf(schema: unknown): Bounds {
  const part = schema as {
    type: string;
    requirement?: number | RegExp;
    default?: unknown;
    wrapped?: unknown;
    item?: unknown;
    entries?: Bounds['entries'];
    pipe?: unknown[];
  };
  const bounds: Bounds = {};
  if (/^min_(value|length)$/.test(part.type)) bounds.min = Number(part.requirement);
  if (/^max_(value|length)$/.test(part.type)) bounds.max = Number(part.requirement);
  if (part.type === 'regex') bounds.pattern = (part.requirement as RegExp).source;
  if (part.default !== undefined) bounds.standard = part.default;
  if (part.wrapped) Object.assign(bounds, boundsOf(part.wrapped));
  const entries = part.entries ?? (part.item as { entries?: Bounds['entries'] } | undefined)?.entries;
  if (entries) bounds.entries = entries;
  // the first item of a pipe is the schema itself
  for (const [index, step] of (part.pipe ?? []).entries()) if (index > 0) Object.assign(bounds, boundsOf(step));
  return bounds;
}

const schemas = createSchemas(DEFAULT_LIMITS);
const paramsOf = (method: RpcMethod): Record<string, v.GenericSchema> => boundsOf(schemas[method]).entries!;
const isOptional = (schema: v.GenericSchema): boolean => schema.type === 'optional';

/** Returns the names of params as in the document, where the names of optional params end with `?`. */
const written = (entries: Record<string, v.GenericSchema>): string[] =>
  Object.entries(entries).map(([name, schema]) => (isOptional(schema) ? `${name}?` : name));

/** Contents of the rows that document one call. */
interface Call {
  params: [name: string, text: string][];
  result: string;
  errors: string;
}

function callOf(method: string): Call {
  const rows = document.rows(method);
  const params = rows.filter(([name]) => name!.startsWith('`'));
  const rest = rows.filter(([name]) => !name!.startsWith('`'));
  for (const [name] of rest) assert.match(name!, /^(Params|Result(, with(out)? `limit`)?|Errors)$/, `${method}: row "${name}"`);
  const of = (pattern: RegExp): string =>
    rest
      .filter(([name]) => pattern.test(name!))
      .map(([, text]) => text)
      .join(' ');
  assert.equal(of(/^Params/), params.length ? '' : 'none', `${method}: params`);
  return { params: params.map(([name, text]) => [codes(name)[0]!, text!]), result: of(/^Result/), errors: of(/^Errors/) };
}

/** Asserts that the document lists exactly the fields of a type, and marks no required field as optional. */
function assertFields(documented: Shape, actual: Shape, where: string): void {
  assert.deepEqual(Object.keys(documented).sort(), Object.keys(actual).sort(), where);
  for (const [name, { isOptional: may, fields }] of Object.entries(documented)) {
    const other = actual[name]!;
    if (may) assert.ok(other.isOptional, `${where}: ${name} is not optional`);
    if (fields && other.fields && Object.keys(other.fields).length) assertFields(fields, other.fields, `${where}.${name}`);
  }
}

/** Returns the shapes of the objects in a cell. */
function objectsIn(cell: string): Shape[] {
  return codes(cell)
    .filter((text) => text.startsWith('{'))
    .map(parseShape);
}

/** Merges several shapes into one; a field is optional unless it is required in every shape. */
function merged(shapes: Shape[]): Shape {
  const all: Shape = {};
  for (const shape of shapes)
    for (const [name, field] of Object.entries(shape)) {
      const isEverywhere = shapes.every((each) => each[name] && !each[name].isOptional);
      all[name] = { isOptional: !isEverywhere, fields: field.fields ?? all[name]?.fields };
    }
  return all;
}

/** Returns the error that a check throws; fails if the check throws no error. */
function failure(check: () => unknown): RpcError {
  try {
    check();
  } catch (error) {
    assert.ok(error instanceof RpcError, String(error));
    return error;
  }
  return assert.fail('expected an error');
}

test('the sections about calls match the calls of the server', () => {
  const sections = [
    ...document.text
      .split('\n## Calls\n')[1]!
      .split('\n## ')[0]!
      .matchAll(/^### (\w+)$/gm),
  ].map(([, name]) => name!);
  assert.deepEqual(sorted(sections), sorted(methods));
  assert.deepEqual(sorted(Object.keys(schemas)), sorted(methods));
});

test('the documented params of each call match its schema, including bounds and defaults', () => {
  for (const method of methods) {
    const { params } = callOf(method);
    const entries = paramsOf(method);
    assert.deepEqual(sorted(params.map(([name]) => name)), sorted(written(entries)), method);
    for (const [label, text] of params) {
      const name = label.replace('?', '');
      const { min, max, standard, entries: fields } = boundsOf(entries[name]);
      const where = `${method}: ${label}: ${text}`;
      if (standard !== undefined) assert.match(text, new RegExp(`\\bdefault ${n(String(standard))}(?!\\d)`), where);
      else assert.doesNotMatch(text, /\bdefault\b/, where);
      const [, least, most] = /\b(\d[\d ]*) to (\d[\d ]*)/.exec(text) ?? [];
      if (least !== undefined) assert.deepEqual([n(min!), n(max!)], [least, most!.trim()], where);
      const [, atMost] = /\bat most (\d[\d ]*)/.exec(text) ?? [];
      if (atMost !== undefined) assert.equal(n(max!), atMost.trim(), where);
      if (
        typeof max === 'number' &&
        typeof min === 'number' &&
        /^(offers|candidates|limit|sdp)$/.test(name) &&
        method !== 'answerOffer'
      )
        assert.match(text, /\d/, `${where}: has no bounds`);
      const [object] = objectsIn(text);
      if (object)
        assert.deepEqual(
          sorted(Object.entries(object).map(([key, field]) => key + (field.isOptional ? '?' : ''))),
          sorted(written(fields!)),
          where,
        );
    }
  }
  const [candidate] = objectsIn(/A candidate is (`[^`]*`)/.exec(document.text)![1]!);
  const entries = boundsOf(paramsOf('addIceCandidates')['candidates']).entries!;
  assert.deepEqual(
    Object.entries(candidate!).map(([key, field]) => key + (field.isOptional ? '?' : '')),
    written(entries),
  );
});

test('the documented result of each call has the fields of its type', () => {
  for (const method of methods) {
    const { result } = callOf(method);
    if (method === 'getServiceById') {
      assert.equal(result, 'as `getService` without `limit`');
      continue;
    }
    const actual = facts.shape(RPC, 'RpcMethods', method, '1');
    const shapes = objectsIn(result);
    const documented = merged(shapes);
    // the keys of `iceCandidates` are offer ids, not fields
    if (method === 'poll')
      documented['iceCandidates'] = { isOptional: false, fields: documented['iceCandidates']!.fields!['offerId']!.fields };
    if (method === 'poll') delete actual['iceCandidates']!.fields;
    assertFields(documented, actual, method);
  }
  assertFields(
    objectsIn(document.rows('getService').find(([name]) => name === 'Result, without `limit`')![1]!)[0]!,
    facts.shape(RPC, 'ServiceEntry'),
    'an entry',
  );
  assertFields(
    objectsIn(document.rows('getService').find(([name]) => name === 'Result, with `limit`')![1]!)[0]!,
    facts.shape(RPC, 'ServicePage'),
    'a page',
  );
  const candidates = objectsIn(callOf('poll').result)[0]!['iceCandidates']!.fields!['offerId']!.fields!;
  assertFields(candidates, facts.shape(RPC, 'CandidateInfo'), 'a candidate of a poll');
});

test('the documented errors of each call match the codes that its handler can throw', () => {
  const [, general] = /^Any call may also fail with (.*)$/m.exec(document.text)!;
  const anyCall = new Set(codes(general));
  for (const code of ['bad-request', 'too-large', 'rate-limited', 'unavailable', 'closed', 'name-taken'])
    assert.ok(anyCall.has(code), code);
  // `forbidden` from the operator's `authorize` is documented once for all calls; other causes are documented per call
  anyCall.delete('forbidden');
  const known = facts.literals('src/errors.ts', 'ErrorCode');
  for (const method of methods) {
    const { errors } = callOf(method);
    if (method === 'getServiceById') {
      assert.equal(errors, 'as `getService`');
      continue;
    }
    const documented = codes(errors).filter((code) => known.includes(code));
    const thrown = facts.codesOfMethod('server/src/handlers.ts', method, new Set(['permit']));
    const specific = [...thrown].filter((code) => !anyCall.has(code));
    assert.deepEqual(
      specific.filter((code) => !documented.includes(code)),
      [],
      `${method} throws, undocumented`,
    );
    // the schema throws `too-large` and `bad-request` before the handler runs
    const possible = new Set([...thrown, 'too-large', 'bad-request']);
    assert.deepEqual(
      documented.filter((code) => !possible.has(code)),
      [],
      `${method} never throws, documented`,
    );
  }
});

test('the document lists exactly the calls that must always be signed', () => {
  const [, sentence] = /^(.*) must be signed themselves/m.exec(document.text)!;
  assert.deepEqual(sorted(codes(sentence)), sorted(ALWAYS_SIGNED));
});

/** Names of the limits and constants that have been read through `recorded`. */
const used = new Set<string>();
const recorded = <T extends object>(values: T): T =>
  new Proxy(values, {
    get(target, name) {
      used.add(String(name));
      return Reflect.get(target, name) as unknown;
    },
  });

/** Server modules whose exported numbers must be documented. */
const MODULES = [
  ...[
    countValues,
    discovery,
    fairness,
    handlers,
    hub,
    incomingFrames,
    limiter,
    matchmaker,
    otherRequests,
    rpcEndpoint,
    schemaModule,
  ],
  ...[session, slots, store, turns, unread, upgrades, waitingRoom],
];
const exported = Object.fromEntries(
  MODULES.flatMap((module) => Object.entries(module).filter(([, value]) => typeof value === 'number')),
) as Record<string, number>;

/**
 * Server constants that are in no table: either the prose or docs/operations.md documents them, or no client can observe them.
 */
const NOT_IN_TABLES = [
  // documented in the prose of "Leases and the queue", "Candidates" and "Instances"
  ...[
    'LEASE_DURATION',
    'MAX_LEASES_PER_KEY',
    'CLOSED_GRACE',
    'MAX_KEPT_EVENTS',
    'MAX_KEPT_BYTES',
    'EVENT_TTL',
    'RENEW_INTERVAL',
    'CLAIM_TTL',
    'SERVICE_ID_TTL',
  ],
  ...['MAX_ENDED', 'ANSWERED_TTL', 'MET_TTL', 'OLD_FORM_MAX_AGE', 'PONG_TIMEOUT'],
  // documented in docs/operations.md
  ...['MAX_KEPT_BYTES_TOTAL', 'LARGE_CALLS', 'LARGE_CALLS_PER_ADDRESS', 'MAX_DISCOVERED', 'MAX_PIPELINED'],
  // irrelevant to clients that follow the document
  ...['DEFAULT_MAX_INSTANCES', 'MAX_PUBLISHED', 'RESEND_WINDOW', 'MAX_CHUNKS', 'MAX_DELETED_ENDED', 'MAX_IGNORED_UPGRADES'],
  ...['POINTS_PER_TURN', 'ROUNDS_TIME_LIMIT', 'MAX_ROUNDS'],
];

const call = (method: RpcMethod, params: unknown, maxWait = Infinity): RpcError =>
  failure(() => checkParams(schemas as Schemas, method, params, maxWait));
const publication = { serviceFqn: 'chat:1.0.0@alice', offers: [{ sdp: 'v=0' }] };
const addition = { serviceFqn: 'chat:1.0.0@alice', offerId: 'x', candidates: [{ candidate: '' }] };
const ofOffer = { serviceFqn: 'chat:1.0.0@alice', offerId: 'x' };

/** Finds the largest value below 10 000 000 that a check accepts, as a number or as the length of a string. */
function largest(accepts: (value: number) => boolean): number {
  let [low, high] = [0, 10_000_000];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (accepts(middle)) low = middle;
    else high = middle;
  }
  return low;
}
const passes = (check: () => unknown): boolean => {
  try {
    check();
    return true;
  } catch {
    return false;
  }
};
const envelopeLimit = (name: string): number => {
  const valid = { method: 'x', message: 'x', signature: 'x', publicKey: 'x' };
  return largest((length) => passes(() => checkEnvelope({ ...valid, [name]: 'x'.repeat(length) })));
};
const range = ({ min, max }: Bounds): string => `${n(min!)} to ${n(max!)}`;
/** Returns the minimum and maximum length in a pattern such as `^[\w-]{1,128}$`. */
const lengths = ({ pattern }: Bounds): string => /\{(\d+),(\d+)\}/.exec(pattern!)!.slice(1).join(' to ');

/** Returns the error for another look-up by a joiner that is already waiting for `count` versions, under the given limits. */
function waitingError(
  limits: Partial<Record<'maxWaiting' | 'maxWaitingPerKey' | 'maxWaitingPerAddress', number>>,
  count = 1,
): RpcError {
  const room = new WaitingRoom(new Fairness(), {
    maxWaiting: 1000,
    maxWaitingPerKey: 1000,
    maxWaitingPerAddress: 1000,
    ...limits,
  });
  const waiter = (version: string): Waiter => ({
    query: { target: { name: 'chat', version, username: 'alice' } },
    joiner: { username: 'bob', publicKey: 'key', address: '192.0.2.1', instance: undefined },
    resolve: () => undefined,
    reject: () => undefined,
  });
  for (let i = 0; i < count; i++) room.add(waiter(`1.0.${i}`), 0);
  return failure(() => room.add(waiter(`1.0.${count}`), 0));
}

async function quotaError(
  counts: { offers: number; otherServices: number; all: number },
  limits: Partial<Limits>,
): Promise<RpcError> {
  const stub: Partial<Store> = {
    countOf: async () => counts,
    countFreeOffers: async () => counts.all,
    countAnswered: async () => 0,
    countPublishers: async () => 1,
  };
  const quotas = new Quotas(stub as Store, { ...DEFAULT_LIMITS, ...limits });
  return quotas.check('alice', 'chat:1.0.0@alice', 1, 0).then(
    () => assert.fail('expected an error'),
    (error: unknown) => error as RpcError,
  );
}

test('the table of limits matches the constants and error codes of the server', async () => {
  const L = recorded(DEFAULT_LIMITS);
  const C = recorded(exported);
  const publish = paramsOf('publishService');
  const { sdp } = boundsOf(publish['offers']).entries!;
  const lookUp = paramsOf('getService');
  const addCandidates = paramsOf('addIceCandidates');
  const candidate = boundsOf(addCandidates['candidates']).entries!;
  const inner = (name: string): Bounds =>
    boundsOf((candidate[name] as unknown as { wrapped: { wrapped: unknown } }).wrapped.wrapped);
  const retry = ({ code, details }: RpcError): string =>
    `\`${code}\`${details.retryAfter === undefined ? '' : `, \`retryAfter\` ${n(details.retryAfter)}`}`;
  const quotaCode = ({ code }: RpcError): string => `\`${code}\``;
  const c = (error: RpcError): string => `\`${error.code}\``;
  const deep = (levels: number): unknown => (levels ? { a: deep(levels - 1) } : 0);
  const hour = C.CLAIM_WINDOW === 3600 ? 'an hour' : `in ${C.CLAIM_WINDOW} s`;

  const expected: [what: string, limit: string, past: string][] = [
    [
      'body of an HTTP request, one frame of the socket',
      `${n(L.maxBodyBytes)} bytes`,
      `HTTP 413 \`too-large\`; close code ${CLOSE.tooLarge}`,
    ],
    ['calls in a batch', n(MAX_BATCH), 'HTTP 400'],
    [
      'SDP',
      `${range(boundsOf(sdp))} characters`,
      `${c(call('publishService', { ...publication, offers: [{ sdp: 'x'.repeat(L.maxSdpLength + 1) }] }))}; empty: ${c(call('publishService', { ...publication, offers: [{ sdp: '' }] }))}`,
    ],
    [
      'offers in one `publishService`',
      range(boundsOf(publish['offers'])),
      c(call('publishService', { ...publication, offers: Array(L.maxOffers + 1).fill({ sdp: 'v=0' }) })),
    ],
    ['free offers of one service', n(L.maxFreeOffers), 'the oldest are dropped'],
    [
      '`ttl`',
      `${range(boundsOf(publish['ttl']))}, default ${n(Number(boundsOf(publish['ttl']).standard))}`,
      c(call('publishService', { ...publication, ttl: 1e12 })),
    ],
    [
      '`metadata`',
      `${L.maxMetadataBytes} bytes as JSON`,
      c(call('publishService', { ...publication, metadata: 'x'.repeat(L.maxMetadataBytes) })),
    ],
    [
      'candidates in one call',
      range(boundsOf(addCandidates['candidates'])),
      c(call('addIceCandidates', { ...addition, candidates: Array(L.maxCandidates + 1).fill({ candidate: '' }) })),
    ],
    [
      'candidates of one user on one offer',
      `${n(L.maxCandidates)}; of a stranger ${n(C.MAX_PARKED!)}, see [Candidates](#candidates)`,
      '`too-large`',
    ],
    [
      '`candidate` line; `sdpMid`; `usernameFragment`',
      `${boundsOf(candidate['candidate']).max}; ${inner('sdpMid').max}; ${inner('usernameFragment').max} characters`,
      c(call('addIceCandidates', { ...addition, candidates: [{ candidate: 'x'.repeat(10_000) }] })),
    ],
    [
      '`sdpMLineIndex`',
      range(inner('sdpMLineIndex')),
      c(call('addIceCandidates', { ...addition, candidates: [{ candidate: '', sdpMLineIndex: 1e6 }] })),
    ],
    [
      '`limit`; `offset`',
      `${range(boundsOf(lookUp['limit']))}; ${range(boundsOf(lookUp['offset']))}`,
      c(call('getService', { serviceFqn: 'chat:1.0.0', limit: 1e9 })),
    ],
    [
      '`wait`',
      `${n(C.MAX_HTTP_WAIT!)} over HTTP, ${n(C.MAX_SOCKET_WAIT!)} over the socket, 0 in a batch`,
      c(call('getService', { serviceFqn: 'chat:1.0.0', wait: 1 }, 0)),
    ],
    [
      'calls from one address, IPv6 by its /64',
      `${L.pointsPerAddress} [points](#points) in ${C.WINDOW} s`,
      `\`rate-limited\` with \`retryAfter\`; HTTP 429 with \`Retry-After\` for a request that is one call; close code ${CLOSE.tooMuch} for frames that are not calls, or larger than ${C.MAX_UNPAID_FRAME} bytes`,
    ],
    ['calls of one key', `${L.pointsPerKey} points in ${C.WINDOW} s`, 'as above'],
    ['new keys from one address', `${C.MAX_NEW_KEYS} in ${C.WINDOW} s`, 'as above'],
    ['new usernames from one address', `${L.claimsPerAddress} ${hour}`, 'as above'],
    [
      'services of one user',
      n(L.maxServicesPerUser),
      quotaCode(await quotaError({ offers: 0, otherServices: 1, all: 0 }, { maxServicesPerUser: 1 })),
    ],
    [
      'free and answered offers of one user',
      n(L.maxOffersPerUser),
      quotaCode(await quotaError({ offers: 1, otherServices: 0, all: 0 }, { maxOffersPerUser: 1 })),
    ],
    [
      'free and answered offers in all',
      `${n(L.maxTotalOffers)}; beyond that, only users with less than an equal share may publish`,
      `${quotaCode(await quotaError({ offers: 1, otherServices: 0, all: 1 }, { maxTotalOffers: 1 }))} with \`retryAfter\``,
    ],
    ['sending one request', `headers within ${C.HEADERS_WITHIN! / 1000} s, all within ${C.REQUEST_WITHIN! / 1000} s`, 'HTTP 408'],
    ['waiting joiners, in all', n(L.maxWaiting), retry(waitingError({ maxWaiting: 1 }))],
    [
      'waiting joiners of one key, at one network address',
      `${L.maxWaitingPerKey}, ${L.maxWaitingPerAddress}`,
      retry(waitingError({ maxWaitingPerKey: 1 })),
    ],
    ['versions of one service that the joiners of one key wait for', n(C.MAX_VERSIONS!), retry(waitingError({}, C.MAX_VERSIONS))],
    [
      '`offerIds` in one `withdrawOffers`',
      n(boundsOf(paramsOf('withdrawOffers')['offerIds']).max!),
      c(call('withdrawOffers', { serviceFqn: 'chat:1.0.0@alice', offerIds: Array(2000).fill('x') })),
    ],
    ['service name', `${boundsOf(lookUp['serviceFqn']).max} characters`, c(call('getService', { serviceFqn: 'x'.repeat(300) }))],
    [
      'offer id',
      `${lengths(boundsOf(paramsOf('answerOffer')['offerId']))} of \`A-Z a-z 0-9 _ -\``,
      c(call('getOfferAnswer', { ...ofOffer, offerId: '' })),
    ],
    ['instance', `${lengths(boundsOf(lookUp['instance']))} of \`A-Z a-z 0-9 _ -\``, c(call('poll', { instance: 'x' }))],
    [
      '`method`; `message`; `signature`; `publicKey` as text',
      `${['method', 'message', 'signature', 'publicKey'].map(envelopeLimit).join('; ')} characters`,
      c(failure(() => checkEnvelope({}))),
    ],
    [
      'nesting of `params`, over a session as well',
      `${MAX_JSON_DEPTH} levels below the object \`{ aud, method, params }\` that is signed`,
      c(failure(() => checkSize(deep(MAX_JSON_DEPTH + 1), DEFAULT_LIMITS))),
    ],
    ['open sockets, in all', n(L.maxSockets), 'the upgrade gets HTTP 503'],
    [
      'open sockets from one network address; of one key',
      `${L.maxSocketsPerAddress}; ${L.maxSocketsPerKey}`,
      'the upgrade gets HTTP 429; `rate-limited`',
    ],
    [
      `instances of one user, connected or active in the last ${C.MAX_SILENCE! / 1000} s`,
      n(L.maxInstancesPerUser),
      c(hub.tooManyInstances(1)),
    ],
    [
      'candidates parked before an answer',
      `${C.MAX_PARKED} of a user on one offer, ${C.MAX_PARKING_USERS} users, for ${C.PARKED_TTL! / 1000} s`,
      `\`too-large\`; \`rate-limited\`, \`retryAfter\` ${n(C.PARKED_TTL!)}`,
    ],
    ['bytes received on a socket before its session is open', n(C.MAX_BEFORE_SESSION!), `close code ${CLOSE.tooLarge}`],
    ['fragments of one message on the socket', n(C.MAX_FRAGMENTS!), `close code ${CLOSE.fragments}`],
    [
      'incomplete request bodies and socket frames of one address',
      `${n(C.MAX_CONCURRENT_BODIES! * L.maxBodyBytes)} bytes`,
      `HTTP 429; close code ${CLOSE.tooMuch}`,
    ],
    [
      'calls in progress on one socket, frames before its session is open',
      n(C.MAX_CALLS!),
      `\`rate-limited\`; close code ${CLOSE.tooMuch}`,
    ],
    ['calls of one socket in a row that fail with `rate-limited`', n(C.MAX_REFUSED!), `close code ${CLOSE.tooMuch}`],
    [
      'values in params, at any depth; in a body',
      `${schemaModule.maxValues(DEFAULT_LIMITS)}; ${n(C.MAX_BODY_VALUES!)}`,
      `${c(failure(() => checkSize(Array(schemaModule.maxValues(DEFAULT_LIMITS) + 1).fill(0), DEFAULT_LIMITS)))}; HTTP 413, close code ${CLOSE.tooLarge}`,
    ],
    [
      'a page of services, or a poll',
      `ends after ${n(L.maxReplyBytes)} bytes, or ${C.MAX_POLLED} offers of a poll`,
      'the next one returns the rest',
    ],
    [
      'replies of one batch',
      `${n(C.MAX_BATCH_REPLIES! * L.maxReplyBytes)} bytes`,
      'the remaining calls are not run: `too-large`',
    ],
    ['any other reply', `${n(maxReply(DEFAULT_LIMITS))} bytes`, '`too-large`'],
    ['reading a reply over HTTP', `${C.READ_TIMEOUT! / 1000} s`, 'the connection is cut'],
    ['services considered for a page of one name', `${C.MAX_LISTED}, those that expire first`, ''],
    [
      'unsent bytes of one socket; for one address; in all',
      `${n(C.MAX_BUFFERED!)}; ${n(C.MAX_UNREAD_PER_ADDRESS!)}; ${n(C.MAX_UNREAD!)}`,
      'the socket is cut off; for the last two, the socket of the slowest reader',
    ],
  ];
  assert.deepEqual(document.rows('Limits'), expected);
  // every limit must have been read while the expected rows were built
  assert.deepEqual(
    Object.keys(DEFAULT_LIMITS).filter((name) => !used.has(name)),
    [],
    'limits without a row',
  );
});

test('the table of points lists the costs of all calls', () => {
  const C = recorded(exported);
  const all = [...methods, 'openSession'];
  const other = costOf('poll', {});
  const rows = document.rows('Points');
  const ofCalls = rows.filter(([what, points]) => /^`\w+`(, `\w+`)*$/.test(what!) && /^\d+$/.test(points!));
  const listed = new Map(ofCalls.flatMap(([what, points]) => codes(what).map((name) => [name, Number(points)] as const)));
  assert.deepEqual(
    [...listed].sort(),
    all
      .map((method) => [method, costOf(method, {})] as const)
      .filter(([, cost]) => cost !== other)
      .sort(),
  );
  assert.equal(costOf('getService', { limit: 1 }) - costOf('getService', {}), C.LISTING_COST);
  assert.deepEqual(rows.slice(ofCalls.length), [
    ['any other call', `${other}`],
    ['`getService` with `limit`', `${C.LISTING_COST} more`],
    ['a key that the server has not seen lately', `${C.NEW_KEY_COST} more, for the address only`],
    [
      `every ${C.ITEMS_PER_POINT} offers, offer ids or candidates in a call, and every ${C.ITEMS_PER_POINT} offers that \`deleteService\` or \`releaseUsername\` deletes`,
      '1 more',
    ],
    [`every ${C.BYTES_PER_POINT} bytes of a request, and of a reply`, '1 more'],
    [
      `every ${C.NAMES_PER_POINT} services that match the name in a look-up or a page`,
      '1 more; 3 more for a look-up with `wait`',
    ],
    [
      `every ${C.EXAMINED_PER_POINT} services that a look-up examines after the first ${C.EXAMINED_PER_POINT}, and every ${C.LISTED_PER_POINT} that a page examines after the first ${C.LISTED_PER_POINT} (fewer services per point if they have many offers)`,
      '1 more',
    ],
    [`every ${C.POLLED_PER_POINT} answered offers that a poll examines`, '1 more'],
    ['candidates that are parked before an answer', `${C.PARKING_COST} more`],
    [`every ${C.SIGNAL_BYTES_PER_POINT} bytes of a \`signal\` to further sockets of the user, rounded up`, '1 more'],
    ['a request or frame that is not a call, except `/health`, `/ready` and `/metrics`', '1'],
    [`${C.SMALL_FRAMES_PER_POINT} acknowledgements, pings or pongs`, '1'],
  ]);
});

test('the document has a row for every HTTP status', () => {
  const C = recorded(exported);
  const rows = document.rows('Calls over HTTP');
  const inCode = ['app', 'rpc-endpoint'].flatMap((name) => [...facts.numbersIn(`server/src/${name}.ts`, 200, 505)]);
  // the framework replies to preflight requests with 204, and Node replies to slow requests with 408
  assert.deepEqual(sorted(rows.map(([status]) => status!)), sorted([...inCode, 204, 408].map(String)));
  const text = (status: number): string => rows.find(([each]) => each === String(status))![1]!;
  assert.match(text(400), new RegExp(`more than ${MAX_BATCH} items`));
  assert.match(text(429), new RegExp(`larger than ${n(C.SMALL_BODY!)} bytes`));
  assert.match(document.text, new RegExp(`an array of 1 to ${MAX_BATCH} requests`));
});

test('the document has a row for every route of the server', () => {
  const config = readConfig([], {});
  assert.notEqual(config, 'help');
  const app = createApp({
    config: config as Exclude<typeof config, 'help'>,
    errors: { publicError: () => assert.fail() },
    caps: CAPS,
    version: '',
    metrics: new Metrics(),
    log: createLog('silent', 'json'),
    ping: async () => undefined,
    isDraining: () => false,
  });
  const routes = app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`);
  const rows = document.rows('HTTP');
  // index.ts handles POST /rpc and GET /ws itself
  assert.deepEqual(sorted(rows.flatMap(([request]) => codes(request))), sorted([...routes, 'POST /rpc', 'GET /ws']));
  for (const path of ['/rpc', '/ws']) assert.ok(sourceOf('server/src/index.ts').replaceAll('\\', '').includes(path), path);
});

test('the document has a row for every capability', () => {
  assert.deepEqual(
    document.rows('Rondevu-Caps').map(([name]) => codes(name)[0]),
    [...CAPS, 'ice'],
  );
});

test('the document has a row for every HTTP status of a refused upgrade', () => {
  const statuses = [...sourceOf('server/src/index.ts').matchAll(/\brefuse\('(\d{3}) /g)].map(([, status]) => status!);
  assert.deepEqual(sorted(document.rows('Push').map(([status]) => status!)), sorted(statuses));
});

test('the document has a row with the fields of every frame and every event', () => {
  const rows = document.rows('Frames');
  const texts = (shapes: Shape[]): string[] => sorted(shapes.map((shape) => Object.keys(shape).join(' ')));
  for (const [from, types] of [
    ['client', ['OpenSessionFrame', 'ClientFrame']],
    ['server', ['ServerFrame']],
  ] as const) {
    const documented = rows.filter(([sender]) => sender === from).flatMap(([, frame]) => objectsIn(frame!));
    const actual = types.flatMap((type) => facts.shapes(RPC, type));
    assert.deepEqual(texts(documented), texts(actual), from);
    for (const shape of documented) {
      const name = Object.keys(shape).join(' ');
      const same = actual.filter((each) => Object.keys(each).join(' ') === name);
      for (const [key, { isOptional: may }] of Object.entries(shape))
        assert.equal(may, same[0]![key]!.isOptional, `${name}: ${key}`);
    }
  }
  const error = rows.flatMap(([, frame]) => objectsIn(frame!)).find((shape) => shape['error'])!;
  assertFields(
    error['error']!.fields!,
    facts.shapes(RPC, 'ServerFrame').find((shape) => shape['error'])!['error']!.fields!,
    'error',
  );

  const events = document.rows('Events');
  assert.deepEqual(
    events.map(([name]) => codes(name)[0]),
    facts.names(RPC, 'PushEvents'),
  );
  for (const [name, , data] of events) {
    const event = codes(name)[0]!;
    const actual = facts.shape(RPC, 'PushEvents', event);
    const documented = merged(objectsIn(data!));
    if (event !== 'answer') assertFields(documented, actual, event);
    else assert.deepEqual(sorted(Object.keys(actual)), sorted(['serviceFqn', ...facts.names(RPC, 'AnswerInfo')]));
  }
  const [, fanOut] = /the sockets of a user, (\d+) at most/.exec(events.find(([name]) => name === '`signal`')![1]!)!;
  assert.equal(Number(fanOut), recorded(exported).MAX_FAN_OUT);
});

test('the example reply to openSession has the fields and values of this version', () => {
  const [, json] = /^(\{"id":1,"result":\{"epoch".*)$/m.exec(document.text)!;
  const { result } = JSON.parse(json!) as { result: { caps: string[]; limits: object } };
  const fields = Object.entries(facts.shape(RPC, 'OpenSessionResult')).filter(([, field]) => !field.isOptional);
  assert.deepEqual(sorted(Object.keys(result)), sorted(fields.map(([name]) => name)));
  assert.deepEqual(result.caps, CAPS);
  const { maxBodyBytes, maxOffers, maxCandidates } = DEFAULT_LIMITS;
  assert.deepEqual(result.limits, { maxFrameBytes: maxBodyBytes, maxOffers, maxCandidates });
});

test('the document has a row for every close code', () => {
  const rows = document.rows('Close codes');
  assert.deepEqual(sorted(rows.map(([code]) => code!)), sorted(Object.values(CLOSE).map(String)));
  const [, within] = /no `openSession` within (\d+)/.exec(rows.find(([code]) => code === String(CLOSE.noSession))![1]!)!;
  assert.equal(Number(within), recorded(exported).OPEN_TIMEOUT);
  // no other file of the server may contain close codes
  for (const file of filesIn('server/src').filter((name) => !name.endsWith('/close-codes.ts')))
    assert.deepEqual([...facts.numbersIn(file, 1001, 1015), ...facts.numbersIn(file, 4400, 4499)], [], file);
});

test('the document has a row for every method and every mode of the old form', () => {
  const context = document.rows('The old form');
  assert.deepEqual(sorted(context.flatMap(([names]) => codes(names))), sorted(Object.keys(LEGACY_CONTEXT)));
  const params = { username: 'U', serviceFqn: 'F', offerId: 'O', since: 7 };
  for (const [names, text] of context)
    for (const method of codes(names)) {
      const actual = LEGACY_CONTEXT[method as RpcMethod]!(params as never);
      const [first = ''] = codes(text);
      const documented = /^no context/.test(text!)
        ? ''
        : first.replace('serviceFqn', 'F').replace('offerId', 'O').replace('since', '7');
      assert.equal(method === 'getUser' ? 'U' : documented, actual, method);
    }
  const modes = document.rows('The old form', 1);
  assert.deepEqual(sorted(modes.map(([mode]) => codes(mode)[0]!)), sorted(LEGACY_AUTH));
  const config = readConfig([], {});
  const standard = modes.filter(([mode]) => mode!.includes('(default)')).map(([mode]) => codes(mode)[0]);
  assert.deepEqual(standard, [config !== 'help' && config.legacyAuth]);
});

test('the parts of a service name have the documented lengths', () => {
  const [name, version, username] = document.rows('Service names').map(([, text]) => text!);
  const most = (make: (length: number) => string): number => {
    let best = 0;
    for (let length = 1; length <= 200; length++) if (passes(() => parseServiceName(make(length)))) best = length;
    return best;
  };
  assert.match(name!, new RegExp(`^1 to ${most((length) => `${'a'.repeat(length)}:1.0.0`)} of \`a-z 0-9 \\. -\``));
  assert.match(version!, new RegExp(`up to ${most((length) => `a:${'1'.repeat(length)}.0.0`)} digits`));
  assert.match(version!, new RegExp(`prerelease of 1 to ${most((length) => `a:1.0.0-${'b'.repeat(length)}`)} of`));
  assert.equal(username, 'as above');
  const least = [1, 2, 3, 4].find((length) => passes(() => parseServiceName(`a:1.0.0@${'a'.repeat(length)}`)));
  assert.match(
    document.text,
    new RegExp(`A username has ${least} to ${most((length) => `a:1.0.0@${'a'.repeat(length)}`)} characters`),
  );
  assert.match(
    document.text,
    new RegExp(`the first ${most((length) => `a:1.0.0@bob#${'a'.repeat(length)}`)} characters of the base64url`),
  );
});

test('the examples of compatible versions are correct', () => {
  for (const [requested, available, serves] of document.rows('Versions'))
    assert.equal(isCompatible(available!, requested!), /^yes/.test(serves!), `${available} for ${requested}`);
});

test('the document has a row for every error code, with the components that use it', () => {
  const of = (files: string[]): Set<string> => new Set(files.flatMap((file) => [...facts.codesIn(file)]));
  const server = of(filesIn('server/src'));
  // server-error.ts only derives codes from the errors of old servers, and the command line has its own exit codes
  const client = of(filesIn('src').filter((file) => !/^src\/cli\/|\/server-error\.ts$/.test(file)));
  const elements = of(filesIn('components'));
  const expected = facts
    .literals('src/errors.ts', 'ErrorCode')
    .map((code) => [
      `\`${code}\``,
      [server.has(code) && 'S', client.has(code) && 'C', elements.has(code) && 'E'].filter(Boolean).join(' '),
    ]);
  const rows = document.rows('Error codes');
  assert.deepEqual(
    rows.map(([code, from]) => [code, from]),
    expected,
  );
  for (const [code, , meaning, hint] of rows) assert.ok(meaning && hint, `${code} has no meaning or hint`);
});

test('every documented error code exists', () => {
  const known = new Set(facts.literals('src/errors.ts', 'ErrorCode'));
  const cells = [...document.rows('Limits').map(([, , past]) => past!), ...methods.map((method) => callOf(method).errors)];
  const words = cells.flatMap(codes).filter((code) => /^[a-z]+(-[a-z]+)+$|^(closed|timeout|forbidden|unavailable)$/.test(code));
  assert.ok(words.length > 30);
  for (const word of words) assert.ok(known.has(word), word);
});

test('the error messages of old servers map to the documented codes, in the documented order', () => {
  const rows = document.rows('Towards a v0.5.4 server', 1);
  const expected = OLD_TEXTS.map(([pattern, code]) => [pattern.source.replaceAll('|', ', '), code]);
  assert.deepEqual(
    rows.map(([text, code]) => [text, codes(code)[0]]),
    [...expected, ['anything else', new ServerError('x', { error: '?' }).code]],
  );
});

test('the document has a row for every field of the SDP line', () => {
  const rows = document.rows('The SDP line');
  assert.deepEqual(sorted(rows.map(([name]) => codes(name)[0]!)), sorted(facts.names('src/protocol/sdp-line.ts', 'SdpLine')));
});

/** Creates a fake peer connection that only records its data channels. */
function fakePeerConnection(): {
  pc: RTCPeerConnection;
  channels: { label: string; init: RTCDataChannelInit; channel: RTCDataChannel }[];
} {
  const channels: { label: string; init: RTCDataChannelInit; channel: RTCDataChannel }[] = [];
  const pc = {
    createDataChannel(label: string, init: RTCDataChannelInit) {
      const sent: string[] = [];
      const channel = {
        sent,
        readyState: 'open',
        bufferedAmount: 0,
        send: (text: string) => sent.push(text),
        close: () => undefined,
      };
      channels.push({ label, init, channel: channel as unknown as RTCDataChannel });
      return channel;
    },
    close: () => undefined,
  };
  return { pc: pc as unknown as RTCPeerConnection, channels };
}

test('the data channels have the documented labels and ids', (t) => {
  const { pc, channels } = fakePeerConnection();
  const link = new WebRtcLink(pc);
  t.after(() => link.close());
  const [inBand, ...negotiated] = document.rows('Data channels');
  assert.deepEqual(
    sorted(negotiated.map(([, how]) => codes(how)[0]!)),
    sorted(
      channels.map(({ label, init }) => `createDataChannel("${label}", { negotiated: ${init.negotiated}, id: ${init.id} })`),
    ),
  );
  const [, label] = /createDataChannel\('([^']+)'\)/.exec(sourceOf('src/offers/offer.ts'))!;
  assert.match(inBand![1]!, new RegExp(`label \`${label}\`, ordered, reliable`));
});

test('the frames of the message channel have the documented fields', () => {
  const rows = document.rows('Frames', 1);
  const hello = JSON.parse(helloFrame({ sid: 's', inst: 'i', known: null, next: 1 })) as { hello: object };
  const fields = Object.keys(hello.hello)
    .map((name) => `"${name}"`)
    .join(',');
  assert.deepEqual(
    rows.map(([frame]) => frame),
    [`\`{"hello":{${fields}}}\``, `\`${finFrame(7).replace('7', 'n')}\``, 'binary'],
  );
});

test('the document has a row for every message of the control channel', () => {
  const { pc, channels } = fakePeerConnection();
  const control = new ControlChannel(pc);
  const [{ channel }] = channels as [(typeof channels)[0]];
  channel.onmessage!({ data: 'ping' } as MessageEvent);
  control.ping();
  const sent = [
    ...(channel as unknown as { sent: string[] }).sent,
    ...['src/connection', 'src/delivery'].flatMap(filesIn).flatMap((file) => facts.textsPassedTo(file, 'control')),
    // passed as a constant
    ...[...sourceOf('src/connection/renegotiation.ts').matchAll(/^const (?:SDP|ASK) = '([^']+)';$/gm)].map(([, text]) => text!),
  ];
  const word = (text: string): string => text.split(' ')[0]!;
  const [texts, additional] = [document.rows('Control'), document.rows('Additional channels')];
  const documented = texts.flatMap(([text]) => codes(text)).map(word);
  assert.deepEqual(sorted(documented), sorted(sent.map(word)));
  const linked = texts.filter(([, meaning]) => meaning!.startsWith('[additional channels]')).flatMap(([text]) => codes(text));
  assert.deepEqual(sorted(additional.flatMap(([text]) => codes(text)).map(word)), sorted(linked.map(word)));
});

test('every server constant is in a table or in NOT_IN_TABLES', () => {
  const missing = Object.keys(exported).filter((name) => !used.has(name) && !NOT_IN_TABLES.includes(name));
  assert.deepEqual(missing, [], 'new constants: add a row, or the name to NOT_IN_TABLES');
});

test('the documented budget for TURN credentials matches the code', () => {
  const [, key, address] = /(\d+) an hour for a key, (\d+) for an address/.exec(callOf('getIceServers').errors)!;
  assert.deepEqual([Number(key), Number(address)], [DEFAULT_TURN.perKey, DEFAULT_TURN.perAddress]);
});

after(() => {
  const left = document.unread.filter(
    ({ section, head }) => !NOT_COMPARED.some((each) => each.section === section && String(each.head) === String(head)),
  );
  assert.deepEqual(
    left.map(({ section, head }) => ({ section, head })),
    [],
    'tables that no test compares',
  );
});
