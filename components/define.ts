/**
 * Registers a tag once. A second definition by the same version is ignored silently; a definition by a different version logs
 * one warning. Never throws.
 */
import { VERSION } from './version.js';

const VERSIONS = Symbol.for('rondevu.versions/1');

export function define(tag: string, element: CustomElementConstructor): void {
  // Lit's `isServer` reports which build was imported, not where it runs: a test runner with jsdom imports the build for Node.
  // In Node, Lit also defines `customElements`, but not HTMLElement
  if (typeof customElements === 'undefined' || typeof HTMLElement === 'undefined') return;
  if (!(element.prototype instanceof HTMLElement)) return;
  const page = globalThis as { [VERSIONS]?: Map<string, string> };
  const versions = (page[VERSIONS] ??= new Map<string, string>());
  if (!customElements.get(tag)) {
    customElements.define(tag, element);
    versions.set(tag, VERSION);
  } else if (versions.get(tag) !== VERSION) {
    console.warn(
      `rondevu: <${tag}> is already defined by ${versions.get(tag) ?? 'something else'}; version ${VERSION} is not used`,
    );
    versions.set(tag, VERSION);
  }
}
