/** Types of a diagnosis. */
import type { RondevuOptions } from '../options.js';

export type CheckName = 'server' | 'clock' | 'push' | 'webrtc' | 'stun' | 'turn' | 'udp';
/** `warning`: connections work, but worse than they could. `skipped`: there is nothing to check. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'skipped';

export interface Check {
  name: CheckName;
  status: CheckStatus;
  /** Stable, kebab-case; `ok` if the check passed. */
  code: string;
  /** The finding, as text for users. */
  cause: string;
  /** The remedy, as text for users; empty if there is nothing to do. */
  remedy: string;
  /** Duration of the check. */
  ms: number;
}

export interface Diagnosis {
  /** The worst status of the checks. */
  status: 'ok' | 'warning' | 'failed';
  checks: Check[];
}

export interface DiagnoseOptions extends Pick<
  RondevuOptions,
  'apiUrl' | 'iceServers' | 'turnServers' | 'rtcPeerConnection' | 'webSocket' | 'identity'
> {
  /** How long each check may take, in ms. Default 5000. */
  timeout?: number;
  /** Called with each check as soon as it is done. */
  onCheck?: (check: Check) => void;
  /**
   * Checks whether a STUN or TURN server answers over UDP at all, if the program can send packets. This distinguishes a TURN
   * server that refuses the request from an unreachable one. Default: the platform's own ICE errors decide.
   */
  answersUdp?: (host: string, port: number, ms: number) => Promise<boolean>;
}

export const ok = (cause: string): Verdict => ({ status: 'ok', code: 'ok', cause, remedy: '' });
export const skipped = (code: string, cause: string, remedy = ''): Verdict => ({ status: 'skipped', code, cause, remedy });
export const warning = (code: string, cause: string, remedy: string): Verdict => ({ status: 'warning', code, cause, remedy });
export const failed = (code: string, cause: string, remedy: string): Verdict => ({ status: 'failed', code, cause, remedy });
export type Verdict = Pick<Check, 'status' | 'code' | 'cause' | 'remedy'>;
