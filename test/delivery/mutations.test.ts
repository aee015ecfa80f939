/**
 * Checks that the delivery tests detect faults: each fault below is applied to a copy of the source and must make the tests
 * fail. The first run applies no fault and must pass, which shows that the faults cause the failures.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

mkdirSync('.test-results', { recursive: true });
// inside the project, so that package imports resolve
const folder = mkdtempSync(join('.test-results', 'mutants-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MUTATIONS: [what: string, file: string, from: string, to: string][] = [
  ['no fault', 'outbox.ts', '', ''],
  [
    'no check of the receiver’s number',
    'inbox.ts',
    '      if (number < this.next) continue; // it arrived on an earlier link, but its acknowledgement was lost\n      if (number > this.next) throw',
    '      if (number < 0) throw',
  ],
  [
    'trimming before the acknowledgement',
    'outbox.ts',
    '      this.#position++;\n    }\n    return writer.finish();',
    '      this.#sent.splice(this.#position, 1);\n      this.#base++;\n    }\n    return writer.finish();',
  ],
  [
    'replay from one too far',
    'outbox.ts',
    '    this.#restart();\n    return arrived;',
    '    this.#restart();\n    this.#position = Math.min(1, this.#sent.length);\n    return arrived;',
  ],
  ['the end of a link is not watched', 'session.ts', 'this.#watch.start();\n    return this.#trySend', 'return this.#trySend'],
  ['a link that is back is not watched', 'session.ts', 'this.#watch.start();\n    this.#pump();', 'this.#pump();'],
  ['only new acknowledgements are counted', 'session.ts', '      this.#watch.received();\n', ''],
  ['who refuses says it once', 'session.ts', 'if (this.#finishing) this.#acknowledgeIn(REFUSED_AGAIN);', ''],
  ['events of an old generation are let through', 'session.ts', 'port !== this.#port || this.#ended', 'this.#ended'],
];

for (const [what, file, from, to] of MUTATIONS) {
  test(`delivery tests with mutation "${what}": ${from ? 'red' : 'green'}`, { timeout: 120_000 }, () => {
    const copy = join(folder, String(MUTATIONS.findIndex(([name]) => name === what)));
    cpSync('src', join(copy, 'src'), { recursive: true });
    mkdirSync(join(copy, 'test'), { recursive: true });
    cpSync('test/delivery', join(copy, 'test/delivery'), { recursive: true });
    const path = join(copy, 'src/delivery', file);
    const text = readFileSync(path, 'utf8');
    assert.ok(text.includes(from), `${file} no longer reads as this test expects: ${from}`);
    writeFileSync(path, text.replace(from, to));
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, RONDEVU_RUNS: '500' };
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        '--import',
        'tsx',
        '--test',
        '--test-reporter=spec',
        ...['session', 'losses'].map((name) => join(copy, `test/delivery/${name}.test.ts`)),
      ],
      { env: env as NodeJS.ProcessEnv, encoding: 'utf8' },
    );
    assert.equal(status, from ? 1 : 0, stdout.slice(-2000));
  });
}
