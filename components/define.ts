/**
 * Registers a tag once. A second definition by the same version is silent, by another one warns once; nothing throws.
 */
import { isServer } from 'lit';

export const VERSION = '0.1.0';

const VERSIONS = Symbol.for('rondevu.versions/1');

export function define(tag: string, element: CustomElementConstructor): void {
  if (isServer || typeof customElements === 'undefined') return;
  const page = globalThis as { [VERSIONS]?: Map<string, string> };
  const versions = (page[VERSIONS] ??= new Map<string, string>());
  if (!customElements.get(tag)) {
    customElements.define(tag, element);
    versions.set(tag, VERSION);
  } else if (versions.get(tag) !== VERSION) {
    console.warn(
      `rondevu: <${tag}> is defined already, by ${versions.get(tag) ?? 'something else'}; version ${VERSION} is not used`,
    );
    versions.set(tag, VERSION);
  }
}
