/**
 * ICE presets by name. No TURN servers are built in: they come from the configuration or from the signaling server.
 */
import { invalidValue } from './errors.js';

/** `server`: the servers that the signaling server hands out; without any, `google-stun`, or nothing on loopback. */
export type IcePreset = 'server' | 'google-stun' | 'ipv4-turn' | 'hostname-turns' | 'relay-only';
export type IceServersOption = IcePreset | RTCIceServer[];

const GOOGLE_STUN: RTCIceServer[] = [{ urls: ['stun:stun.l.google.com:19302', 'stun:stun1.l.google.com:19302'] }];
const LOOPBACK = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** TURN URLs that a preset uses. */
const TURN_FILTERS: Partial<Record<string, RegExp>> = {
  'ipv4-turn': /^turn:\d+\.\d+\.\d+\.\d+[:?]?/,
  'hostname-turns': /^turns:/,
  'relay-only': /^turns?:/,
};

const filterOf = (choice: IceServersOption): RegExp | undefined =>
  typeof choice === 'string' && Object.hasOwn(TURN_FILTERS, choice) ? TURN_FILTERS[choice] : undefined;

/** Whether the choice uses the servers that the signaling server hands out. */
export const takesServed = (choice: IceServersOption, turnServers: RTCIceServer[] = []): boolean =>
  choice === 'server' || (!turnServers.length && filterOf(choice) !== undefined);

/**
 * The RTCConfiguration for a choice.
 * @param apiUrl address of the signaling server, to recognize loopback
 * @param served servers that the signaling server hands out; TURN presets use its TURN servers if none are configured
 * @throws ValidationError for an unknown name, or if no configured TURN server fits the preset
 */
export function rtcConfiguration(
  choice: IceServersOption,
  turnServers: RTCIceServer[],
  apiUrl: string,
  served: RTCIceServer[] = [],
): RTCConfiguration {
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
    // a relay of another kind is better than no relay
    if (!iceServers.length) iceServers = pick(served, TURN_FILTERS['relay-only']!);
  } else if (!iceServers.length)
    throw invalidValue(
      `turnServers for iceServers "${choice}"`,
      `a list with addresses like ${filter.source}`,
      turnServers.map(({ urls }) => urls),
    );
  return isRelayOnly ? { iceServers, iceTransportPolicy: 'relay' } : { iceServers: [...GOOGLE_STUN, ...iceServers] };
}

const pick = (servers: RTCIceServer[], filter: RegExp): RTCIceServer[] =>
  servers
    .map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => filter.test(url)) }))
    .filter(({ urls }) => urls.length > 0);
