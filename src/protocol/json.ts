/**
 * The JSON Canonicalization Scheme (RFC 8785): one text per value, so that two parties hash the same bytes.
 * JSON.stringify already writes numbers and strings as the RFC requires; only the order of the names remains.
 */
import { ValidationError } from '../errors.js';

/** `String.prototype.isWellFormed` is faster, but newer than some supported browsers. */
const isWellFormed = (text: string & { isWellFormed?(): boolean }): boolean =>
  text.isWellFormed?.() ?? !/\p{Surrogate}/u.test(text);

/** Nesting levels that received JSON may have: recursive functions must not exhaust the stack. */
export const MAX_JSON_DEPTH = 64;

/**
 * @throws ValidationError for values that JSON cannot carry (undefined, NaN, functions, lone surrogates), past `MAX_JSON_DEPTH`
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
      // Array.prototype.sort compares UTF-16 code units, which is the order of the RFC, section 3.2.3
      const names = Object.keys(object).sort();
      return `{${names.map((name) => `${canonicalJson(name)}:${canonicalJson(object[name], depth + 1)}`).join(',')}}`;
    }
    default:
      throw new ValidationError(`JSON cannot carry ${typeof value}`);
  }
}
