/** Bounds how many values a JSON text holds before it is parsed: an object of 90 000 names takes 100 ms, and reading its text two. */

/** Values in one body or frame, at any depth: four times what one call may hold. */
export const MAX_BODY_VALUES = 40_000;

const [QUOTE, BACKSLASH, COMMA, COLON, OPEN] = [0x22, 0x5c, 0x2c, 0x3a, 0x5b];

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
