/** Looks up services. This module is a separate chunk, because pages that join by name do not need it. */
import { invalidValue } from './errors.js';
import type { FindOptions } from './options.js';
import type { ServiceEntry, ServicePage } from './protocol/rpc.js';
import { parseServiceName } from './protocol/service-name.js';
import type { SignalingClient } from './signaling/index.js';

/** @throws ValidationError; RondevuError `not-found` or `no-offer` when looking up a single service */
export async function findService(
  signaling: SignalingClient,
  serviceFqn: string,
  { mode, limit = 10, offset = 0 }: FindOptions = {},
): Promise<ServiceEntry | ServicePage> {
  const { username } = parseServiceName(serviceFqn, 'findService: service name');
  if (mode !== undefined && !/^(direct|random|paginated)$/.test(mode))
    throw invalidValue('findService: mode', 'direct, random or paginated', mode);
  if ((mode === 'direct') === (username === undefined) && (mode === 'direct' || mode === 'random')) {
    const expected = `${mode === 'direct' ? 'with' : 'without'} @username in mode ${mode}`;
    throw invalidValue('findService: service name', expected, serviceFqn);
  }
  if (mode === 'paginated') return signaling.api.call('getService', { serviceFqn, limit, offset });
  return signaling.call('getService', { serviceFqn, instance: signaling.instance }, { urgent: true });
}
