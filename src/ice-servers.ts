/**
 * ICE presets: names for the ways of finding a path. No host or password of anybody stands here but Google's public STUN;
 * TURN servers come from configuration.
 */
import { mustBe } from './errors.js';

/** Whether what the signaling server hands out is of use. */
export const takesServed = (choice: IceServersOption, turnServers: RTCIceServer[] = []): boolean =>
  choice === 'server' || (choice === 'relay-only' && !turnServers.length);

/** `server`: what the signaling server hands out, else `google-stun`, else nothing on loopback. */
export type IcePreset = 'server' | 'google-stun' | 'ipv4-turn' | 'hostname-turns' | 'relay-only';
export type IceServersOption = IcePreset | RTCIceServer[];

const GOOGLE_STUN: RTCIceServer[] = [{ urls: ['stun:stun.l.google.com:19302', 'stun:stun1.l.google.com:19302'] }];
const LOOPBACK = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Which of the configured TURN addresses a preset takes. */
const TURN_FILTERS: Partial<Record<IcePreset, RegExp>> = {
  'ipv4-turn': /^turn:\d+\.\d+\.\d+\.\d+[:?]?/,
  'hostname-turns': /^turns:/,
  'relay-only': /^turns?:/,
};

/**
 * The RTCConfiguration of a choice.
 * @param apiUrl address of the signaling server, to tell loopback
 * @param served what the signaling server hands out; `relay-only` takes its TURN servers where none are configured
 * @throws ValidationError for an unknown name, or a TURN preset without TURN servers
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
  const filter = Object.hasOwn(TURN_FILTERS, choice) ? TURN_FILTERS[choice] : undefined;
  if (!filter)
    throw mustBe('iceServers', 'server, google-stun, ipv4-turn, hostname-turns, relay-only or a list of RTCIceServer', choice);
  const isServed = takesServed(choice, turnServers);
  const iceServers = (isServed ? served : turnServers)
    .map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => filter.test(url)) }))
    .filter(({ urls }) => urls.length > 0);
  if (!iceServers.length && !isServed)
    throw mustBe(
      `turnServers for iceServers "${choice}"`,
      `a list with addresses like ${filter.source}`,
      turnServers.map(({ urls }) => urls),
    );
  return choice === 'relay-only' ? { iceServers, iceTransportPolicy: 'relay' } : { iceServers: [...GOOGLE_STUN, ...iceServers] };
}
