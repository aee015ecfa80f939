/**
 * Entry point of the browser bundle: the engine and the elements. The publishing side is a chunk, so that a page that only
 * joins does not load it; the package root also exports the low-level classes.
 */
// first, so that the minifier sees Lit before the code that uses it: this makes the file smaller
import 'lit';
export * from '../src/index.js';
/** @internal Keeps connections in the bundle's entry file: a page that joins requests no second file. */
export * as runtime from '../src/link-runtime.js';
export * from './elements.js';
