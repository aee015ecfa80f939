/** Defines all elements and exports their classes, their texts and the engine. */
export { RondevuService, type ServiceState } from './rondevu-service.js';
export { RondevuConnect, type ConnectState } from './rondevu-connect.js';
export { RondevuChat, type ChatSource } from './rondevu-chat.js';
export type { RondevuElement } from './base-element.js';
export type * from './events.js';
export { ENGLISH, setStrings, type Strings } from './strings.js';
export * from '../src/index.js';
import './define/rondevu-service.js';
import './define/rondevu-connect.js';
import './define/rondevu-chat.js';
