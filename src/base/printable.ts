/**
 * Makes text from the other side safe to print: a terminal obeys control characters, and bidirectional or invisible ones make a text
 * look like another. This is the only place that lists them.
 */

/** C0, DEL and C1; soft hyphen; bidirectional and zero-width characters, line separators, interlinear marks, and tags. */
const UNPRINTABLE =
  /[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/**
 * Takes out what is not safe to print.
 * @param breaks whether line breaks and tabs stay, default false
 */
export const printable = (text: string, breaks = false): string =>
  text.replace(UNPRINTABLE, (character) => (breaks && /[\n\t]/.test(character) ? character : ''));

/** Shows what is not safe to print as `\uXXXX`; in JSON that is the same text. */
export const escapeUnprintable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) =>
    Array.from({ length: character.length }, (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
