/**
 * Entry point of the browser bundle: the engine and the elements. The publishing code is a separate chunk, so that pages that
 * only join do not load it. The package root also exports the low-level classes.
 */
// imported first, so that the minifier processes Lit before the code that uses it, which makes the file smaller
import 'lit';
export * from '../src/index.js';
/** Keeps the connection code in the bundle's entry file, so that a joining page makes no second request. @internal */
export * as runtime from '../src/link-runtime.js';
export * from './elements.js';
