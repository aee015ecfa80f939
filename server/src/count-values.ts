/** Bounds how many values a JSON text holds before it is parsed: an object of 90 000 names takes 100 ms, and reading its text two. */

/** Values in one body or frame, at any depth: four times what one call may hold. */
export const MAX_BODY_VALUES = 40_000;

const [QUOTE, BACKSLASH, COMMA, COLON, OPEN, CLOSE, OPEN_OBJECT, CLOSE_OBJECT] = [0x22, 0x5c, 0x2c, 0x3a, 0x5b, 0x5d, 0x7b, 0x7d];

/** Whether JSON holds more than `most` commas, colons and arrays outside its strings. What is no JSON gets any answer. */
export function hasMoreValues(json: Buffer, most: number): boolean {
  // fewer bytes than that cannot
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

/** How many items the array has that JSON is, without parsing it; 0 for an empty one and for what is no array. */
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
