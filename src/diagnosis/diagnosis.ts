/** What a diagnosis says; types only. */
import type { RondevuOptions } from '../options.js';

export type CheckName = 'server' | 'clock' | 'push' | 'webrtc' | 'stun' | 'turn' | 'udp';
/** `warning`: connections work, and worse than they could. `skipped`: there is nothing to check. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'skipped';

export interface Check {
  name: CheckName;
  status: CheckStatus;
  /** Stable, kebab-case; `ok` when all is well. */
  code: string;
  /** What was found, for people. */
  cause: string;
  /** What to do about it; empty when there is nothing to do. */
  remedy: string;
  /** How long it took. */
  ms: number;
}

export interface Diagnosis {
  /** The worst of the checks. */
  status: 'ok' | 'warning' | 'failed';
  checks: Check[];
}

export interface DiagnoseOptions extends Pick<
  RondevuOptions,
  'apiUrl' | 'iceServers' | 'turnServers' | 'rtcPeerConnection' | 'webSocket' | 'identity'
> {
  /** How long each check may take, in ms. Default 5000. */
  timeout?: number;
  /** Told of each check as soon as it is done. */
  onCheck?: (check: Check) => void;
  /**
   * Whether a STUN or TURN server answers over UDP at all, where the program can send packets: then a TURN server that refuses us is told
   * apart from one that is not reached. Default: what the platform's own ICE errors say.
   */
  answersUdp?: (host: string, port: number, ms: number) => Promise<boolean>;
}

export const ok = (cause: string): Verdict => ({ status: 'ok', code: 'ok', cause, remedy: '' });
export const skipped = (code: string, cause: string, remedy = ''): Verdict => ({ status: 'skipped', code, cause, remedy });
export const warning = (code: string, cause: string, remedy: string): Verdict => ({ status: 'warning', code, cause, remedy });
export const failed = (code: string, cause: string, remedy: string): Verdict => ({ status: 'failed', code, cause, remedy });
export type Verdict = Pick<Check, 'status' | 'code' | 'cause' | 'remedy'>;
