/** The target of `connectToService`. */
import { ValidationError, invalidValue } from './errors.js';
import type { ConnectOptions } from './options.js';
import { checkUsername, formatServiceName, isServiceId, parseServiceName } from './protocol/service-name.js';

/**
 * Returns the service to join, by name or id, and the expected key pin from its address.
 * @throws ValidationError
 */
export function targetOf({ serviceFqn, service, username, serviceId, failover }: ConnectOptions): {
  target: string;
  pin: string | undefined;
} {
  if (serviceId !== undefined) {
    if (serviceFqn !== undefined || service !== undefined || username !== undefined || failover)
      throw new ValidationError('connectToService takes serviceId alone, without a name or failover');
    if (!isServiceId(serviceId)) throw invalidValue('connectToService: serviceId', 'the UUID of a service', serviceId);
    return { target: serviceId, pin: undefined };
  }
  if (serviceFqn !== undefined && (service !== undefined || username !== undefined))
    throw new ValidationError('connectToService takes serviceFqn, or service and username, not both');
  const name = serviceFqn ?? service;
  const parsed = parseServiceName(name, `connectToService: ${serviceFqn === undefined ? 'service' : 'serviceFqn'}`);
  if (username !== undefined) parsed.username = checkUsername(username, 'connectToService: username');
  return { target: formatServiceName(parsed), pin: parsed.pin };
}
