/** `diagnose`: why nobody connects, as far as one end can tell. The checks are a chunk of their own. */
import { chunk } from './base/chunk.js';
import type { DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

export type { Check, CheckName, CheckStatus, DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

/**
 * Looks at server, clock, push, WebRTC, STUN, TURN and UDP, one after the other. Never hangs, and does not reject for what it finds: that is
 * its result.
 * @throws ValidationError for a bad option, quoting it
 */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  return (await chunk('checks', () => import('./diagnosis/checks.js'))).runChecks(options);
}
