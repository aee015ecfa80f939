/** Checks the published types of the elements' events. This file is compiled by `npm run check` but never run. */
import type { OffererConnection, Peer, RondevuChat, RondevuConnect, RondevuService } from 'rondevu-elements';

declare const service: RondevuService;
declare const joiner: RondevuConnect;
declare const chat: RondevuChat;

service.addEventListener('rondevu-message', ({ detail: { data, peer, connection } }) => {
  const text: string | ArrayBuffer = data;
  const sender: Peer = peer;
  const from: OffererConnection = connection;
  void [text, sender, from];
});
service.addEventListener('rondevu-state', ({ detail }) => {
  if (detail.to === 'live') return;
  // @ts-expect-error -- `waiting` is a state of <rondevu-connect>
  if (detail.to === 'waiting') return;
});
joiner.addEventListener('rondevu-reconnecting', function ({ detail }) {
  const delay: number = detail.delay;
  void [delay, this.attempt];
});
joiner.addEventListener('rondevu-error', ({ detail: { error } }) => void error.code.startsWith('x'));
joiner.addEventListener('rondevu-message', ({ detail: { peer } }) => void peer.username);
joiner.addEventListener('click', (event) => void event.clientX);
joiner.addEventListener('of-somebody-else', (event) => void event.type);
chat.addEventListener('rondevu-chat-message', ({ detail: { text, own } }) => void [text.length, own === true]);
document
  .querySelector('rondevu-connect')!
  .addEventListener('rondevu-open', ({ detail }) => void [detail.connection.getOfferId(), detail.peer.username]);
const listener = ({ detail }: CustomEvent<{ id: string }>): string => detail.id;
joiner.addEventListener('rondevu-delivered', listener);
joiner.removeEventListener('rondevu-delivered', listener);

// @ts-expect-error -- a misspelled event
joiner.addEventListener('rondevu-opened', () => undefined);
// @ts-expect-error -- an event of <rondevu-service>
joiner.addEventListener('rondevu-published', () => undefined);
// @ts-expect-error -- the detail has no such field
service.addEventListener('rondevu-left', ({ detail }) => void detail.connection);
// @ts-expect-error -- a wrong type of detail
chat.addEventListener('rondevu-chat-message', ({ detail }: CustomEvent<{ text: number }>) => void detail);
// @ts-expect-error -- details are read-only
joiner.addEventListener('rondevu-rotated', ({ detail }) => (detail.generation = 1));
