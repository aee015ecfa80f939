/** Temporary folders. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Creates a temporary folder that is removed when the test ends or, without a test, when the process exits. */
export function temporaryFolder(t?: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'rondevu-test-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  if (t) t.after(remove);
  else process.on('exit', remove);
  return folder;
}
