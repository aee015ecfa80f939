/** Temporary folders. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A temporary folder, removed when the test ends; without a test, when the process ends. */
export function temporaryFolder(t?: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'rondevu-test-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  if (t) t.after(remove);
  else process.on('exit', remove);
  return folder;
}
