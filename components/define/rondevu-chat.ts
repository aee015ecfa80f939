/** Defines <rondevu-chat> and the two elements that it may create as its source. */
import { define } from '../define.js';
import { RondevuChat } from '../rondevu-chat.js';
import './rondevu-connect.js';
import './rondevu-service.js';

define('rondevu-chat', RondevuChat);
export { RondevuChat };
