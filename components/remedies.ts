/**
 * Suggested remedies for errors, printed to the console for page authors. This module is loaded only when there is an error to
 * print.
 */
import type { RondevuError } from '../src/index.js';

/** An engine error, or a chat without a source. */
export type Problem = Pick<RondevuError, 'code' | 'message'> | { code: 'no-source'; message: string };

/** @returns complete sentences; empty if the error's message is sufficient */
export function remedyFor(element: HTMLElement, apiUrl: string, error: Problem): string {
  const { username: name } = element as { username?: string };
  switch (error.code) {
    case 'unavailable':
      return `The element keeps trying ${apiUrl}. To use another server, set api-url.`;
    case 'name-taken':
      return `A username belongs to the first key that uses it, and this page has a different key${name ? ` than the owner of "${name}"` : ''}: the key is in another browser, profile or origin, its storage was cleared, or identity="none" is set. Choose another username, open the page that has the key, transfer the key (docs/security.md, "Carrying a key") or, while developing, start the server with a fresh store.`;
    case 'no-source':
      return 'Put it inside a <rondevu-service> or <rondevu-connect>, or set for="id", to="chat:1.0.0@alice" or service="chat:1.0.0".';
    case 'already-published':
      return 'Another element on this page publishes the same service. Remove one of them, or change the service or username of one.';
    case 'bad-request':
      return 'Correct the attribute; the element then restarts.';
    case 'identity-changed':
    case 'unverified':
    case 'identity-mismatch':
      return 'Before you trust the new key, ask the peer over another channel whether it is genuine.';
    case 'clock-skew':
      return "Set this device's clock.";
    case 'timeout':
      return 'Call connect() to try again, or remove the timeout attribute to wait without a limit.';
    default:
      return '';
  }
}
