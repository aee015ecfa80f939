/**
 * Validates the form of every call before its handler runs. Unknown fields are accepted, so that newer clients can add fields.
 */
import * as v from 'valibot';
import { MAX_HTTP_WAIT, MAX_JSON_DEPTH, isUsername, parseServiceName, type RpcMethod } from 'rondevu-elements/protocol';
import type { Limits } from './limits.js';
import { RpcError } from './rpc-error.js';

/** Maximum `wait` of a call over a socket, in ms. */
export const MAX_SOCKET_WAIT = 120_000;
const MAX_TTL = 24 * 3_600_000;
const MIN_TTL = 1000;
/** Maximum length of the description in `signal`, in characters. */
const MAX_SIGNAL = 65_536;

const username = v.pipe(
  v.string(),
  v.check((text: string) => isUsername(text), '3 to 32 characters of a-z 0-9 . -'),
);
const serviceFqn = v.pipe(
  v.string(),
  v.maxLength(256),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    try {
      if (parseServiceName(dataset.value).pin !== undefined) addIssue({ message: 'must not contain a pin' });
    } catch (error) {
      addIssue({ message: (error as Error).message });
    }
  }),
);
const offerId = v.pipe(v.string(), v.regex(/^[\w-]{1,128}$/, 'an offer id'));
const instance = v.optional(v.pipe(v.string(), v.regex(/^[\w-]{8,64}$/, '8 to 64 characters of base64url')));
const since = v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER)), 0);
const nullable = <T extends v.GenericSchema>(schema: T) => v.optional(v.nullable(schema));
const candidate = v.object({
  candidate: v.pipe(v.string(), v.maxLength(1024)),
  sdpMid: nullable(v.pipe(v.string(), v.maxLength(64))),
  sdpMLineIndex: nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1000))),
  usernameFragment: nullable(v.pipe(v.string(), v.maxLength(256))),
});

/** One schema per method. Handlers receive the output of the schema. */
export function createSchemas(limits: Limits) {
  const sdp = v.pipe(v.string(), v.minLength(1), v.maxLength(limits.maxSdpLength, `at most ${limits.maxSdpLength} characters`));
  const wait = v.optional(v.pipe(v.number(), v.minValue(0)), 0);
  return {
    getUser: v.object({ username }),
    publishService: v.object({
      serviceFqn,
      offers: v.pipe(
        v.array(v.object({ sdp, for: v.optional(username) })),
        v.minLength(1),
        v.maxLength(limits.maxOffers, `at most ${limits.maxOffers} offers per call`),
      ),
      ttl: v.optional(v.pipe(v.number(), v.minValue(MIN_TTL), v.maxValue(MAX_TTL), v.transform(Math.floor)), 300_000),
      instance,
      hidden: v.optional(v.boolean()),
      metadata: v.optional(
        v.pipe(
          v.unknown(),
          v.check(
            (value) => Buffer.byteLength(JSON.stringify(value)) <= limits.maxMetadataBytes,
            `at most ${limits.maxMetadataBytes} bytes of JSON`,
          ),
        ),
      ),
    }),
    getService: v.object({
      serviceFqn,
      limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100))),
      offset: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000_000)), 0),
      wait,
      instance,
    }),
    getServiceById: v.object({ serviceId: v.pipe(v.string(), v.uuid()), wait, instance }),
    deleteService: v.object({ serviceFqn }),
    releaseUsername: v.object({}),
    withdrawOffers: v.object({ serviceFqn, offerIds: v.pipe(v.array(offerId), v.maxLength(1000)) }),
    answerOffer: v.object({ serviceFqn, offerId, sdp, instance }),
    getOfferAnswer: v.object({ serviceFqn, offerId }),
    poll: v.object({ since, instance }),
    addIceCandidates: v.object({
      serviceFqn,
      offerId,
      instance,
      candidates: v.pipe(
        v.array(candidate),
        v.minLength(1),
        v.maxLength(limits.maxCandidates, `at most ${limits.maxCandidates} candidates per call`),
      ),
    }),
    getIceCandidates: v.object({ serviceFqn, offerId, since, instance }),
    getIceServers: v.object({}),
    signal: v.pipe(
      v.object({
        to: username,
        sid: v.pipe(v.string(), v.regex(/^[\w-]{8,64}$/, '8 to 64 characters of base64url')),
        sdp: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_SIGNAL, `at most ${MAX_SIGNAL} characters`))),
        candidates: v.optional(v.pipe(v.array(candidate), v.maxLength(limits.maxCandidates))),
      }),
      v.check(({ sdp, candidates }) => (sdp === undefined) !== (candidates === undefined), 'sdp or candidates, not both'),
    ),
  } satisfies Record<RpcMethod, v.GenericSchema>;
}

export type Schemas = ReturnType<typeof createSchemas>;
export type Params<M extends RpcMethod> = v.InferOutput<Schemas[M]>;

/**
 * Checks params against the method's schema.
 * @throws RpcError `bad-request` or `too-large`, naming the field, the expected value and the received value
 */
export function checkParams<M extends RpcMethod>(schemas: Schemas, method: M, params: unknown, maxWait: number): Params<M> {
  const result = v.safeParse(schemas[method], params ?? {}, { abortPipeEarly: true });
  if (!result.success) {
    const issue = result.issues[0];
    const where = v.getDotPath(issue) ?? 'params';
    const expected = issue.type === 'max_length' || issue.kind === 'validation' ? issue.message : `expected ${issue.expected}`;
    const code = issue.type === 'max_length' || where === 'metadata' ? 'too-large' : 'bad-request';
    throw new RpcError(code, `${method}: ${where}: ${expected}, got ${issue.received.slice(0, 80)}`);
  }
  const output = result.output as Params<M> & { wait?: number };
  if ((output.wait ?? 0) > maxWait) {
    const limit = maxWait === 0 ? 'cannot be used in a batch' : `must be at most ${maxWait} ms here`;
    throw new RpcError('bad-request', `${method}: wait ${limit}, got ${output.wait}`);
  }
  return output;
}

/** Maximum number of values in the params of a call, at any depth: more than the largest valid call contains. */
export const maxValues = ({ maxOffers, maxCandidates, maxMetadataBytes }: Limits): number =>
  4096 + 4 * maxOffers + 8 * maxCandidates + maxMetadataBytes;

/**
 * Limits the number and the nesting depth of values in params before any value is processed. Depth is counted as in the signed
 * JSON, where params are one level down.
 * @throws RpcError `too-large`
 */
export function checkSize(params: unknown, limits: Limits): void {
  const most = maxValues(limits);
  let count = 0;
  const add = (value: unknown, depth: number): void => {
    if (depth > MAX_JSON_DEPTH) throw new RpcError('too-large', `params are nested more than ${MAX_JSON_DEPTH} levels deep`);
    if (typeof value !== 'object' || value === null) return;
    const inner: unknown[] = Array.isArray(value) ? value : Object.values(value);
    count += inner.length;
    if (count > most) throw new RpcError('too-large', `params contain more than ${most} values`);
    for (const each of inner) add(each, depth + 1);
  };
  add(params, 1);
}

const envelope = v.object({
  method: v.pipe(v.string(), v.maxLength(64)),
  message: v.pipe(v.string(), v.maxLength(1024)),
  signature: v.pipe(v.string(), v.maxLength(256)),
  publicKey: v.optional(v.pipe(v.string(), v.maxLength(64))),
  params: v.optional(v.unknown()),
});

/** Validates the envelope of a call over HTTP, or of the first frame on a socket. @throws RpcError `bad-request` */
export function checkEnvelope(value: unknown): v.InferOutput<typeof envelope> {
  const result = v.safeParse(envelope, value, { abortPipeEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new RpcError('bad-request', `Invalid request: ${v.getDotPath(issue) ?? 'the call'}: ${issue.message}`);
}

const opening = v.object({
  instance: v.pipe(v.string(), v.regex(/^[\w-]{8,64}$/, 'expected 8 to 64 characters of base64url')),
  resume: v.nullish(
    v.object({
      epoch: v.pipe(v.string(), v.maxLength(128)),
      seq: v.pipe(v.number(), v.safeInteger('expected a whole number'), v.minValue(0, 'expected a number of at least 0')),
    }),
  ),
});

/** Validates the params of openSession. @throws RpcError `bad-request` */
export function checkOpening(params: unknown): { instance: string; resume: { epoch: string; seq: number } | undefined } {
  const result = v.safeParse(opening, params ?? {}, { abortPipeEarly: true });
  if (result.success) return { instance: result.output.instance, resume: result.output.resume ?? undefined };
  const issue = result.issues[0];
  const where = v.getDotPath(issue) ?? 'params';
  const expected = issue.kind === 'validation' ? issue.message : `expected ${issue.expected}`;
  throw new RpcError('bad-request', `openSession: ${where}: ${expected}, got ${issue.received.slice(0, 80)}`);
}

export { MAX_HTTP_WAIT };
