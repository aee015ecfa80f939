/** `rondevu find`: lists the hosts of a service. */
import { CLIENT_HELP, CLIENT_OPTIONS, EXIT, UsageError, clientOf, forTerminal, printer, type Command } from './command.js';
import { printable } from '../protocol/chat.js';

function wholeNumber(text: unknown, name: string, standard: number): number {
  const value = Number(text ?? standard);
  if (!Number.isInteger(value) || value < 0)
    throw new UsageError(`--${name} must be a whole number of 0 or more, got "${String(text)}"`);
  return value;
}

export const find: Command = {
  summary: 'list the hosts of a service',
  help: `rondevu find SERVICE

Lists the hosts of a service that can be joined, highest version first. SERVICE is name:version, which finds every
compatible version, or name:version@username. Does not reserve an offer.

  rondevu find chat:1.0.0
  rondevu find chat:1.0.0@alice --json

      --limit N        maximum number of results (default 10)
      --offset N       number of results to skip (default 0)
${CLIENT_HELP}`,
  options: { ...CLIENT_OPTIONS, limit: { type: 'string' }, offset: { type: 'string' } },
  args: ['SERVICE'],
  async run([service = ''], values) {
    const [limit, offset] = [wholeNumber(values['limit'], 'limit', 10), wholeNumber(values['offset'], 'offset', 0)];
    const print = printer(values);
    const rondevu = await clientOf(values, false);
    const { services } = await rondevu.findService(service, { mode: 'paginated', limit, offset });
    for (const { serviceFqn, username, publicKey, createdAt, expiresAt } of services)
      print({ event: 'service', serviceFqn, username, publicKey, createdAt, expiresAt }, printable(serviceFqn));
    await rondevu.close();
    if (!services.length && !values['json']) console.error(forTerminal(`rondevu: nobody is hosting ${service}`));
    return services.length ? EXIT.ok : EXIT.nobody;
  },
};
