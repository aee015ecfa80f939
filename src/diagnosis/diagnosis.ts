/** Types of a diagnosis. */
import type { RondevuOptions } from '../options.js';

export type CheckName = 'server' | 'clock' | 'push' | 'webrtc' | 'stun' | 'turn' | 'udp';
/** `warning`: connections work, but not as well as they could. `skipped`: the check does not apply or cannot run. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'skipped';

export interface Check {
  name: CheckName;
  status: CheckStatus;
  /** Stable code in kebab-case; `ok` if the check passed. */
  code: string;
  /** User-readable description of the finding. */
  cause: string;
  /** User-readable remedy; empty if no action is needed. */
  remedy: string;
  /** Duration of the check. */
  ms: number;
}

export interface Diagnosis {
  /** The worst status among the checks. */
  status: 'ok' | 'warning' | 'failed';
  checks: Check[];
}

export interface DiagnoseOptions extends Pick<
  RondevuOptions,
  'apiUrl' | 'iceServers' | 'turnServers' | 'rtcPeerConnection' | 'webSocket' | 'identity'
> {
  /** How long each check may take, in ms. Default 5000. */
  timeout?: number;
  /** Called with the result of each check as soon as it is available. */
  onCheck?: (check: Check) => void;
  /**
   * Checks whether a STUN or TURN server answers over UDP; only programs that can send UDP packets can provide this function.
   * Its result distinguishes a TURN server that refuses requests from an unreachable server. Default: rely on the platform's
   * ICE errors.
   */
  answersUdp?: (host: string, port: number, ms: number) => Promise<boolean>;
}

export const ok = (cause: string): Verdict => ({ status: 'ok', code: 'ok', cause, remedy: '' });
export const skipped = (code: string, cause: string, remedy = ''): Verdict => ({ status: 'skipped', code, cause, remedy });
export const warning = (code: string, cause: string, remedy: string): Verdict => ({ status: 'warning', code, cause, remedy });
export const failed = (code: string, cause: string, remedy: string): Verdict => ({ status: 'failed', code, cause, remedy });
export type Verdict = Pick<Check, 'status' | 'code' | 'cause' | 'remedy'>;
