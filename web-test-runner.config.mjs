// The elements in both browsers, against what tsc emitted and a real signaling server.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { esbuildPlugin } from '@web/dev-server-esbuild';
import { chromeLauncher } from '@web/test-runner-chrome';
import { defaultReporter } from '@web/test-runner';
import { register } from 'tsx/esm/api';
import { createServer } from './server/dist/index.js';

const unregister = register();
const { launchOptions } = await import('./test/support/browsers.ts');
await unregister();

const signaling = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:' });

const launcher = (name) => {
  const browser = chromeLauncher({ launchOptions: launchOptions(name), concurrency: 1 });
  browser.name = name;
  return browser;
};

/** Counts and progress for scripts/test.mjs, as scripts/progress-reporter.mjs writes them for node's runner. */
const countReporter = () => {
  const { done, total } = JSON.parse(process.env.RONDEVU_PROGRESS ?? '{"done":0,"total":0}');
  let finished = 0;
  return {
    reportTestFileResults({ logger, testFile }) {
      finished++;
      if (total) logger.log(`[${done + finished}/${total}] ${relative('.', testFile)}`);
    },
    onTestRunFinished({ sessions }) {
      const counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
      const fail = (name, { browser, testFile }, error) => {
        counts.failed++;
        counts.failures.push(
          `✖ ${name}\n  ${relative('.', testFile)} in ${browser.name}\n  ${error?.message}\n${error?.stack ?? ''}`,
        );
      };
      const add = (suite, session) => {
        for (const { name, passed, skipped, error } of suite?.tests ?? []) {
          if (passed || skipped) counts[skipped ? 'skipped' : 'passed']++;
          else fail(name, session, error);
        }
        for (const inner of suite?.suites ?? []) add(inner, session);
      };
      for (const session of sessions) {
        add(session.testResults, session);
        // an error outside the tests, for example while the file loads
        if (session.errors.length) fail('an error outside the tests', session, session.errors[0]);
      }
      if (process.env.RONDEVU_COUNTS) writeFileSync(process.env.RONDEVU_COUNTS, JSON.stringify(counts));
    },
  };
};

export default {
  files: 'test/elements/**/*.test.ts',
  nodeResolve: true,
  concurrency: 1,
  browsers: [launcher('chromium'), launcher('firefox')],
  // a sandboxed frame has an origin of its own, and loads the modules from another one
  middleware: [
    (context, next) => {
      context.set('access-control-allow-origin', '*');
      return next();
    },
  ],
  plugins: [
    esbuildPlugin({ ts: true, tsconfig: 'tsconfig.test.json' }),
    {
      name: 'signaling',
      serve: ({ path }) =>
        path === '/signaling.json' ? { body: JSON.stringify({ url: signaling.url }), type: 'json' } : undefined,
      serverStop: () => signaling.close(),
    },
  ],
  reporters: [defaultReporter(), countReporter()],
  testFramework: { config: { timeout: 15_000 } },
  testsFinishTimeout: 300_000,
};
