/**
 * A reporter for Node's test runner. Prints a line when a file starts and when it ends, with the progress of the whole run, and
 * prints each failed test in full. After each test, writes the counts, the failures and the seconds per file to RONDEVU_COUNTS,
 * so that the results are available however the run ends. RONDEVU_PROGRESS is JSON with `done` and `total`, the numbers of
 * completed files and of all files.
 */
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { inspect } from 'node:util';

const { done, total } = JSON.parse(process.env.RONDEVU_PROGRESS);
const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

function failureOf(file, { name, line, details }) {
  const error = details.error?.cause ?? details.error;
  const text = typeof error === 'string' ? error : inspect(error, { colors: process.stdout.isTTY });
  return `✖ ${name}\n  ${file}${line ? `:${line}` : ''}\n  ${text.replaceAll('\n', '\n  ')}`;
}

/** Whether a suite itself failed, for example in a hook. Failed tests in a suite are already counted. */
const failedByItself = ({ details }) => details.error?.failureType !== 'subtestsFailed';

export default async function* progressReporter(source) {
  const counts = { passed: 0, failed: 0, skipped: 0, failures: [], seconds: {} };
  const starts = new Map();
  const place = (number) => `[${String(number).padStart(String(total).length)}/${total}]`;
  for await (const { type, data } of source) {
    if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
    if (type === 'test:diagnostic' && data.file && !SUMMARY.test(data.message)) yield `    ${data.message}\n`;
    if (!data?.file) continue;
    const file = relative('.', data.file);
    // events of a file's tests may follow the event that ends the file, so the line for a file has no counts
    if (data.nesting === 0 && data.name !== undefined && relative('.', data.name) === file) {
      if (type === 'test:dequeue') {
        starts.set(file, performance.now());
        yield `${place(done + starts.size)} ${file} …\n`;
      } else if (type === 'test:complete') {
        counts.seconds[file] = (performance.now() - starts.get(file)) / 1000;
        yield `${place(done + Object.keys(counts.seconds).length)} ${file} ended after ${counts.seconds[file].toFixed(1)} s\n`;
      }
    }
    const isSuite = data.details?.type === 'suite';
    if (type === 'test:pass' && !isSuite) counts[data.skip !== undefined || data.todo !== undefined ? 'skipped' : 'passed']++;
    else if (type === 'test:fail' && (!isSuite || failedByItself(data))) {
      counts.failed++;
      const failure = failureOf(file, data);
      counts.failures.push(failure);
      yield `\n${failure}\n\n`;
    } else if (type !== 'test:complete') continue;
    writeFileSync(process.env.RONDEVU_COUNTS, JSON.stringify(counts));
  }
}
