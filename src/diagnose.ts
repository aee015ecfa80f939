/** `diagnose`: finds out why connections fail, as far as possible from one peer. The checks are loaded as a separate chunk. */
import { chunk } from './base/chunk.js';
import type { DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

export type { Check, CheckName, CheckStatus, DiagnoseOptions, Diagnosis } from './diagnosis/diagnosis.js';

/**
 * Checks the server, clock, push, WebRTC, STUN, TURN and UDP, in that order. Each check has a time limit. Problems are reported
 * in the result and do not reject the promise.
 * @throws ValidationError that quotes the invalid option
 */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  return (await chunk('checks', () => import('./diagnosis/checks.js'))).runChecks(options);
}
