/**
 * Feeds arbitrary frames and control messages to sessions: mutated valid frames, records with wrong sequence numbers, and
 * noise. Checks that sessions never throw, that memory does not grow, and that a concurrent pair of honest sessions receives
 * every message exactly once. `FUZZ_RUNS` sets the number of inputs; `FUZZ_SEED` replays a run.
 */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parseChannelWord } from '../../src/protocol/frames.js';
import { RondevuError } from '../../src/errors.js';
import { Random, seedOf } from '../support/random.js';
import { Grammar } from './fuzz-grammar.js';
import { End, Port, Wire } from './wire.js';

/** Number of inputs in CI. */
const USUAL = 20_000;
const RUNS = Number(process.env['FUZZ_RUNS'] ?? USUAL);
const SEED = seedOf('FUZZ_SEED', RUNS > USUAL);
/** Number of inputs between two checks of memory and of the honest sessions. */
const ROUND = 10_000;
/** Permitted growth of the heap after the first round, in bytes. Garbage collection makes the measurement noisy. */
const NOISE = 8_000_000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const memory = (): number => {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
};

/** Feeds hostile input to a session until the session reports an error, then continues with a new session. */
class Victim {
  readonly #grammar: Grammar;
  readonly #random: Random;
  #end!: End;
  #port!: Port;
  errors = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#grammar = new Grammar(random);
    this.#renew();
  }

  #renew(): void {
    this.#end?.session.end();
    this.#end = new End('sid');
    this.#end.listens = this.#random.next() < 0.8;
    this.#port = new Port();
    this.#end.session.attach(this.#port);
    for (let i = this.#random.between(0, 3); i > 0; i--) this.#end.send('ours');
    // most sessions receive a valid HELLO, because later checks are not reached without it
    if (this.#random.next() < 0.9)
      this.#end.session.receive('{"hello":{"sid":"sid","inst":"evil","known":null,"next":1}}', this.#port);
  }

  step(): void {
    const { session, got } = this.#end;
    const kind = this.#random.next();
    if (kind < 0.7) session.receive(this.#grammar.frame(got.length + 1), this.#port);
    else if (kind < 0.85) session.receive(this.#grammar.text(), this.#port);
    else session.control(this.#grammar.control(), this.#port);
    const { errors, finished } = this.#end;
    assert.ok(
      errors.filter((error) => !/expected message|was acknowledged/.test(error)).length <= 1,
      `one error, got ${errors.join('; ')}`,
    );
    if (!errors.length && !finished && this.#random.next() < 0.99) return;
    this.errors += errors.length ? 1 : 0;
    this.#renew();
  }

  /** Checks that a control message for an additional channel is parsed or refused with a RondevuError. */
  word(): void {
    try {
      parseChannelWord(this.#grammar.control().replace(/^\w+ /, ''));
    } catch (error) {
      assert.ok(error instanceof RondevuError, String(error));
    }
  }
}

test(`a session withstands ${RUNS} hostile inputs (seed ${SEED})`, { timeout: 3_600_000 }, async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const warn = mock.method(console, 'warn', () => undefined);
  const random = new Random(SEED);
  const victim = new Victim(random);
  const honest = new Wire();
  honest.connect();
  let sent = 0;
  let before = 0;
  for (let done = 0; done < RUNS;) {
    for (let i = 0; i < ROUND && done < RUNS; i++, done++) {
      if (i % 20 === 19) victim.word();
      else victim.step();
      if (i % 100 === 0) honest.ends.a.send(`${sent++}`);
    }
    await new Promise((resolve) => setImmediate(resolve)); // pending microtasks keep ended sessions in memory
    honest.settle(() => mock.timers.tick(20_000));
    const { got } = honest.ends.b;
    assert.deepEqual(
      got,
      Array.from({ length: got.length }, (_, i) => `${sent - got.length + i}`),
    );
    assert.deepEqual([honest.ends.a.errors, honest.ends.b.errors], [[], []]);
    assert.equal(honest.ends.a.outcomes.size, got.length);
    got.splice(0);
    honest.ends.a.outcomes.clear();
    warn.mock.resetCalls();
    if (!before) before = memory();
  }
  const grown = memory() - before;
  console.log(`${RUNS} inputs, ${victim.errors} connections refused, memory ${(grown / 1e6).toFixed(1)} MB more`);
  assert.ok(victim.errors > RUNS / 100, 'the inputs must reach the checks');
  assert.ok(grown < NOISE, `${grown} bytes more after ${RUNS} inputs`);
});
