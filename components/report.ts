/** Prints the elements' errors to the console, each with a suggested remedy. */
import { chunk } from '../src/base/chunk.js';
import type { Problem } from './remedies.js';

/** @param apiUrl URL of the signaling server, before it is resolved */
export function report(element: HTMLElement, apiUrl: string, error: Problem): void {
  const print = (remedy = '') => console.error(`<${element.localName}>: ${error.message}${remedy && `. ${remedy}`}`, element);
  // the remedies are a separate chunk: most pages never need them
  void chunk('remedies', () => import('./remedies.js')).then(
    ({ remedyFor }) => print(remedyFor(element, apiUrl, error)),
    () => print(),
  );
}
