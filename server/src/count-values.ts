/**
 * Limits the number of values in a JSON text before it is parsed: parsing an object with 90 000 members takes 100 ms, but
 * counting them takes only 2 ms.
 */

/** Maximum number of values in one body or frame, at any depth: about four times the maximum for one call. */
export const MAX_BODY_VALUES = 40_000;

const [QUOTE, BACKSLASH, COMMA, COLON, OPEN, CLOSE, OPEN_OBJECT, CLOSE_OBJECT] = [0x22, 0x5c, 0x2c, 0x3a, 0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Whether a JSON text has more than `most` commas, colons and opening square brackets outside its strings. The result is
 * unspecified if the text is not JSON.
 */
export function hasMoreValues(json: Buffer, most: number): boolean {
  // a text of at most `most` bytes cannot contain more values
  if (json.length <= most) return false;
  let count = 0;
  let isText = false;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (isText) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) isText = false;
    } else if (byte === QUOTE) isText = true;
    else if ((byte === COMMA || byte === COLON || byte === OPEN) && ++count > most) return true;
  }
  return false;
}

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** Counts the items of a JSON array without parsing it; returns 0 if the array is empty or the text is not an array. */
export function countItems(json: Buffer): number {
  let [count, depth, isText, isEmpty] = [1, 0, false, true];
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]!;
    if (isText) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) isText = false;
      continue;
    }
    if (isSpace(byte)) continue;
    if (depth === 0 && byte !== OPEN) return 0;
    if (depth === 1 && byte === CLOSE) return isEmpty ? 0 : count;
    if (depth >= 1) isEmpty = false;
    if (byte === QUOTE) isText = true;
    else if (byte === OPEN || byte === OPEN_OBJECT) depth++;
    else if (byte === CLOSE || byte === CLOSE_OBJECT) depth--;
    else if (byte === COMMA && depth === 1) count++;
  }
  return 0;
}
