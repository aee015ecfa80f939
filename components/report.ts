/** Prints the errors of the elements to the console, each with its remedy. */
import { chunk } from '../src/base/chunk.js';
import type { Problem } from './remedies.js';

/** @param apiUrl address of the signaling server, as given */
export function report(element: HTMLElement, apiUrl: string, error: Problem): void {
  const print = (remedy = '') => console.error(`<${element.localName}>: ${error.message}${remedy && `. ${remedy}`}`, element);
  // the remedies are a separate chunk: most pages never need them
  void chunk('remedies', () => import('./remedies.js')).then(
    ({ remedyFor }) => print(remedyFor(element, apiUrl, error)),
    () => print(),
  );
}
