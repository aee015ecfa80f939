/** Possible values of the elements' `state` attribute. */
import type { ConnectionState } from '../src/index.js';

/**
 * `waiting`: no host is available yet; `unreachable`: the signaling server cannot be reached and there has been no link yet.
 */
export type ConnectState = ConnectionState | 'idle' | 'waiting' | 'unreachable';

/** `reconnecting`: the signaling server cannot be reached; open connections are not affected. */
export type ServiceState = 'idle' | 'publishing' | 'live' | 'reconnecting' | 'stopped' | 'failed';
