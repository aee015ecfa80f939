/** `diagnose`: finds out why no connection comes up, as far as one peer can. The checks are a separate chunk. */
import { chunk } from './base/chunk.js';
import type { DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

export type { Check, CheckName, CheckStatus, DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

/**
 * Checks server, clock, push, WebRTC, STUN, TURN and UDP, one after the other. Each check has a time limit. Problems are
 * reported in the result; they never reject the promise.
 * @throws ValidationError for an invalid option, quoting it
 */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  return (await chunk('checks', () => import('./diagnosis/checks.js'))).runChecks(options);
}
