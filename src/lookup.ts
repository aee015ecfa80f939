/** Looking services up, and what is wrong with how one is named. */
import { ValidationError, mustBe } from './errors.js';
import type { ConnectOptions } from './options.js';
import type { ServiceEntry, ServicePage } from './protocol/rpc.js';
import { checkUsername, formatServiceName, isServiceId, parseServiceName } from './protocol/service-name.js';
import type { SignalingClient } from './signaling/index.js';

/** How to look services up. */
export interface FindOptions {
  /** Default: `direct` with a username in the name, else `random`. */
  mode?: 'direct' | 'random' | 'paginated';
  limit?: number;
  offset?: number;
}

/** @throws ValidationError; RondevuError `not-found` or `no-offer` for a single one */
export async function findService(
  signaling: SignalingClient,
  serviceFqn: string,
  { mode, limit = 10, offset = 0 }: FindOptions = {},
): Promise<ServiceEntry | ServicePage> {
  const { username } = parseServiceName(serviceFqn, 'findService: service name');
  if (mode !== undefined && !/^(direct|random|paginated)$/.test(mode))
    throw mustBe('findService: mode', 'direct, random or paginated', mode);
  if ((mode === 'direct') === (username === undefined) && (mode === 'direct' || mode === 'random')) {
    const expected = `${mode === 'direct' ? 'with' : 'without'} @username in mode ${mode}`;
    throw mustBe('findService: service name', expected, serviceFqn);
  }
  if (mode === 'paginated') return signaling.api.call('getService', { serviceFqn, limit, offset });
  return signaling.call('getService', { serviceFqn, instance: signaling.instance }, { urgent: true });
}

/**
 * Whom to join: a name, or an id.
 * @throws ValidationError
 */
export function targetOf({ serviceFqn, service, username, serviceId, failover }: ConnectOptions): {
  target: string;
  pin: string | undefined;
} {
  if (serviceId !== undefined) {
    if (serviceFqn !== undefined || service !== undefined || username !== undefined || failover)
      throw new ValidationError('connectToService takes serviceId alone, without a name or failover');
    if (!isServiceId(serviceId)) throw mustBe('connectToService: serviceId', 'an id as a service has it, a UUID', serviceId);
    return { target: serviceId, pin: undefined };
  }
  if (serviceFqn !== undefined && (service !== undefined || username !== undefined))
    throw new ValidationError('connectToService takes serviceFqn, or service and username, not both');
  const name = serviceFqn ?? service;
  const parsed = parseServiceName(name, `connectToService: ${serviceFqn === undefined ? 'service' : 'serviceFqn'}`);
  if (username !== undefined) parsed.username = checkUsername(username, 'connectToService: username');
  return { target: formatServiceName(parsed), pin: parsed.pin };
}
