/**
 * Input for the fuzzer: nearly valid calls, generated from a grammar of the protocol, and a corpus of inputs that have broken
 * servers in the past, including the old server (see docs/protocol.md and vulnerabilities.test.ts).
 */
import fc from 'fast-check';
import { LEGACY_CONTEXT } from '../../src/protocol/index.js';

const METHODS = [
  ...Object.keys(LEGACY_CONTEXT),
  ...['getServiceById', 'withdrawOffers', 'releaseUsername', 'signal', 'getIceServers', 'openSession'],
];

/** Names and strings with a special meaning in JavaScript, JSON, SQL, Redis, HTTP or this protocol. */
const CORPUS = [
  ...['constructor', '__proto__', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', 'then', 'length'],
  ...['', ' ', ':', '::', ':::', '@', '#', '~v2', 'poll', 'poll:', ':poll:', 'poll:alice', 'poll:alice:0', 'poll:alice:NaN'],
  ...[
    'alice',
    'ALICE',
    'al',
    '-alice',
    'alice-',
    'a'.repeat(33),
    'anon-',
    `anon-${'a'.repeat(26)}`,
    'älice',
    'ali\u0000ce',
    'ali\nce',
  ],
  ...[
    'chat:1.0.0',
    'chat:1.0.0@alice',
    'chat:1.0.0@',
    'chat@alice',
    'chat:1@alice',
    'chat:1.0.0@alice#pin',
    'chat:1.0.0-rc.1@alice',
  ],
  ...['chat:99999999999999999999.0.0@alice', `${'c'.repeat(129)}:1.0.0@alice`, '{chat}:1.0.0@alice', 'chat:1.0.0@alice\r\nX: y'],
  ...["' OR 1=1 --", '"; DROP TABLE offers; --', '*', '%', '\\', '\r\n', '../../etc/passwd', '\ud800', '\u0000', '\uffff', '🤝'],
  ...[
    'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    '7P///////////////////////////////////////38=',
  ],
  ...['A'.repeat(43), `${'A'.repeat(86)}==`, 'x'.repeat(70_000), '0', '-1', '1e309', 'null', 'undefined', 'true', '[]', '{}'],
];
const NUMBERS = [
  0,
  -0,
  1,
  -1,
  0.5,
  1e9,
  2 ** 31,
  2 ** 53,
  2 ** 53 + 2,
  -(2 ** 53),
  1e308,
  Number.MIN_VALUE,
  Date.now(),
  Date.now() + 1e6,
];

const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...CORPUS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
);
const scalar = fc.oneof(text, fc.constantFrom(...NUMBERS), fc.boolean(), fc.constant(null));
/** Oversized params: too many values, or an SDP over the size limit. */
const WIDE = [
  Array(20_000).fill(0),
  Array(9_000).fill([]),
  Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`key ${index}`, index])),
  { sdp: 'x'.repeat(65_537) },
];
/** Arbitrary JSON values, with property names that have a special meaning. */
export const anything: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: false },
    scalar,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...CORPUS.slice(0, 8), 'offers', 'sdp', 'serviceFqn', 'offerId', 'instance'), tie('value'), {
      maxKeys: 4,
      noNullPrototype: true,
    }),
  ),
})).value;

/** Mostly valid values for each field. */
const FIELDS: Record<string, fc.Arbitrary<unknown>> = {
  username: fc.constantFrom('alice', 'bob', 'nobody'),
  serviceFqn: fc.constantFrom('chat:1.0.0@fuzz', 'chat:1.0.0', 'game:0.1.0@alice'),
  serviceId: fc.uuid(),
  offers: fc.array(fc.record({ sdp: fc.constantFrom('v=0', 'offer'), for: fc.constantFrom('bob', undefined) }), { maxLength: 3 }),
  offerId: fc.constantFrom('0'.repeat(64), 'f'.repeat(64), 'x'),
  offerIds: fc.oneof(
    { weight: 5, arbitrary: fc.array(fc.constantFrom('0'.repeat(64), 'x'), { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constant(Array(1000).fill('x')) },
  ),
  candidates: fc.array(fc.record({ candidate: fc.constantFrom('candidate:1', ''), sdpMid: fc.constantFrom('0', null) }), {
    maxLength: 3,
  }),
  sdp: fc.constantFrom('v=0', 'answer'),
  to: fc.constantFrom('alice', 'bob'),
  sid: fc.constantFrom('abcdefgh', 'x'),
  instance: fc.constantFrom('instance-1', 'instance-2', undefined),
  ttl: fc.constantFrom(1000, 300_000),
  limit: fc.constantFrom(1, 100),
  offset: fc.constantFrom(0, 5),
  since: fc.constantFrom(0, 1e13),
  // longer waits would make the run slower without testing more
  wait: fc.constantFrom(0, 1, 5),
  hidden: fc.boolean(),
  metadata: fc.constantFrom({ a: 1 }, [], 'text'),
  resume: fc.constantFrom({ epoch: 'x', seq: 1 }, undefined),
};

/** Params in which some fields are valid, some are arbitrary, and some are missing. */
export const params: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 1, arbitrary: anything },
  {
    weight: 6,
    arbitrary: fc.record(
      Object.fromEntries(
        Object.entries(FIELDS).map(([name, right]) => [
          name,
          name === 'wait' ? right : fc.oneof({ weight: 5, arbitrary: right }, { weight: 1, arbitrary: anything }),
        ]),
      ),
      { requiredKeys: [], noNullPrototype: true },
    ),
  },
);

export const method = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...METHODS) }, { weight: 1, arbitrary: text });

/** Corruption of a call after signing; `undefined` leaves the call unchanged. */
export const mutation = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  {
    weight: 2,
    arbitrary: fc.record({
      field: fc.constantFrom('method', 'message', 'signature', 'publicKey', 'params'),
      value: fc.oneof(
        { weight: 8, arbitrary: anything },
        { weight: 4, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom<unknown>(...WIDE) },
      ),
    }),
  },
);

/** Bodies and frames that are not calls at all. */
export const garbage: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  anything.map((value) => JSON.stringify(value)),
  fc.constantFrom(
    ...['', '[]', '{}', 'null', '0', '"', '{', '[[', '[null]', '{"__proto__":{"x":1}}', '{"id":1}', '{"id":1,"method":"poll"}'],
    ...['{"ack":-1}', '{"ack":1e999}', '{"ack":"1"}', '{"pong":true}', '{"id":{},"method":[],"params":0}', '{"a":1,"a":2}'],
    '['.repeat(5000),
    `${'['.repeat(5000)}${']'.repeat(5000)}`,
    `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`,
    JSON.stringify(Array(101).fill({})),
  ),
);
