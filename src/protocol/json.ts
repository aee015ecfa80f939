/**
 * JSON Canonicalization Scheme (RFC 8785): each value has exactly one encoding, so that both parties hash the same bytes.
 * JSON.stringify already serializes numbers and strings as the RFC requires; only the property names have to be sorted.
 */
import { ValidationError } from '../errors.js';

/** `String.prototype.isWellFormed` is faster, but missing in some supported browsers. */
const isWellFormed = (text: string & { isWellFormed?(): boolean }): boolean =>
  text.isWellFormed?.() ?? !/\p{Surrogate}/u.test(text);

/** Maximum nesting depth of received JSON, so that recursive functions do not exhaust the stack. */
export const MAX_JSON_DEPTH = 64;

/**
 * @throws ValidationError for values that JSON cannot represent (undefined, NaN, functions, lone surrogates), and for nesting
 *   beyond `MAX_JSON_DEPTH`
 */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > MAX_JSON_DEPTH) throw new ValidationError(`JSON is nested more than ${MAX_JSON_DEPTH} levels deep`);
  switch (typeof value) {
    case 'string':
      if (!isWellFormed(value)) throw new ValidationError('JSON text holds a lone surrogate');
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new ValidationError(`JSON cannot carry ${value}`);
      return JSON.stringify(value);
    case 'boolean':
      return String(value);
    case 'object': {
      if (value === null) return 'null';
      if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(',')}]`;
      const object = value as Record<string, unknown>;
      // Array.prototype.sort compares UTF-16 code units, as RFC 8785, section 3.2.3 requires
      const names = Object.keys(object).sort();
      return `{${names.map((name) => `${canonicalJson(name)}:${canonicalJson(object[name], depth + 1)}`).join(',')}}`;
    }
    default:
      throw new ValidationError(`JSON cannot carry ${typeof value}`);
  }
}
