/**
 * Makes text from peers safe to print: terminals act on control characters, and bidirectional or invisible characters can make
 * one text look like another. The set of unsafe characters is defined only in this file.
 */

/**
 * C0 and C1 controls, DEL, soft hyphen, bidirectional and zero-width characters, line separators, interlinear annotation marks,
 * and tag characters.
 */
const UNPRINTABLE =
  /[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/**
 * Removes characters that are not safe to print.
 * @param breaks whether to keep line breaks and tabs, default false
 */
export const printable = (text: string, breaks = false): string =>
  text.replace(UNPRINTABLE, (character) => (breaks && /[\n\t]/.test(character) ? character : ''));

/** Escapes characters that are not safe to print as `\uXXXX`; within JSON, the escaped text has the same value. */
export const escapeUnprintable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) =>
    Array.from({ length: character.length }, (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
