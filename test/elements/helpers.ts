/**
 * Helpers for the element tests: creating elements, waiting for events and conditions, recording events and messages, and
 * generating usernames.
 */
import '../../dist/components/index.js';
import { html, fixture } from '@open-wc/testing';
import type { RondevuChat, RondevuConnect, RondevuService } from '../../dist/components/index.js';

const { url } = (await (await fetch('/signaling.json')).json()) as { url: string };
export const apiUrl = url;

let count = 0;
/** A unique username. */
export const freshName = (): string =>
  `u${Date.now().toString(36)}${(count++).toString(36)}${Math.random().toString(36).slice(2, 6)}`;

/** Resolves with the `detail` of the next event with the given name. */
export const next = <T = Record<string, unknown>>(target: EventTarget, name: string): Promise<T> =>
  new Promise((resolve) => target.addEventListener(name, (event) => resolve((event as CustomEvent<T>).detail), { once: true }));

/** Records event names in dispatch order, each with the new state if the event contains one. */
export function record(target: EventTarget, names: string[]): string[] {
  const seen: string[] = [];
  for (const name of names) {
    target.addEventListener(name, (event) => {
      const { to } = (event as CustomEvent<{ to?: string }>).detail;
      seen.push(to === undefined ? name : `${name}:${to}`);
    });
  }
  return seen;
}

/** Records the messages that an element receives: text unchanged, bytes as a comma-separated list of decimal numbers. */
export function messagesOf(target: EventTarget): string[] {
  const got: string[] = [];
  target.addEventListener('rondevu-message', (event) => {
    const { data } = (event as CustomEvent<{ data: string | ArrayBuffer }>).detail;
    got.push(typeof data === 'string' ? data : [...new Uint8Array(data)].join());
  });
  return got;
}

/** Polls until the condition is true, with no time limit other than the timeout of the test. */
export async function until(condition: () => unknown): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

export const service = (username: string, attributes: Record<string, string> = {}): Promise<RondevuService> =>
  make('rondevu-service', { 'api-url': apiUrl, service: 'chat:1.0.0', username, ...attributes }) as Promise<RondevuService>;

export const connect = (to: string, attributes: Record<string, string> = {}): Promise<RondevuConnect> =>
  make('rondevu-connect', { 'api-url': apiUrl, to, identity: 'none', ...attributes }) as Promise<RondevuConnect>;

export async function make(tag: string, attributes: Record<string, string>, inner = ''): Promise<Element> {
  const holder = await fixture<HTMLElement>(html`<div></div>`);
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.innerHTML = inner;
  holder.append(element);
  return element;
}

export type { RondevuChat, RondevuConnect, RondevuService };
