// A reporter for node's test runner: writes how many tests passed, failed and were skipped to the file in RONDEVU_COUNTS, as
// JSON and after each test, so that the figures are there however the run ends. Prints nothing.
import { writeFileSync } from 'node:fs';

export default async function* countReporter(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    if (data?.details?.type === 'suite') continue;
    if (type === 'test:pass') counts[data.skip !== undefined || data.todo !== undefined ? 'skipped' : 'passed']++;
    else if (type === 'test:fail') counts.failed++;
    else continue;
    writeFileSync(process.env.RONDEVU_COUNTS, JSON.stringify(counts));
  }
  yield '';
}
