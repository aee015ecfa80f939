/** The states of the elements, as in their attribute `state`. */
import type { ConnectionState } from '../src/index.js';

/** `waiting`: nobody is there yet; `unreachable`: the signaling server cannot be reached and there has been no link yet. */
export type ConnectState = ConnectionState | 'idle' | 'waiting' | 'unreachable';

/** `reconnecting`: the signaling server cannot be reached; open connections are not affected. */
export type ServiceState = 'idle' | 'publishing' | 'live' | 'reconnecting' | 'stopped' | 'failed';
