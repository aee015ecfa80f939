/**
 * Lit's decorators `property` and `state` for `experimentalDecorators`, which is all that is used here. Those of Lit also implement standard
 * decorators, which every page would load.
 */
import type { PropertyDeclaration, ReactiveElement } from 'lit';

/** Makes a field a reactive property of its element. */
export const property =
  (options?: PropertyDeclaration) =>
  (prototype: ReactiveElement, name: PropertyKey): void =>
    (prototype.constructor as typeof ReactiveElement).createProperty(name, options);

/** The same without an attribute, for what an element keeps to itself. */
export const state = () => property({ state: true, attribute: false });
