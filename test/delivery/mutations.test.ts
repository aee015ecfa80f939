/**
 * Checks that the delivery tests detect faults: each mutation below is applied to a copy of the source and must make the tests
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
  ['no mutation', 'outbox.ts', '', ''],
  [
    'gaps and duplicates are not detected',
    'inbox.ts',
    '      if (number < this.next) continue;\n      if (number > this.next) throw',
    '      if (number < 0) throw',
  ],
  [
    'messages are dropped before they are acknowledged',
    'outbox.ts',
    '      this.#position++;\n    }\n    return writer.finish();',
    '      this.#sent.splice(this.#position, 1);\n      this.#base++;\n    }\n    return writer.finish();',
  ],
  [
    'replay skips the first unacknowledged message',
    'outbox.ts',
    '    this.#restart();\n    return arrived;',
    '    this.#restart();\n    this.#position = Math.min(1, this.#sent.length);\n    return arrived;',
  ],
  [
    'sending does not start the stall watch',
    'session.ts',
    'this.#watch.start();\n    return this.#trySend',
    'return this.#trySend',
  ],
  ['a recovered link does not start the stall watch', 'session.ts', 'this.#watch.start();\n    this.#pump();', 'this.#pump();'],
  ['repeated acknowledgements do not count as progress', 'session.ts', '      this.#watch.received();\n', ''],
  ['a refusal is sent only once', 'session.ts', 'if (this.#finishing) this.#acknowledgeIn(REFUSED_AGAIN);', ''],
  ['events of an earlier link are processed', 'session.ts', 'port !== this.#port || this.#ended', 'this.#ended'],
];

for (const [what, file, from, to] of MUTATIONS) {
  test(`the delivery tests ${from ? 'fail' : 'pass'} with the mutation "${what}"`, { timeout: 120_000 }, () => {
    const copy = join(folder, String(MUTATIONS.findIndex(([name]) => name === what)));
    cpSync('src', join(copy, 'src'), { recursive: true });
    mkdirSync(join(copy, 'test'), { recursive: true });
    cpSync('test/delivery', join(copy, 'test/delivery'), { recursive: true });
    const path = join(copy, 'src/delivery', file);
    // comments may be reworded
    const text = readFileSync(path, 'utf8').replace(/ \/\/ .*$/gm, '');
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
