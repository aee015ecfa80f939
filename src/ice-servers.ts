/**
 * ICE presets by name. No TURN server is built in: TURN servers come from the configuration or from the signaling server.
 */
import { invalidValue } from './errors.js';

/**
 * `server` uses the ICE servers provided by the signaling server, falling back to `google-stun`, or to no servers on loopback.
 */
export type IcePreset = 'server' | 'google-stun' | 'ipv4-turn' | 'hostname-turns' | 'relay-only';
export type IceServersOption = IcePreset | RTCIceServer[];

const GOOGLE_STUN: RTCIceServer[] = [{ urls: ['stun:stun.l.google.com:19302', 'stun:stun1.l.google.com:19302'] }];
const LOOPBACK = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Patterns of the TURN URLs that each preset uses. */
const TURN_FILTERS: Partial<Record<string, RegExp>> = {
  'ipv4-turn': /^turn:\d+\.\d+\.\d+\.\d+[:?]?/,
  'hostname-turns': /^turns:/,
  'relay-only': /^turns?:/,
};

const filterOf = (choice: IceServersOption): RegExp | undefined =>
  typeof choice === 'string' && Object.hasOwn(TURN_FILTERS, choice) ? TURN_FILTERS[choice] : undefined;

/** Whether the choice uses the ICE servers provided by the signaling server. */
export const takesServed = (choice: IceServersOption, turnServers: RTCIceServer[] = []): boolean =>
  choice === 'server' || (!turnServers.length && filterOf(choice) !== undefined);

/**
 * Returns the RTCConfiguration for an `iceServers` option.
 * @param apiUrl address of the signaling server, to detect loopback
 * @param served ICE servers provided by the signaling server; TURN presets use its TURN servers if none are configured
 * @throws ValidationError if the preset is unknown, a list is invalid, or no configured TURN server matches the preset
 */
export function rtcConfiguration(
  choice: IceServersOption,
  turnServers: RTCIceServer[],
  apiUrl: string,
  served: RTCIceServer[] = [],
): RTCConfiguration {
  if (!turnServers.every?.((server) => server?.urls))
    throw invalidValue('turnServers', 'a list of RTCIceServer', typeof turnServers);
  if (Array.isArray(choice)) return { iceServers: choice };
  if (choice === 'google-stun') return { iceServers: GOOGLE_STUN };
  if (choice === 'server' && served.length) return { iceServers: served };
  if (choice === 'server') return { iceServers: LOOPBACK.test(new URL(apiUrl).hostname) ? [] : GOOGLE_STUN };
  const filter = filterOf(choice);
  if (!filter)
    throw invalidValue(
      'iceServers',
      'server, google-stun, ipv4-turn, hostname-turns, relay-only or a list of RTCIceServer',
      choice,
    );
  const isRelayOnly = choice === 'relay-only';
  let iceServers = pick(turnServers, filter);
  if (takesServed(choice, turnServers)) {
    iceServers = pick(served, filter);
    // if no TURN server matches the preset, any TURN server is better than none
    if (!iceServers.length) iceServers = pick(served, TURN_FILTERS['relay-only']!);
  } else if (!iceServers.length)
    throw invalidValue('turnServers', `a list with addresses like ${filter.source} for iceServers "${choice}"`, turnServers);
  return isRelayOnly ? { iceServers, iceTransportPolicy: 'relay' } : { iceServers: [...GOOGLE_STUN, ...iceServers] };
}

const pick = (servers: RTCIceServer[], filter: RegExp): RTCIceServer[] =>
  servers
    .map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => filter.test(url)) }))
    .filter(({ urls }) => urls.length > 0);
