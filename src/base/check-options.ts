/** Checks the names and types of options, and fills in defaults. */
import { invalidValue } from '../errors.js';

/**
 * Option names by value type, which is a result of `typeof` or the name of a platform class; options of type `any` are checked
 * where they are used.
 */
export type OptionKinds = { [kind in 'string' | 'number' | 'boolean' | 'object' | 'AbortSignal' | 'function' | 'any']?: string };

/** @throws ValidationError that states the option, the expected type and the received value */
export function checkOptions(where: string, options: object, kinds: OptionKinds): void {
  if (typeof options !== 'object' || options === null)
    throw invalidValue(where, 'called with an object', options && typeof options);
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.entries(kinds).find(([, names]) => names.split(' ').includes(name))?.[0];
    if (!kind) throw invalidValue(`the options of ${where}`, Object.values(kinds).join(' '), name);
    if (value === undefined || kind === 'any') continue;
    if (value === null || (typeof value !== kind && value[Symbol.toStringTag] !== kind) || (kind === 'number' && !(value >= 0)))
      throw invalidValue(
        `${where}: ${name}`,
        `${/^[ao]/i.test(kind) ? 'an' : 'a'} ${kind}${kind === 'number' ? ' of 0 or more' : ''}`,
        // a value passed where an object is expected could be a secret, such as a key or TURN credentials
        kind === 'object' && value ? typeof value : value,
      );
  }
}

/** The defaults, overridden by each option that is not undefined. */
export function withDefaults<T extends object>(defaults: T, options: Partial<T>): T {
  return { ...defaults, ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) };
}
